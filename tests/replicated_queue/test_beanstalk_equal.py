"""Our door and Debian's beanstalkd are given the same commands and must give the same answers."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.replicated_queue.beanstalk_servers import BEANSTALKD, Pair, Server
from tests.waiting import until

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", 20 * 60))
ROUND_SECONDS = 30.0  # in which the bound of our queue is far off

pytestmark = pytest.mark.skipif(not Path(BEANSTALKD).exists(), reason="there is no beanstalkd here")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    with Server.ours(tmp_path) as ours, Server.beanstalkd(tmp_path) as theirs:
        yield ours, theirs


@pytest.mark.parametrize("seed", range(4))
def test_random_commands_are_answered_as_by_beanstalkd(servers: tuple[Server, Server], seed: int) -> None:
    pair = Pair(*servers, Random(seed))

    for _ in range(500):
        pair.step()

    pair.close()


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS + 300)
def test_random_commands_are_answered_as_by_beanstalkd_for_long(tmp_path: Path) -> None:
    """In rounds, each with empty servers: ours is bounded, and a round can be tried again by its seed."""
    seed = time.time_ns()
    end = time.monotonic() + SOAK_SECONDS
    steps = 0

    while time.monotonic() < end:
        print(f"seed {seed} after {steps} steps", flush=True)
        with Server.ours(tmp_path) as ours, Server.beanstalkd(tmp_path) as theirs:
            pair = Pair(ours, theirs, Random(seed))
            round_end = min(end, time.monotonic() + ROUND_SECONDS)
            while time.monotonic() < round_end:
                pair.step()
                steps += 1
            pair.close()
        seed += 1
    print(f"{steps} steps, all answered alike", flush=True)


@pytest.mark.parametrize(
    "script",
    [
        [b"put 1 0 0 1\r\na\r\n", b"reserve\r\n", b"reserve\r\n", b"reserve-with-timeout 5\r\n", b"stats-job 1\r\n"],
        [b"put 1 0 9 1\r\nab\r\n", b"list-tube-used\r\n", b"list-tube-used\r\n"],
        [b"put 1 0 9 70000\r\n" + b"x" * 70_002, b"list-tube-used\r\n"],
        [b"reserve-with-timeout 0 junk\r\n", b"reserve-with-timeout x\r\n", b"ignore default\r\n"],
        [b"put 1 0 9 1\r\na\r\n", b"reserve-with-timeout -1\r\n", b"delete 1\r\n", b"delete 1\r\n"],
        [b"put 1 9 9 1\r\na\r\n", b"kick-job 1\r\n", b"kick-job 1\r\n", b"stats-job 1\r\n"],
        [b"use " + b"x" * 220 + b"\r\n", b"use " + b"x" * 2000 + b"\r\n", b"list-tube-used\r\n"],
        [b"pause-tube default 9\r\n", b"put 1 0 9 1\r\na\r\n", b"reserve-with-timeout 0\r\n", b"peek-ready\r\n"],
    ],
)  # fmt: skip
def test_known_corners_are_answered_as_by_beanstalkd(
    servers: tuple[Server, Server], script: list[bytes]
) -> None:
    clients = [server.client() for server in servers]

    ours, theirs = ([client.ask(request) for request in script] for client in clients)

    assert ours == theirs
    for client in clients:
        client.close()


def test_a_body_that_comes_in_pieces_and_requests_that_come_at_once_are_cut_alike(
    servers: tuple[Server, Server],
) -> None:
    together = b"put 1 0 9 3\r\nabc\r\nreserve\r\ndelete 1\r\nlist-tube-used\r\n"
    answers = []

    for server in servers:
        client = server.client()
        for byte in together:
            client.send(bytes([byte]))
        client.send(together.replace(b"delete 1", b"delete 2"))
        answers.append([client.answer() for _ in range(8)])
        client.close()

    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("requests", "count"),
    [
        (b"reserve-with-timeout 30\r\nlist-tube-used\r\n", 2),
        (b"reserve\r\nreserve\r\nlist-tubes\r\n", 3),
        (b"put 1 0 9 1\r\na\r\nreserve\r\nreserve-with-timeout 30\r\ndelete 1\r\nlist-tubes\r\n", 5),
        (b"put 1 0 9 1\r\na\r\nreserve-with-timeout 30\r\nput 1 0 9 5\r\nab", 2),
    ],
)
def test_who_sends_no_more_is_answered_to_the_end_and_waits_for_no_job(
    servers: tuple[Server, Server], requests: bytes, count: int
) -> None:
    """As with `printf … | nc -N`."""
    answers = []

    for server in servers:
        client = server.client()
        client.send(requests)
        client.end()
        answers.append([client.answer() for _ in range(count + 1)])
        client.close()

    assert answers[0] == answers[1]
    assert answers[0][-1] == (b"", b"") and b"" not in answers[0][:-1]


def test_who_waits_for_a_job_and_says_that_it_sends_no_more_waits_no_longer(
    servers: tuple[Server, Server],
) -> None:
    answers = []

    for server in servers:
        client, other = server.client(), server.client()
        client.send(b"reserve\r\nlist-tube-used\r\n")
        until(lambda: other.stats()["current-waiting"] == "1", within_seconds=5, saying="it waits")  # noqa: B023
        client.end()
        answers.append([client.answer() for _ in range(3)])
        client.close()
        answers[-1].append(other.ask(b"put 1 0 9 1\r\na\r\n"))
        answers[-1].append(other.ask(b"reserve-with-timeout 1\r\n"))
        other.close()

    assert answers[0] == answers[1]
    assert [line for line, _ in answers[0][:2]] == [b"TIMED_OUT\r\n", b"USING default\r\n"]
