"""poetry.lock, Pipfile and Pipfile.lock as lines that uv installs (checklist 4.5)."""

import json

import pytest

from builders.errors import BuildError
from builders.lock_files import from_pipfile, from_pipfile_lock, from_poetry, read_toml
from builders.poetry_versions import allows, as_specifiers

POETRY = """
[tool.poetry]
name = "blog"
[tool.poetry.dependencies]
python = "^3.9"
Flask = "^3.0"
"requests.extras" = { version = "~2.31", extras = ["socks"], markers = "sys_platform == 'linux'" }
old = [{ version = "1.*", python = "<3.10" }, { version = ">=2", python = ">=3.10" }]
fork = { git = "https://example.org/fork.git", branch = "main" }
maybe = { version = "1", optional = true }
[tool.poetry.group.dev.dependencies]
pytest = "*"
"""
LOCK = """
[[package]]
name = "flask"
version = "3.0.2"
python-versions = ">=3.8"
files = [{ file = "flask.whl", hash = "sha256:ab" }, { file = "flask.tar.gz", hash = "sha256:cd" }]
[[package]]
name = "requests-extras"
version = "2.31.0"
python-versions = ">=3.7"
files = []
[[package]]
name = "old"
version = "1.9"
python-versions = ">=3.6,<3.10"
files = []
[[package]]
name = "old"
version = "2.1"
python-versions = ">=3.10"
files = []
[[package]]
name = "fork"
version = "0.1"
python-versions = "*"
[package.source]
type = "git"
url = "https://example.org/fork.git"
reference = "main"
resolved_reference = "0123456789abcdef"
[[package]]
name = "private"
version = "5"
python-versions = "*"
files = [{ file = "p.whl", hash = "sha256:00" }]
[package.source]
type = "legacy"
url = "https://packages.example.org/simple"
reference = "ours"
[metadata]
lock-version = "2.0"
"""


def test_the_main_dependencies_are_asked_for_and_the_lock_holds_them() -> None:
    asked = from_poetry(read_toml("pyproject.toml", POETRY), LOCK, python="3.11.2")

    assert asked.requirements == (
        "--extra-index-url https://packages.example.org/simple",
        "Flask>=3.0,<4",
        "requests.extras[socks]>=2.31,<2.32 ; (sys_platform == 'linux')",
        "old==1.* ; (python_full_version < '3.10')",
        "old>=2 ; (python_full_version >= '3.10')",
        "fork @ git+https://example.org/fork.git@0123456789abcdef",
    )
    assert asked.constraints == (
        "flask==3.0.2 --hash=sha256:ab --hash=sha256:cd",
        "fork @ git+https://example.org/fork.git@0123456789abcdef",
        "old==2.1",
        "private==5 --hash=sha256:00",
        "requests-extras==2.31.0",
    )
    assert not asked.is_whole


def test_poetry_2_names_its_dependencies_in_the_standard_table() -> None:
    project = '[project]\nname = "blog"\ndependencies = ["flask (>=3.0,<4.0)"]\n[tool.poetry.dependencies]\nflask = { source = "x" }\n'

    asked = from_poetry(read_toml("pyproject.toml", project), LOCK, python="3.12.1")

    assert asked.requirements[1:] == ("flask (>=3.0,<4.0)",)


def test_a_lock_that_is_older_than_the_project_is_told() -> None:
    project = POETRY.replace("Flask =", "Django =")

    with pytest.raises(BuildError, match=r"asks for django, which poetry\.lock does not know"):
        from_poetry(read_toml("pyproject.toml", project), LOCK, python="3.11.2")


def test_pipfile_lock_is_installed_whole_with_its_hashes() -> None:
    lock = {
        "_meta": {"sources": [{"url": "https://pypi.org/simple"}, {"url": "https://${USER}@own.example.org/simple"}]},
        "default": {
            "flask": {"version": "==3.0.2", "hashes": ["sha256:cd", "sha256:ab"], "markers": "python_version >= '3.8'"},
            "lib": {"git": "https://example.org/lib.git", "ref": "abc"},
            "here": {"path": "lib/here", "editable": True},
            "extra": {"version": "==1", "extras": ["a", "b"]},
        },
        "develop": {"pytest": {"version": "==8"}},
    }  # fmt: skip

    asked = from_pipfile_lock(json.dumps(lock))

    assert asked.requirements == (
        "--extra-index-url https://${USER}@own.example.org/simple",
        "extra[a,b]==1",
        "flask==3.0.2 ; (python_version >= '3.8') --hash=sha256:ab --hash=sha256:cd",
        "./lib/here",
        "lib @ git+https://example.org/lib.git@abc",
    )
    assert asked.is_whole


def test_a_pipfile_without_lock_is_read_and_the_log_says_what_that_means() -> None:
    text = (
        '[packages]\nflask = "*"\ngunicorn = ">=20"\nwin = { version = "*", sys_platform = "== \'win32\'" }\n'
    )

    asked = from_pipfile(text)

    assert asked.requirements == ("flask", "gunicorn>=20", "win ; (sys_platform == 'win32')")
    assert "no Pipfile.lock" in asked.notes[0]


@pytest.mark.parametrize(
    "lock",
    [
        "{", "[]", '{"default": []}', '{"default": {"-e": "*"}}', '{"default": {"a\\n--index-url http://evil/": "*"}}',
        '{"default": {"a": {"version": "==1\\n-r /etc/passwd"}}}', '{"default": {"a": {"markers": "x\\n-r y", "version": "==1"}}}',
        '{"default": {"a b": "*"}}',
    ],
)  # fmt: skip
def test_a_lock_that_is_broken_or_would_smuggle_options_is_refused(lock: str) -> None:
    with pytest.raises(BuildError):
        from_pipfile_lock(lock)


@pytest.mark.parametrize(
    ("poetry", "standard"),
    [
        ("^1.2.3", ">=1.2.3,<2"), ("^0.2.3", ">=0.2.3,<0.3"), ("^0.0.3", ">=0.0.3,<0.0.4"), ("^0", ">=0,<1"),
        ("^1", ">=1,<2"), ("~1.2.3", ">=1.2.3,<1.3"), ("~1", ">=1,<2"), ("~=1.2", "~=1.2"), ("1.2", "==1.2"),
        ("1.*", "==1.*"), ("*", ""), (">=1,<2", ">=1,<2"), (">= 1 < 2", ">=1,<2"), ("^2 || ^3", ""), ("", ""),
        ("^1.0b2", ">=1.0b2,<2"), ("!=1.5", "!=1.5"),
    ],
)  # fmt: skip
def test_poetrys_constraints_are_those_of_pep_440(poetry: str, standard: str) -> None:
    assert as_specifiers(poetry) == standard


def test_alternatives_hold_when_one_of_them_does() -> None:
    assert allows("^2.7 || ^3.8", "3.11.2")
    assert not allows("^2.7 || ~3.8", "3.11.2")
