"""`run`: a command in the app's own sandbox, its output as it comes, its status at the end, nothing left."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from pinode.apps.commands import CreateApp, DestroyApp, MakeReleaseLive
from pinode.dynos.one_off import AT_ONCE, NothingToRun, OneOffs, run_command
from pinode.errors import Conflict, PinodeError
from pinode.sandbox.sandbox import find_isolation
from pinode.slugs.replication import SlugReplication
from pinode.slugs.slug_store import SlugStore
from tests.pinode.dyno_world import World, make_world
from tests.waiting import eventually

SERVE = "exec python3 server.py"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The app blog with a live release, on a node that runs one-off dynos."""
    made = await make_world(tmp_path)
    made.configure(SECRET="a $b 'c'")
    made.cluster.apply(MakeReleaseLive(app="blog", version=made.deploy(web=SERVE)))
    slugs = SlugStore(tmp_path / "slugs", most_bytes=10_000_000)
    one_offs = OneOffs(
        made.cluster,
        directory=tmp_path / "run",
        log_directory=tmp_path / "logs",
        slugs=slugs,
        replication=SlugReplication(made.cluster, slugs),
        isolation=find_isolation(required=True),
    )
    one_offs.serve()
    task = asyncio.create_task(one_offs.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def run(world: World, command: str, *, detach: bool = False) -> tuple[str, str, int | None]:
    """Name, output and status."""
    name, output, status = "", b"", None
    async for kind, data in run_command(world.cluster, "blog", command, detach=detach):
        match kind:
            case "name":
                name = data.decode()
            case "output":
                output += data
            case "exit":
                status = int(data)
    return name, output.decode(), status


def folders(world: World) -> list[Path]:
    return list((world.data_dir / "run").glob("*"))


async def test_it_sees_the_apps_files_and_config_and_its_status_comes_back(world: World) -> None:
    name, output, status = await run(
        world,
        'ls; echo "$SECRET $PINODE_APP $PINODE_RELEASE $PINODE_DYNO ${PORT-none}"; echo bad >&2; exit 7',
    )

    assert output == f"server.py\na $b 'c' blog v1 {name} none\nbad\n"
    assert status == 7 and name.startswith("run.")
    assert folders(world) == []


async def test_it_is_walled_in_as_a_dyno_is_and_gets_no_input(world: World) -> None:
    (world.data_dir / "cluster.key").write_text("secret")

    _, output, status = await run(
        world, f"cat {world.data_dir}/cluster.key; read x; echo done; ls -A /root /home"
    )

    assert "secret" not in output and "done" in output and status != 0


async def test_a_signal_is_told_as_a_shell_tells_it(world: World) -> None:
    _, _, status = await run(world, "kill -9 $$")

    assert status == 137


async def test_when_nobody_watches_any_more_it_is_ended_with_all_it_started(world: World) -> None:
    async with aclosing(
        run_command(world.cluster, "blog", "echo began; sleep 1000 & sleep 1000", detach=False)
    ) as parts:
        async for kind, data in parts:
            if kind == "output" and b"began" in data:
                (folder,) = folders(world)
                inside = int(json.loads((folder / "status").read_text().splitlines()[0])["child-pid"])
                break

    await eventually(lambda: not Path(f"/proc/{inside}").exists(), within_seconds=10)
    await eventually(lambda: folders(world) == [])


async def test_detached_it_goes_on_and_its_output_is_in_the_apps_log(world: World) -> None:
    name, output, status = await run(world, "echo from afar; exit 3", detach=True)

    assert (output, status) == ("", None)
    logs = world.data_dir / "logs" / "blog"
    await eventually(
        lambda: any("It ended with status 3" in log.read_text() for log in logs.glob(f"{name}.*.log")),
        within_seconds=10,
    )
    assert any("from afar\n" in log.read_text() for log in logs.glob(f"{name}.*.log"))
    await eventually(lambda: folders(world) == [])


@pytest.mark.parametrize("command", ["", "  ", "a\0b", "x" * 5000])
async def test_what_is_no_command_is_refused(world: World, command: str) -> None:
    with pytest.raises(PinodeError):
        await run(world, command)


async def test_without_a_live_release_or_a_node_there_is_nothing_to_run_in(world: World) -> None:
    world.cluster.change_node("pi1", roles=("build",))
    with pytest.raises(Conflict):
        await run(world, "true")
    with pytest.raises(NothingToRun):
        async for _ in run_command(world.cluster, "shop", "true", detach=False):
            pass


async def test_only_so_many_run_at_once_on_a_node(world: World) -> None:
    streams = [
        run_command(world.cluster, "blog", "echo up; sleep 1000", detach=False) for _ in range(AT_ONCE)
    ]
    for stream in streams:
        while (await anext(stream))[0] != "output":
            pass

    with pytest.raises(Conflict):
        await run(world, "true")
    for stream in streams:
        await stream.aclose()
    await eventually(lambda: folders(world) == [], within_seconds=10)
    assert (await run(world, "true"))[2] == 0


async def test_those_asked_for_at_the_same_moment_are_bounded_too(world: World) -> None:
    """They all count before the first of them has begun."""
    asked = [run(world, "exec sleep 1000", detach=True) for _ in range(AT_ONCE + 3)]

    answers = await asyncio.gather(*asked, return_exceptions=True)

    refused = [answer for answer in answers if isinstance(answer, Conflict)]
    assert (len(refused), len(answers)) == (3, AT_ONCE + 3)
    with pytest.raises(Conflict):
        await run(world, "true")


@pytest.mark.parametrize("is_there_again", [True, False])
async def test_detached_it_ends_with_its_app(world: World, is_there_again: bool) -> None:
    await run(world, "while :; do echo on; sleep 0.05; done", detach=True)
    await eventually(lambda: [(one / "status").exists() for one in folders(world)] == [True])

    world.cluster.apply(DestroyApp(name="blog", actor="ada"))
    if is_there_again:
        world.cluster.apply(CreateApp(name="blog", owner="bob"))

    await eventually(lambda: folders(world) == [], within_seconds=10)
