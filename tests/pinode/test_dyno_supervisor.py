"""Dynos as real processes in their real sandbox: started, watched, found again, stopped."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pinode.apps.commands import DestroyApp
from pinode.dynos.proc import start_time
from tests.pinode.dyno_world import QUICK, World, make_world
from tests.pinode.router_world import free_ports
from tests.waiting import eventually

RUN = "exec python3 server.py"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await make_world(tmp_path)
    yield made
    made.end_processes()


async def test_a_placed_dyno_answers_and_finds_its_environment_byte_for_byte(world: World) -> None:
    version = world.deploy(web=RUN)
    values = {
        "DOLLAR": "a$HOME ${x} $(id)",
        "QUOTES": "'\"`\\",
        "LINES": "one\ntwo",
        "BLANK": " a  b ",
        "EMPTY": "",
        "EMOJI": "🍓=#;",
        "PORT": "1",
    }
    world.configure(**values)
    async with world.running() as supervisor:
        number = world.place(version + 1)
        await eventually(world.is_in(number, "up"), within_seconds=10)
        answer = await world.ask(number)
        row = world.rows[number]
        await supervisor.stop_all()

    for name in set(values) - {"PORT"}:
        assert f"\n{name}={values[name]}\n" in answer
    for line in (f"PORT={row.port}", "PINODE_APP=blog", "PINODE_DYNO=web.1", "HOME=/app", "LANG=C.UTF-8"):
        assert f"\n{line}\n" in answer
    assert f"PINODE_RELEASE=v{version + 1}" in answer and "PINODE_NODE=pi1" in answer
    assert f"GUNICORN_CMD_ARGS=--bind=127.0.0.1:{row.port}" in answer
    assert "hello from the app" in world.log(number)


async def test_a_dyno_sees_neither_the_node_nor_other_apps_nor_other_processes(world: World) -> None:
    (world.data_dir / "cluster.key").write_text("secret")
    look = (
        f"ls {world.data_dir} /root /home /var; ls -d /proc/[0-9]* | wc -l; echo end; exec python3 server.py"
    )
    async with world.running() as supervisor:
        number = world.place(world.deploy(web=look))
        await eventually(world.is_in(number, "up"), within_seconds=10)
        log = world.log(number)
        await supervisor.stop_all()

    seen = log.partition("end")[0]
    assert "secret" not in seen and "cluster.key" not in seen
    assert seen.count("No such file") == 4
    assert int(seen.split()[-1]) < 8


async def test_a_dyno_gets_sigterm_and_leaves_nothing_behind(world: World) -> None:
    async with world.running():
        number = world.place(world.deploy(web=RUN))
        await eventually(world.is_in(number, "up"), within_seconds=10)
        inside = world.processes_of(number)
        world.unplace(number)
        await eventually(world.is_in(number, "stopping"))
        await eventually(world.is_gone(number))
        await eventually(lambda: not (world.data_dir / "dynos" / str(number)).exists())

    assert inside and not any(start_time(pid) for pid in inside)
    assert "got SIGTERM" in world.log(number)


async def test_a_dyno_that_ignores_sigterm_is_killed_with_everything_in_it(world: World) -> None:
    stubborn = "trap '' TERM; python3 server.py & (trap '' TERM; setsid tail -f /dev/null) & wait; wait; wait"
    async with world.running():
        number = world.place(world.deploy(web=stubborn.replace("python3", "setsid python3")))
        await eventually(world.is_in(number, "up"), within_seconds=10)
        inside = world.processes_of(number)
        world.unplace(number)
        await eventually(world.is_gone(number), within_seconds=5)

    assert len(inside) >= 3
    await eventually(lambda: not any(start_time(pid) for pid in inside))


async def test_a_crash_loop_is_reported_as_such_with_the_last_line(world: World) -> None:
    async with world.running() as supervisor:
        number = world.place(world.deploy(web="echo starting; echo ImportError: no module >&2; exit 3"))
        await eventually(world.is_in(number, "failed"), within_seconds=10)
        row = world.rows[number]
        await supervisor.stop_all()

    assert row.restarts == 2 and row.exit_code == 3
    assert "crashed 3 times in a row" in str(row.detail)
    assert "exited with status 3: ImportError: no module" in str(row.detail)
    assert world.log(number).count("starting\n") >= 3


async def test_a_dyno_that_its_slug_does_not_fit_is_started_at_once_from_one_that_does_when_there_is_one(
    tmp_path: Path,
) -> None:
    world = await make_world(tmp_path, server="raise SystemExit('this was built for another machine')")
    async with world.running(timings=replace(QUICK, retry_seconds=3600)) as supervisor:
        version = world.deploy(arch="m68k", web=RUN)
        number = world.place(version)
        await eventually(world.is_in(number, "failed"), within_seconds=10)

        await world.add_slug(version)

        await eventually(world.is_in(number, "up"), within_seconds=10)
        await supervisor.stop_all()


async def test_a_dyno_that_takes_too_much_memory_is_ended_saying_so_and_others_go_on(tmp_path: Path) -> None:
    world = await make_world(tmp_path, memory_bytes=100 * 1024**2)
    hog = "exec python3 -c 'kept = bytearray(150 << 20); import signal; signal.pause()'"
    async with world.running(
        timings=replace(QUICK, backoff_seconds=3600, longest_backoff_seconds=3600)
    ) as supervisor:
        version = world.deploy(web=RUN, hog=hog)
        web, number = world.place(version), world.place(version, "hog")
        await eventually(world.is_in(web, "up"), within_seconds=10)
        await eventually(world.is_in(number, "crashed"), within_seconds=20)
        row = world.rows[number]
        assert world.is_in(web, "up")()
        await supervisor.stop_all()

    assert "MiB of memory; 100 MiB are allowed ([limits] dyno_memory_bytes). Started again in" in str(
        row.detail
    )


async def test_an_app_that_ignores_port_is_told_where_it_listens(world: World) -> None:
    (own,) = free_ports(1)
    timings = type(QUICK)(start_seconds=1.5, stop_seconds=1)
    async with world.running(timings=timings) as supervisor:
        number = world.place(world.deploy(web=f"{RUN} {own}"))
        await eventually(world.is_in(number, "failed"), within_seconds=10)
        detail = str(world.rows[number].detail)
        await supervisor.stop_all()

    assert f"it listens on {own} instead of" in detail and "PORT" in detail


async def test_another_program_on_the_port_is_not_taken_for_the_dyno(world: World) -> None:
    """Whatever answers on PORT counts only if the listening socket is the dyno's own."""
    answered = []

    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    timings = type(QUICK)(start_seconds=2, stop_seconds=1)
    async with world.running(timings=timings) as supervisor:
        number = world.place(world.deploy(web="echo port $PORT; exec tail -f /dev/null"))
        await eventually(lambda: "port " in world.log(number), within_seconds=10)
        port = int(world.log(number).partition("port ")[2].split()[0])
        server = await asyncio.start_server(impostor, "127.0.0.1", port)
        await eventually(world.is_in(number, "failed"), within_seconds=10)
        await supervisor.stop_all()
        server.close()

    assert "held by another program" in str(world.rows.get(number) or world.log(number))
    assert answered == []


