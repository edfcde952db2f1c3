"""Static sites and Node.js apps: built, and asked."""

import re
from pathlib import Path

import pytest

from builders.request import BuildFailure, BuildResult
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


def test_a_required_config_var_without_a_value_fails_the_build_before_anything_is_built(
    tmp_path: Path,
) -> None:
    wishes = (
        '{"env": {"API_KEY": {"description": "of the\\nweather"}, "SET": {}, "LATER": {"required": false}}}'
    )
    repository = make_repository(tmp_path / "r", {"Procfile": "web: ./x\n", "app.json": wishes})

    outcome, log = build(make_request(tmp_path, repository.url, config_vars={"SET": "1"}, is_first=True))

    assert isinstance(outcome, BuildFailure) and outcome.code == "config_var_missing"
    assert outcome.message == "app.json requires the config var API_KEY (of the weather), which is not set"
    assert outcome.hint == "Set it with `pinode config:set API_KEY=…` and deploy again"
    assert "Packing" not in log


def test_the_first_build_takes_what_app_json_gives_and_a_later_one_does_not(tmp_path: Path) -> None:
    wishes = """{"env": {"MODE": "fast", "PORTS": {"value": 3}, "MADE": {"generator": "secret"}, "MINE": "theirs"},
        "formation": {"web": {"quantity": 3}}}"""
    repository = make_repository(tmp_path / "r", {"Procfile": "web: ./x\n", "app.json": wishes})
    mine = {"MINE": "mine"}

    folders = [tmp_path / name for name in ("first", "again", "later")]
    for folder in folders:
        folder.mkdir()
    first, log = build(make_request(folders[0], repository.url, config_vars=mine, is_first=True))
    again, _ = build(make_request(folders[1], repository.url, config_vars=mine, is_first=True))
    everything = {"MODE": "", "PORTS": "1", "MADE": "x", **mine}
    later, _ = build(make_request(folders[2], repository.url, config_vars=everything))

    assert isinstance(first, BuildResult) and isinstance(again, BuildResult)
    assert isinstance(later, BuildResult)
    made = first.first_values["MADE"]
    assert first.first_values == {"MODE": "fast", "PORTS": "3", "MADE": made}
    assert re.fullmatch("[0-9a-f]{64}", made) and made != again.first_values["MADE"]
    assert "app.json sets MODE, PORTS, MADE (made up)" in log and made not in log
    assert later.first_values == {}
    assert first.app_json.formation == {"web": 3}


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
