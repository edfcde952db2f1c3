"""Apps from the command line: created, shown, scaled, destroyed; what the API answers is what is shown."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pinode.logs.app_log import TAIL_METHOD
from pinode.logs.log_codec import decode_query, encode_lines
from pinode.logs.log_line import LogLine
from tests.pinode.cli_stage import CliStage, cli_stage, finish, run_here, start_process


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    with cli_stage(tmp_path) as stage:
        yield stage


def rows_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_an_app_is_created_and_its_url_is_the_data(node: CliStage) -> None:
    ran = node.run("apps:create", "blog", "--git", "https://git.example.org/ada/blog.git")

    assert (ran.code, ran.out) == (0, "http://192.0.2.1:9000/\n")
    assert "pinode deploy -a blog" in ran.err
    assert (
        node.run("apps:info", "blog", "--json").document["git_url"] == "https://git.example.org/ada/blog.git"
    )


def test_an_app_that_is_there_already_is_a_conflict(node: CliStage) -> None:
    node.add_app("blog")

    ran = node.run("apps:create", "blog")

    assert ran.code == 5
    assert "there is an app named 'blog' already" in ran.err
    assert "Choose another name" in ran.err


def test_apps_and_one_app_are_shown_with_what_a_person_asks_for(node: CliStage) -> None:
    node.add_app("blog")
    node.release("blog")
    node.add_app("shop", git_url=None)

    listed = node.run("apps")
    one = node.run("apps:info", "blog")

    assert rows_of(listed.out) == [
        ["APP", "STATE", "RELEASE", "OWNER", "URL"],
        ["blog", "live", "v1", "ada", "http://192.0.2.1:9000/"],
        ["shop", "new", "ada", "http://192.0.2.1:9001/"],
    ]
    for shown in ("live", "v1", "web=1", "https://git.example.org/ada/blog.git", "http://blog.local:8080/"):
        assert shown in one.out


def test_dynos_builds_and_releases_are_tables(node: CliStage) -> None:
    node.add_app("blog")
    node.release("blog")
    node.do(lambda cluster: cluster.start_build("blog", node="pi2"))

    dynos, builds, releases = (
        rows_of(node.run(name, "-a", "blog").out) for name in ("ps", "builds", "releases")
    )

    assert dynos[0] == ["DYNO", "STATE", "RELEASE", "NODE", "FOR"]
    assert dynos[1][:4] == ["web.1", "up", "v1", "pi1"]
    assert builds[0] == ["BUILD", "STATE", "COMMIT", "NODE", "RELEASE", "TOOK", "ASKED"]
    assert builds[1][1:3] == ["building", "pi2"]
    assert builds[2][1:5] == ["succeeded", "cccccccc", "pi1", "v1"]
    assert releases[1][:4] == ["v1", "live", "Deploy", "cccccccc"]


def test_a_dyno_that_crashes_says_how_often_and_why(node: CliStage) -> None:
    node.add_app("blog")
    version = node.release("blog")
    placement = next(iter(node.cluster.state.registry.placements_of("blog")))
    node.do(lambda cluster: cluster.report(placement, "crashed", restarts=3, detail="exit code 1"))

    ran = node.run("ps", "-a", "blog")

    assert version == 1
    assert rows_of(ran.out)[0] == ["DYNO", "STATE", "RELEASE", "NODE", "FOR", "RESTARTS", "DETAIL"]
    assert "crashed" in ran.out and "exit code 1" in ran.out


def test_scaling_shows_the_formation_before_and_after(node: CliStage) -> None:
    node.add_app("blog")
    node.release("blog")

    scaled = node.run("ps", "scale", "web=3", "-a", "blog")

    assert scaled.out == "web=3\n"
    assert node.run("ps:scale", "-a", "blog", "--json").document == {"web": 3}


@pytest.mark.parametrize("word", ["web", "web=", "web=-1", "web=1.5", "web=²", "=2", "web=" + "9" * 5000])
def test_what_is_no_quantity_is_named_and_nothing_is_scaled(node: CliStage, word: str) -> None:
    node.add_app("blog")
    node.release("blog")

    ran = node.run("ps:scale", "web=2", word, "-a", "blog")

    assert ran.code == 2
    assert repr(word) in ran.err and "web=2" in ran.err
    assert node.run("ps:scale", "-a", "blog").out == "web=1\n"


@pytest.mark.parametrize("words", [["web=1000"], ["nothing=1"], ["web=999999999"]])
def test_a_quantity_that_cannot_be_is_refused_by_the_node(node: CliStage, words: list[str]) -> None:
    node.add_app("blog")
    node.release("blog")

    ran = node.run("ps:scale", *words, "-a", "blog")

    assert ran.code in (2, 3)
    assert words[0].partition("=")[0] in ran.err


def test_an_app_is_destroyed_only_when_its_name_is_said_again(node: CliStage) -> None:
    node.add_app("blog")

    unconfirmed = node.run("apps:destroy", "blog")
    wrong = node.run("apps:destroy", "blog", "--confirm", "shop")
    still_there = node.run("apps:info", "blog").code
    confirmed = node.run("apps:destroy", "-a", "blog", "--confirm", "blog")

    assert unconfirmed.code == wrong.code == 2
    assert "--confirm blog" in unconfirmed.err and "'shop' is not its name" in wrong.err
    assert still_there == 0
    assert confirmed.code == 0
    assert node.run("apps:info", "blog").code == 3


def test_two_names_for_one_app_are_refused(node: CliStage) -> None:
    node.add_app("blog")

    assert node.run("apps:destroy", "blog", "-a", "shop", "--confirm", "blog").code == 2
    assert node.run("apps:info", "blog", "-a", "blog").code == 0


def test_the_app_comes_from_the_flag_the_environment_or_the_git_remote(
    node: CliStage, tmp_path: Path
) -> None:
    node.add_app("blog")
    node.add_app("shop")
    folder = tmp_path / "source"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git/HEAD").write_text("ref: refs/heads/main\n")
    (folder / ".git/objects").mkdir()
    (folder / ".git/refs").mkdir()
    (folder / ".git/config").write_text('[remote "pinode"]\n\turl = https://pi1.local:8000/git/blog.git\n')

    from_environment = node.run("apps:info", PINODE_APP="shop")
    flag_wins = node.run("apps:info", "-a", "blog", PINODE_APP="shop")
    from_remote = finish(start_process("--data-dir", str(node.folder), "apps:info", cwd=folder))

    assert [ran.out.splitlines()[0] for ran in (from_environment, flag_wins, from_remote)] == [
        "shop",
        "blog",
        "blog",
    ]


def test_without_any_app_it_is_asked_for(tmp_path: Path) -> None:
    ran = finish(
        start_process("ps", cwd=tmp_path, environment={"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)})
    )

    assert ran.code == 2
    assert "which app?" in ran.err and "-a NAME" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["apps:info"],
        ["ps"],
        ["ps:scale"],
        ["builds"],
        ["releases"],
        ["config"],
        ["logs"],
        ["builds:output"],
        ["deploy"],
    ],
)
def test_an_app_that_is_not_there_is_3(node: CliStage, words: list[str]) -> None:
    ran = node.run(*words, "-a", "nope")

    assert ran.code == 3
    assert "there is no app named 'nope'" in ran.err and "`pinode apps`" in ran.err


def test_somebody_elses_app_is_4(node: CliStage) -> None:
    node.add_app("blog")

    ran = node.run_far("config", "-a", "blog", by="bob")

    assert ran.code == 4
    assert "belongs to somebody else" in ran.err


def test_logs_are_the_lines_as_they_are_and_documents_in_json(node: CliStage) -> None:
    node.add_app("blog")
    asked = []

    async def tail(_: str, payload: bytes) -> bytes:
        asked.append(decode_query(payload))
        line = LogLine(
            time_ms=1_700_000_000_123, app="blog", dyno="web.1", node="pi1", text="GET / [200]: \x1b[0m ok"
        )
        return encode_lines([line] if len(asked) % 3 == 1 else [])

    node.do(lambda cluster: cluster.peers.serve(TAIL_METHOD, tail))
    text = node.run("logs", "-a", "blog", "-n", "7", "-p", "web")
    document = node.run("logs", "-a", "blog", "--json")

    assert text.out == "2023-11-14T22:13:20.123Z app[web.1]: GET / [200]: �[0m ok\n"
    assert (asked[0].lines, asked[0].process) == (7, "web")
    assert (asked[-1].lines, asked[-1].process) == (100, None)
    assert document.document == {
        "time": "2023-11-14T22:13:20.123Z", "source": "app", "dyno": "web.1", "text": "GET / [200]: \x1b[0m ok",
    }  # fmt: skip


def test_logs_of_one_dyno_of_one_node_of_the_last_minutes(node: CliStage) -> None:
    node.add_app("blog")
    now_ms = time.time_ns() // 1_000_000
    old = LogLine(time_ms=now_ms - 600_000, app="blog", dyno="web.1", node="pi1", text="ten minutes ago")
    new = replace(old, time_ms=now_ms - 60_000, text="a minute ago")
    asked = []

    async def tail(_: str, payload: bytes) -> bytes:
        asked.append(decode_query(payload))
        return encode_lines([old, new])

    node.do(lambda cluster: cluster.peers.serve(TAIL_METHOD, tail))
    found = node.run("logs", "-a", "blog", "--dyno", "web.1", "--since", "5m", "--node", "pi1")
    wrong = node.run("logs", "-a", "blog", "--since", "yesterday")
    unknown = node.run("logs", "-a", "blog", "--node", "pi99")

    assert "a minute ago" in found.out and "ten minutes" not in found.out
    assert [(query.process, query.lines) for query in asked] == [("web.1", 1_500)]
    assert wrong.code == 2 and "'yesterday' is no duration" in wrong.err
    assert unknown.code == 3 and "there is no node 'pi99'" in unknown.err


def test_the_queue_shows_its_topics(node: CliStage) -> None:
    node.do(lambda cluster: cluster.put_job("mail"))

    assert rows_of(node.run("queue").out) == [
        ["TOPIC", "READY", "DELAYED", "LEASED", "BURIED"],
        ["mail", "1", "0", "0", "0"],
    ]


def test_elsewhere_nothing_runs_and_that_is_6(tmp_path: Path) -> None:
    ran = run_here("--data-dir", str(tmp_path), "apps")

    assert ran.code == 6
    assert str(tmp_path / "pinode.sock") in ran.err and "pinode start" in ran.err