async def test_what_runs_on_after_its_outermost_process_was_killed_is_ended_too(world: World) -> None:
    async with world.running() as supervisor:
        number = world.place(world.deploy(web=RUN))
        await eventually(world.is_in(number, "up"), within_seconds=10)
        inside = world.processes_of(number)
        (outermost,) = {parent_of(pid) for pid in inside} - inside
        os.kill(outermost, signal.SIGKILL)
        await eventually(lambda: world.rows[number].restarts == 1 and world.rows[number].state == "up")
        await supervisor.stop_all()

    assert not any(start_time(pid) for pid in inside)


async def test_a_dyno_that_was_never_noted_does_not_run_on_unseen(world: World) -> None:
    """As when the node process is killed between making the process and noting it."""
    async with world.running():
        number = world.place(world.deploy(web=RUN))
        await eventually(world.is_in(number, "up"), within_seconds=10)
        inside = world.processes_of(number)
    (world.data_dir / "dynos" / str(number) / "dyno").unlink()

    async with world.running() as supervisor:
        await eventually(lambda: not any(start_time(pid) for pid in inside))
        await eventually(world.is_in(number, "up"), within_seconds=10)
        await supervisor.stop_all()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_a_worker_needs_no_port(world: World) -> None:
    async with world.running() as supervisor:
        number = world.place(world.deploy(worker="exec tail -f /dev/null"), "worker")
        await eventually(world.is_in(number, "up"), within_seconds=10)
        row = world.rows[number]
        await supervisor.stop_all()

    assert row.port is None


async def test_a_dyno_outlives_the_node_and_is_found_again(world: World) -> None:
    async with world.running():
        number = world.place(world.deploy(web=RUN))
        await eventually(world.is_in(number, "up"), within_seconds=10)
        before = world.processes_of(number), world.rows[number].port

    assert "401" in await world.ask(number)
    world.rows.clear()
    async with world.running() as supervisor:
        await eventually(lambda: world.rows)
        first = world.rows[number]
        after = world.processes_of(number), first.port
        await supervisor.stop_all()

    assert first.state == "up" and before == after


