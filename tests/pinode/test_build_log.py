"""The log of a build, read on another node than the one that builds."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pinode.apps.commands import CancelBuild, CreateApp, FailBuild, RequestBuild
from pinode.apps.errors import BuildNotFound
from pinode.deploy.build_log import build_log, serve_build_logs
from pinode.deploy.log_copies import METHOD, copy_log, forget_old_logs, serve_log_copies
from pinode.errors import PinodeError
from tests.pinode.fake_cluster import FakeCluster
from tests.waiting import eventually


@pytest.fixture
def cluster(tmp_path: Path) -> FakeCluster:
    made = FakeCluster()
    made.add_user("ada")
    made.apply(CreateApp(name="blog", owner="ada"))
    serve_build_logs(made, tmp_path)
    return made


async def read(chunks: AsyncIterator[bytes]) -> str:
    return b"".join([chunk async for chunk in chunks]).decode()


def two_nodes(directory: Path) -> tuple[FakeCluster, FakeCluster]:
    """pi1 and pi2, of one agreed state, each with a folder of its own for logs."""
    builder, keeper = FakeCluster(nodes=["pi1", "pi2"]), FakeCluster(nodes=["pi1", "pi2"])
    keeper.node_id, keeper.node_name, keeper.state = list(keeper.views)[1], "pi2", builder.state
    builder.add_user("ada")
    builder.apply(CreateApp(name="blog", owner="ada"))
    for cluster in (builder, keeper):
        (directory / cluster.node_name).mkdir()
        serve_build_logs(cluster, directory / cluster.node_name)
        serve_log_copies(cluster, directory / cluster.node_name)
    builder.peers.others[keeper.node_id] = keeper.peers
    return builder, keeper


class Reader:
    """Follows a log in the background and keeps what came."""

    def __init__(self, cluster: FakeCluster, build_id: int) -> None:
        self.text = ""
        self.task = asyncio.ensure_future(self._read(cluster, build_id))

    async def _read(self, cluster: FakeCluster, build_id: int) -> None:
        async for chunk in build_log(cluster, build_id, follow=True):
            self.text += chunk.decode()


async def test_what_is_there_is_read_at_once(cluster: FakeCluster, tmp_path: Path) -> None:
    build_id = cluster.start_build("blog")
    (tmp_path / f"{build_id}.log").write_text("cloning\n" * 20_000)

    assert await read(build_log(cluster, build_id, follow=False)) == "cloning\n" * 20_000


async def test_a_follower_sees_the_wait_the_lines_as_they_come_and_the_end(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    build_id = cluster.apply(
        RequestBuild(app="blog", git_url="https://h/x.git", ref=None, subdirectory=None, actor="ada")
    )
    reader = Reader(cluster, build_id)
    await eventually(lambda: "waits for a node" in reader.text)

    cluster.take_build(build_id, node="pi2")
    log = tmp_path / f"{build_id}.log"
    log.write_text("cloning\n")
    await eventually(lambda: reader.text.endswith("cloning\n"))
    with log.open("a") as file:
        file.write("done\n")
    cluster.complete_build(build_id)

    await asyncio.wait_for(reader.task, 3)
    assert reader.text == f"-----> Build {build_id} of blog waits for a node.\ncloning\ndone\n"


async def test_a_build_that_moves_to_another_node_is_followed_there(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    from replicated_queue.queue.codec import command_values
    from replicated_queue.queue.commands import ExpireLease

    build_id = cluster.start_build("blog", node="pi2")
    first = cluster.state.registry.build(build_id)
    (tmp_path / f"{build_id}.log").write_text("on pi2\n")
    reader = Reader(cluster, build_id)
    await eventually(lambda: reader.text == "on pi2\n")

    (tmp_path / f"{build_id}.log").write_text("on pi3\n")
    cluster.apply_encoded("queue", command_values(ExpireLease(first.job_id, first.token)))
    cluster.take_build(build_id, node="pi3")
    await eventually(lambda: reader.text == "on pi2\non pi3\n")
    cluster.complete_build(build_id)

    await asyncio.wait_for(reader.task, 3)


async def test_a_node_that_does_not_answer_is_named_and_asked_for_the_rest_later(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    build_id = cluster.start_build("blog", node="pi2")
    build = cluster.state.registry.build(build_id)
    (tmp_path / f"{build_id}.log").write_text("whole\n")
    cluster.peers.unreachable.add(build.node_id)
    reader = Reader(cluster, build_id)
    await eventually(lambda: "pi2, which has this part of the log, does not answer." in reader.text)

    cluster.peers.unreachable.clear()
    cluster.note_change()
    await eventually(lambda: reader.text.endswith("whole\n"))
    cluster.apply(FailBuild(build_id=build_id, token=build.token, failure="no"))

    await asyncio.wait_for(reader.task, 3)


async def test_a_build_that_never_began_says_why(cluster: FakeCluster) -> None:
    build_id = cluster.apply(
        RequestBuild(app="blog", git_url="https://h/x.git", ref=None, subdirectory=None, actor="ada")
    )
    cluster.apply(CancelBuild(build_id=build_id, actor="ada"))

    text = await read(build_log(cluster, build_id, follow=True))

    assert text == f"-----> {cluster.state.registry.build(build_id).failure}\n"


async def test_an_unknown_build_has_no_log(cluster: FakeCluster) -> None:
    with pytest.raises(BuildNotFound):
        await read(build_log(cluster, 999, follow=True))


async def test_a_build_that_waits_for_another_one_of_its_app_says_for_which(cluster: FakeCluster) -> None:
    first = cluster.start_build("blog")
    second = cluster.apply(
        RequestBuild(app="blog", git_url="https://h/x.git", ref=None, subdirectory=None, actor="ada")
    )

    reader = Reader(cluster, second)

    await eventually(lambda: f"waits for build {first} of the same app, which runs." in reader.text)
    reader.task.cancel()


async def test_a_second_node_keeps_the_log_and_gives_it_when_the_first_is_away(tmp_path: Path) -> None:
    builder, keeper = two_nodes(tmp_path)
    build_id = builder.start_build("blog", node="pi1")
    text = "cloning\n" * 200_000
    (tmp_path / "pi1" / f"{build_id}.log").write_text(text)
    builder.complete_build(build_id)

    assert await copy_log(builder, tmp_path / "pi1" / f"{build_id}.log", build_id) == keeper.node_id

    builder.peers.unreachable.add(builder.node_id)
    assert await read(build_log(builder, build_id, follow=True)) == text


async def test_without_a_copy_the_node_that_has_the_log_is_named(tmp_path: Path) -> None:
    builder, _ = two_nodes(tmp_path)
    build_id = builder.start_build("blog", node="pi1")
    builder.complete_build(build_id)
    builder.peers.unreachable.add(builder.node_id)

    text = await read(build_log(builder, build_id, follow=False))

    assert text == "-----> pi1, which has this part of the log, does not answer.\n"


@pytest.mark.parametrize(
    ("build", "offset", "size"), [(999, 0, 1), (None, -1, 1), (None, 10**9, 1), (None, 0, 8_000_000)]
)
async def test_a_copy_of_no_known_build_or_beyond_the_bound_is_not_taken(
    tmp_path: Path, build: int | None, offset: int, size: int
) -> None:
    builder, keeper = two_nodes(tmp_path)
    known = builder.start_build("blog", node="pi1")
    head = json.dumps({"build": build or known, "offset": offset}).encode()

    with pytest.raises(PinodeError):
        await builder.peers.call(keeper.node_id, METHOD, head + b"\n" + bytes(size), timeout_seconds=5)

    assert not list((tmp_path / "pi2").glob("*.log"))


async def test_logs_of_builds_that_are_forgotten_are_deleted(tmp_path: Path) -> None:
    for number in (1, 2, 30):
        (tmp_path / f"{number}.log").write_text("x")
    (tmp_path / "other.log").write_text("x")

    forget_old_logs(tmp_path, {2, 30})

    assert {path.name for path in tmp_path.glob("*.log")} == {"2.log", "30.log", "other.log"}
