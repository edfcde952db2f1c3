"""One-off dynos over HTTP and from the command line: lines of JSON as they come, and the command's own status."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pinode.dynos.one_off import EXIT, METHOD, NAME, OUTPUT
from tests.pinode.cli_stage import CliStage, cli_stage
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.web_stage import Stage, stage

RUN = "/api/v1/apps/blog/run"


def serve(cluster: FakeCluster, *chunks: bytes) -> list[bytes]:
    """Have the nodes answer so; what they were asked."""
    asked: list[bytes] = []

    async def answer(_: str, payload: bytes) -> AsyncIterator[bytes]:
        asked.append(payload)
        for chunk in chunks:
            yield chunk

    cluster.peers.serve_stream(METHOD, answer)
    return asked


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob") as made:
        made.add_app("blog", "bob")
        version = made.cluster.complete_build(made.cluster.start_build("blog"))
        made.cluster.bring_up("blog", version)
        yield made


async def test_output_comes_as_lines_of_json_and_no_character_is_cut(web: Stage) -> None:
    berry = "🍓".encode()
    serve(web.cluster, NAME + b"run.7", OUTPUT + b"a\n" + berry[:2], OUTPUT + berry[2:], b"", EXIT + b"3")

    answer = await web.api("POST", RUN, {"command": "ls"})

    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    assert answer.text.splitlines() == [
        '{"name": "run.7"}', '{"output": "a\\n"}', '{"output": "🍓"}', '{"exit_code": 3}',
    ]  # fmt: skip


async def test_what_is_no_text_at_all_is_shown_as_such(web: Stage) -> None:
    serve(web.cluster, NAME + b"run.7", OUTPUT + b"\xff\xfe\xfd\xfc\xfb", OUTPUT + b"\xf0", EXIT + b"0")

    answer = await web.api("POST", RUN, {"command": "ls"})

    assert '{"exit_code": 0}' in answer.text and "\ufffd" in answer.text


@pytest.mark.parametrize("body", [{}, {"command": 7}, {"command": "ls", "detach": "yes"}, {"cmd": "ls"}])
async def test_another_body_is_refused(web: Stage, body: dict[str, object]) -> None:
    asked = serve(web.cluster)

    assert (await web.api("POST", RUN, body)).status == 400
    assert not asked


async def test_an_app_without_a_release_has_nothing_to_run_in(web: Stage) -> None:
    web.add_app("new", "bob")

    refused = await web.api("POST", "/api/v1/apps/new/run", {"command": "ls"})

    assert (refused.status, refused.code) == (404, "no_release")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    with cli_stage(tmp_path) as made:
        made.add_app("blog")
        made.release("blog")
        yield made


def test_the_exit_code_is_the_commands_and_its_words_stay_words(node: CliStage) -> None:
    asked = serve(node.cluster, NAME + b"run.7", OUTPUT + b"out", EXIT + b"42")

    ran = node.run("run", "-a", "blog", "python", "-c", "print('a b')", "--json")
    node.run("run", "-a", "blog", "ls | wc -l")

    assert (ran.code, ran.out) == (42, "out")
    assert b"print('" in asked[0] and b"ls | wc -l" in asked[1]


def test_a_detached_one_gives_its_name_and_where_its_output_goes(node: CliStage) -> None:
    serve(node.cluster, NAME + b"run.7")

    ran = node.run("run", "-d", "-a", "blog", "sleep 9")

    assert (ran.code, ran.out) == (0, "run.7\n") and "pinode logs -a blog -p run.7" in ran.err


def test_a_command_whose_end_never_came_is_a_failure(node: CliStage) -> None:
    serve(node.cluster, NAME + b"run.7", OUTPUT + b"half")

    ran = node.run("run", "-a", "blog", "ls")

    assert ran.code == 1 and "the node ended before the command did" in ran.err