async def test_a_dyno_that_ended_while_the_node_was_away_is_started_again_and_its_status_is_known(
    world: World,
) -> None:
    async with world.running():
        number = world.place(world.deploy(web=RUN))
        await eventually(world.is_in(number, "up"), within_seconds=10)
        inside = world.processes_of(number)
    for pid in inside:
        with suppress(ProcessLookupError):  # with the first of them the kernel ended the others
            os.kill(pid, signal.SIGKILL)
    await eventually(lambda: "exit-code" in (world.data_dir / "dynos" / str(number) / "status").read_text())
    world.rows.clear()

    async with world.running() as supervisor:
        await eventually(world.is_in(number, "up"), within_seconds=10)
        await supervisor.stop_all()

    assert "It ended while the node was away (with status 137)" in world.log(number)


async def test_a_dyno_whose_placement_went_meanwhile_is_stopped_only_when_the_node_has_caught_up(
    world: World,
) -> None:
    async with world.running():
        number = world.place(world.deploy(web=RUN))
        await eventually(world.is_in(number, "up"), within_seconds=10)
    world.unplace(number)
    world.is_caught_up = False
    world.rows.clear()

    async with world.running():
        await eventually(world.is_in(number, "up"))
        world.cluster.note_change()
        await asyncio.sleep(0)
        assert "401" in await world.ask(number)
        world.is_caught_up = True
        world.cluster.note_change()
        await eventually(world.is_gone(number), within_seconds=5)


async def test_a_dyno_that_cannot_be_noted_is_not_left_running(world: World) -> None:
    number = world.place(world.deploy(web=RUN))
    async with world.running():
        await eventually(world.is_in(number, "up"))
        (world.data_dir / "dynos" / str(number) / "dyno.new").mkdir()  # as good as a full disk

        os.kill(max(world.processes_of(number)), signal.SIGKILL)

        await eventually(world.is_in(number, "failed"), within_seconds=10)
        assert "could not be started" in str(world.rows[number].detail)
        await eventually(lambda: not _processes_in(world.data_dir))


def _processes_in(data_dir: Path) -> list[str]:
    """Pids of what was started in this data directory, found by the files that it holds open."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd/[0-9]*"):
        try:
            if entry.parts[2] != str(os.getpid()) and str(data_dir) in os.readlink(entry):
                found.append(entry.parts[2])
        except OSError:
            continue
    return found


async def test_the_log_of_an_app_goes_with_it_also_where_none_of_its_dynos_ran_at_the_end(
    world: World,
) -> None:
    left = world.data_dir / "logs" / "blog"
    left.mkdir(parents=True)
    (left / "web.1.3.log").write_text("of a dyno that moved away long ago")
    (world.data_dir / "logs" / "older").mkdir()
    (world.data_dir / "logs" / "older" / "web.1.1.log").write_text("of an app destroyed while we were away")

    async with world.running():
        await eventually(lambda: not (world.data_dir / "logs" / "older").exists())
        assert left.exists()
        world.cluster.apply(DestroyApp(name="blog", actor="ada"))
        await eventually(lambda: not left.exists())


async def test_without_a_leader_a_node_starts_the_web_dynos_it_ran_last(world: World) -> None:
    async with world.running() as supervisor:
        version = world.deploy(web=RUN, worker="exec tail -f /dev/null")
        web, worker = world.place(version), world.place(version, "worker")
        await eventually(world.is_in(web, "up"), within_seconds=10)
        await eventually(world.is_in(worker, "up"), within_seconds=10)
        inside = world.processes_of(web) | world.processes_of(worker)
    for pid in inside:
        with suppress(ProcessLookupError):  # with the first of them the kernel ended the others
            os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not any(start_time(pid) for pid in inside))
    world.is_caught_up, world.cluster.leader_id = False, None
    world.rows.clear()

    async with world.running(leaderless_seconds=0.1) as supervisor:
        await eventually(world.is_in(web, "up"), within_seconds=10)
        assert worker not in world.rows
        await supervisor.stop_all()


async def test_a_thousand_lines_a_moment_and_a_line_of_a_megabyte_block_nobody(world: World) -> None:
    noisy = (
        "python3 -c 'import sys; sys.stdout.write(\"x\" * 1_000_000 + chr(10))';"
        "python3 -c 'import sys; [print(n, \"y\" * 80) for n in range(100_000)]'; echo done; " + RUN
    )
    async with world.running() as supervisor:
        number = world.place(world.deploy(web=noisy))
        await eventually(world.is_in(number, "up"), within_seconds=15)
        await eventually(lambda: "State is up" in world.log(number))
        size = sum(part.stat().st_size for part in (world.data_dir / "logs/blog").iterdir())
        await supervisor.stop_all()

    assert size <= world.cluster.settings.limits.log_bytes
