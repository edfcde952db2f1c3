"""What runs when no Procfile says so (checklist 4.6)."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from builders.web_process import infer_web_process

FLASK = "from flask import Flask\napp = Flask(__name__)\n"


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"app.py": FLASK}, "gunicorn app:app"),
        ({"hello.py": "import flask\nserver: flask.Flask = flask.Flask('x')\n"}, "gunicorn hello:server"),
        ({"other.py": FLASK, "wsgi.py": FLASK, "tests/app.py": FLASK}, "gunicorn wsgi:app"),
        ({"blog/__init__.py": FLASK}, "gunicorn blog:app"),
        ({"blog/__init__.py": "from flask import Flask\ndef create_app(test=None):\n    app = Flask('b')\n    return app\n"},
         "gunicorn 'blog:create_app()'"),
        ({"blog/__init__.py": "from flask import Flask\ndef create_app(c):\n    return Flask('b')\n",
          "run.py": "from blog import create_app\napp = create_app(1)\n"}, "gunicorn run:app"),
        ({"main.py": "from fastapi import FastAPI\napp = FastAPI()\n"},
         "uvicorn main:app --host 127.0.0.1 --port $PORT"),
        ({"app.py": "import bottle\napplication = bottle.Bottle()\n"}, "gunicorn app:application"),
        ({"main.py": "from aiohttp import web\napp = web.Application()\n"},
         "gunicorn main:app --worker-class aiohttp.GunicornWebWorker"),
        ({"polls/main.py": "from aiohttp import web\nasync def init_app(argv=None):\n    return web.Application()\n"},
         "gunicorn polls.main:init_app --worker-class aiohttp.GunicornWebWorker"),
        ({"manage.py": "import os, django\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.settings')\n",
          "site1/wsgi.py": "x", "another/wsgi.py": "x"}, "gunicorn site1.wsgi"),
    ],
)  # fmt: skip
def test_flask_fastapi_and_django_are_recognised(
    tmp_path: Path, files: Mapping[str, str], command: str
) -> None:
    found = infer_web_process(write(tmp_path, files))

    assert found is not None
    assert found.command == command


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"app.py": "print('hello')\n"},
        {"app.py": "import tornado.web\napp = tornado.web.Application()\n"},
        {"app.py": "def broken(:\n"},
        {"we ird.py": FLASK, "a;id.py": FLASK, "$(id)/app.py": FLASK},
        {"app.py": "x = '" + "a" * 600_000 + "'\n" + FLASK},
    ],
)
def test_what_is_not_recognised_or_could_not_stand_in_a_command_is_not_guessed(
    tmp_path: Path, files: Mapping[str, str]
) -> None:
    assert infer_web_process(write(tmp_path, files)) is None
