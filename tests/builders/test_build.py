"""`python -m builders` as a program: a request in, a log, a slug and a result out."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from builders.archive import ArchiveBounds, unpack
from builders.codec import decode_outcome, decode_request, encode_request
from builders.errors import InvalidRequest
from builders.request import Bounds, BuildFailure, BuildRequest, BuildResult, Outcome
from tests.builders.repositories import (
    hostile_project,
    make_repository,
    make_request,
    uninstallable_project,
)

ROOT = Path(__file__).parents[2]
FLASK_APP = {
    "requirements.txt": "flask\n",
    "app.py": "from flask import Flask\napp = Flask(__name__)\n",
    ".python-version": "{}.{}\n".format(*sys.version_info[:2]),
}


def build(request: BuildRequest) -> tuple[Outcome, str]:
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "builders"], input=encode_request(request), capture_output=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", **index_environment()}, timeout=100,
    )  # fmt: skip
    outcome = decode_outcome((Path(request.output) / "result.json").read_bytes())
    assert ended.returncode == (0 if isinstance(outcome, BuildResult) else 1), ended.stderr.decode()
    return outcome, ended.stdout.decode()


def index_environment() -> Mapping[str, str]:
    from pinode.deploy.build_machine import find_build_machine
    from pinode.sandbox.sandbox import find_isolation

    return find_build_machine(
        find_isolation(required=False), data_dir=Path("/nowhere"), homes_allowed=True
    ).index.env


def failure_of(outcome: Outcome) -> BuildFailure:
    assert isinstance(outcome, BuildFailure), outcome
    assert "\n" not in outcome.message
    return outcome


def test_a_procfile_alone_is_packed_as_it_is(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", {"Procfile": "web: ./serve $PORT\n", "serve": "#!/bin/sh\n"})
    request = make_request(tmp_path, repository.url)

    outcome, log = build(request)

    assert isinstance(outcome, BuildResult)
    assert outcome.commit == repository.git("rev-parse", "HEAD")
    assert outcome.process_types == {"web": "./serve $PORT"}
    assert outcome.slug_bytes == (Path(request.output) / "slug.tar.gz").stat().st_size
    assert outcome.slug_sha256 in log


def test_a_flask_app_without_procfile_is_installed_and_its_slug_runs_elsewhere(tmp_path: Path) -> None:
    """The one test here that installs from the index."""
    repository = make_repository(tmp_path / "r", FLASK_APP)
    request = make_request(tmp_path, repository.url)

    outcome, log = build(request)

    assert isinstance(outcome, BuildResult), log
    assert outcome.process_types == {"web": "gunicorn app:app"}
    assert "No Procfile: found Flask app app:app" in log
    assert "nothing in the app names it" in log
    with (Path(request.output) / "slug.tar.gz").open("rb") as file:
        unpack(file, tmp_path / "dyno", bounds=ArchiveBounds(total_bytes=200_000_000))
    Path(request.app).rename(tmp_path / "gone")
    asked = subprocess.run(
        [tmp_path / "dyno/.venv/bin/gunicorn", "--check-config", "app:app"],
        cwd=tmp_path / "dyno",
        check=False,
    )
    assert asked.returncode == 0


def test_a_failing_install_step_fails_the_build_and_its_output_is_in_the_log(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", uninstallable_project())

    outcome, log = build(make_request(tmp_path, repository.url))

    failure = failure_of(outcome)
    assert failure.code == "step_failed"
    assert "installing the project failed" in failure.message
    assert failure.commit == repository.git("rev-parse", "HEAD")
    assert "no wheel" in log


def test_config_vars_reach_the_build_byte_for_byte(tmp_path: Path) -> None:
    """Checklist 4.4."""
    value = "$HOME \"'\\ x\ny=#\u2603\U0001f600 `id`"
    code = "import json, os; print('SEEN', json.dumps(os.environ.get('WEIRD')), json.dumps(os.environ.get('EMPTY')))"
    repository = make_repository(tmp_path / "r", hostile_project(code))
    request = make_request(tmp_path, repository.url, config_vars={"WEIRD": value, "EMPTY": ""})

    _, log = build(request)

    seen = next(line for line in log.splitlines() if "SEEN" in line).partition("SEEN ")[2]
    assert seen == f'{json.dumps(value)} ""'


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"README.md": "x"}, "no builder matches"),
        ({"README.md": "x", ".hidden/go.mod": "", "a b/go.mod": ""}, "Add one of these"),
        ({"README.md": "x", "api/requirements.txt": "", "b/go.mod": ""}, "deploy it with --dir api"),
        ({"app.py": "import flask", "api/requirements.txt": ""}, "the packages it needs in requirements.txt"),
        ({"requirements.txt": "", "x.py": "1"}, "Procfile"),
        ({"requirements.txt": "", ".python-version": "2.7"}, "asks for Python 2.7"),
        ({"pyproject.toml": "not = [toml", "Procfile": "web: x"}, "pyproject.toml cannot be read"),
        ({"Procfile": "web\n"}, "line 1 of the Procfile"),
        ({"requirements.txt": "", ".venv/x": "", "Procfile": "web: x"}, ".venv of its own"),
        ({"Procfile": "web: x", "link": None}, "leads out of the app"),
    ],
)
def test_what_the_user_can_mend_is_said_in_one_line_with_what_to_do(
    tmp_path: Path, files: dict[str, str | None], said: str
) -> None:
    repository = make_repository(tmp_path / "r")
    for name in [name for name, text in files.items() if text is None]:
        (repository.path / name).symlink_to("/etc/passwd")
    repository.commit({name: text for name, text in files.items() if text is not None})

    outcome, log = build(make_request(tmp_path, repository.url))

    failure = failure_of(outcome)
    assert said in failure.message + failure.hint
    assert failure.hint
    assert f" !     {failure.message}" in log


def test_a_build_that_hangs_is_ended_by_the_builder_itself_and_names_the_step(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", hostile_project("import signal; signal.pause()"))
    bounds = Bounds(wall_seconds=60, silence_seconds=2)

    outcome, _ = build(make_request(tmp_path, repository.url, bounds=bounds))

    failure = failure_of(outcome)
    assert failure.bound == "silence"
    assert "collectstatic was ended" in failure.message


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"git_url": 1}', b"\xff", b"x" * 2_000_000, b"[" * 100_000]
)
def test_a_request_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_request(data)


def test_requests_and_outcomes_survive_the_wire_and_newer_fields_are_skipped(tmp_path: Path) -> None:
    request = make_request(
        tmp_path, "https://example.org/x.git", config_vars={"A": "\n\u2603"}, secrets=("s",)
    )
    newer = json.loads(encode_request(request)) | {"newer": 1}

    assert decode_request(json.dumps(newer).encode()) == request
    with pytest.raises(ValueError):
        decode_outcome(b'{"ok": true, "commit": "--option"}')
    with pytest.raises(ValueError):
        decode_outcome(b'{"ok": false, "code": "x", "message": "' + b"x" * 9_999 + b'", "hint": ""}')
