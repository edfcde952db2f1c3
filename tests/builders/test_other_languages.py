"""Static sites and Node.js apps: built, and asked."""

from pathlib import Path

import pytest

from builders.request import BuildFailure
from tests.builders.building import build, built, files_of, unpacked, with_warm_cache
from tests.builders.repositories import make_repository, make_request
from tests.builders.serving import get, serving


def test_a_static_site_is_served_from_its_public_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    files = {**files_of("static_site"), "notes.txt": "not for the public"}
    repository = make_repository(tmp_path / "r", files)
    request = make_request(tmp_path, repository.url)

    result = built(request)

    assert result.builder == "static"
    app = unpacked(request, tmp_path / "dyno")
    with serving(app, result.process_types["web"]) as port:
        assert b"hello from a file" in get(port, "/")
        assert b"nothing here" in get(port, "/notes.txt")


def test_the_log_names_config_vars_that_app_json_asks_for_and_the_result_carries_the_rest(
    tmp_path: Path,
) -> None:
    wishes = '{"env": {"API_KEY": {}, "SET": {}, "MADE": {"generator": "secret"}}, "formation": {"web": {"quantity": 3}}}'
    repository = make_repository(tmp_path / "r", {"Procfile": "web: ./x\n", "app.json": wishes})

    outcome, log = build(make_request(tmp_path, repository.url, config_vars={"SET": "1"}))

    assert not isinstance(outcome, BuildFailure)
    assert "asks for the config var API_KEY" in log
    assert "config var SET" not in log
    assert "config var MADE" not in log
    assert outcome.app_json.formation == {"web": 3}


def test_a_node_js_app_gets_what_its_lock_names_and_runs_its_start_script(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", files_of("node_hello"))
    request = with_warm_cache(make_request(tmp_path, repository.url))

    outcome, log = build(request)

    assert not isinstance(outcome, BuildFailure), log
    assert "npm ci, as package-lock.json says" in log
    assert outcome.process_types == {"web": "npm start"}
    app = unpacked(request, tmp_path / "dyno")
    with serving(app, "npm start") as port:
        assert get(port, "/") == b"hello from Node.js"


@pytest.mark.parametrize(
    ("files", "builder"),
    [
        ({"requirements.txt": "", "package.json": "{}", "Procfile": "web: x"}, "python"),
        ({"main.go": "package main\nfunc main() {}\n", "public/index.html": ""}, "go"),
        ({"index.html": "", "Procfile": "web: ./x"}, "procfile"),
        ({"index.html": "", "package.json": '{"devDependencies": {}}'}, "static"),
        (
            {"package.json": '{"scripts": {"start": "true"}}', "package-lock.json": "{}", "index.html": ""},
            "node.js",
        ),
    ],
)
def test_the_most_specific_kind_wins_and_the_log_says_by_which_file(
    tmp_path: Path, files: dict[str, str | bytes], builder: str
) -> None:
    repository = make_repository(tmp_path / "r", files)

    _, log = build(with_warm_cache(make_request(tmp_path, repository.url)))

    assert f"-----> {builder.capitalize()} app: the repository has " in log


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"package.json": "{"}, "package.json cannot be read"),
        ({"package.json": "{}", "package-lock.json": "[", "server.js": ""}, "npm ci failed"),
        ({"index.html": "", ".static/x": ""}, ".static of its own"),
        ({"app.json": '{"formation": []}', "index.html": ""}, "formation is no JSON object"),
    ],
)
def test_what_the_user_can_mend_is_said(tmp_path: Path, files: dict[str, str | bytes], said: str) -> None:
    repository = make_repository(tmp_path / "r", files)

    outcome, log = build(make_request(tmp_path, repository.url))

    assert isinstance(outcome, BuildFailure), log
    assert said in outcome.message
    assert outcome.hint
