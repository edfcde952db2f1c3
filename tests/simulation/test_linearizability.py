"""The checker accepts what one queue can answer, in whatever order things overlapped, and nothing else."""

import pytest

from tests.simulation.linearizability import NEVER, Operation, is_linearizable


def put(job: int, invoked: float, returned: float, *, priority: int = 3, client: int = 1) -> Operation:
    return Operation(client, "put", priority, job, invoked, returned)


def reserve(job: tuple[int, int] | None, invoked: float, returned: float, *, client: int = 1) -> Operation:
    return Operation(client, "reserve", 0, job, invoked, returned)


def ack(job: tuple[int, int], held: bool, invoked: float, returned: float) -> Operation:
    return Operation(1, "ack", job, held, invoked, returned)


GOOD = {
    "nothing": [],
    "one after the other": [
        put(1, 0, 1), put(2, 2, 3), reserve((1, 3), 4, 5), ack((1, 3), True, 6, 7), reserve((2, 5), 8, 9),
    ],
    "urgent first": [put(1, 0, 1, priority=9), put(2, 2, 3, priority=0), reserve((2, 3), 4, 5), reserve((1, 4), 6, 7)],
    "puts that overlap, in either order": [put(2, 0, 10), put(1, 1, 9), reserve((1, 3), 11, 12)],
    "empty before the put that overlaps": [put(1, 0, 10), reserve(None, 1, 9), reserve((1, 3), 11, 12)],
    "a job taken before its put was answered": [put(1, 0, 10), reserve((1, 2), 1, 5)],
    "a put without an answer that happened": [put(1, 0, NEVER), reserve((1, 2), 1, 5)],
    "a put without an answer that never happened": [put(1, 0, NEVER), reserve(None, 1, 5), put(1, 6, 7)],
    "a put without an answer that happened late": [put(1, 0, NEVER), reserve(None, 1, 5), reserve((1, 9), 6, 7)],
    "a reserve without an answer that took the job": [put(1, 0, 1), reserve((0, 0), 2, NEVER), reserve(None, 3, 4)],
    "an ack of who holds it no more": [
        put(1, 0, 1), reserve((1, 2), 2, 3), ack((1, 2), True, 4, 5), ack((1, 2), False, 6, 7),
    ],
}  # fmt: skip
BAD = {
    "one job to two": [put(1, 0, 1), reserve((1, 2), 2, 3), reserve((1, 3), 2, 3, client=2)],
    "a job that nobody put": [reserve((1, 2), 0, 1)],
    "the less urgent first": [put(1, 0, 1, priority=9), put(2, 2, 3, priority=0), reserve((1, 3), 4, 5)],
    "the younger first": [put(1, 0, 1), put(2, 2, 3), reserve((2, 3), 4, 5)],
    "empty though a put was answered": [put(1, 0, 1), reserve(None, 2, 3)],
    "a lost put": [put(1, 0, 1), put(2, 2, 3), reserve((2, 4), 4, 5), reserve(None, 6, 7)],
    "one put done twice": [put(1, 0, 1), reserve((1, 3), 2, 3), reserve((2, 4), 4, 5)],
    "one id given twice": [put(1, 0, 1), put(1, 2, 3)],
    "an id out of turn": [put(2, 0, 1), put(1, 2, 3)],
    "a token that falls": [put(1, 0, 1), put(2, 2, 3), reserve((1, 9), 4, 5), reserve((2, 8), 6, 7)],
    "an ack under another's token": [put(1, 0, 1), reserve((1, 2), 2, 3), ack((1, 7), True, 4, 5)],
    "a second ack that succeeds": [
        put(1, 0, 1), reserve((1, 2), 2, 3), ack((1, 2), True, 4, 5), ack((1, 2), True, 6, 7),
    ],
    "a job back after its ack": [
        put(1, 0, 1), reserve((1, 2), 2, 3), ack((1, 2), True, 4, 5), reserve((1, 6), 6, 7),
    ],
    "seen, then unseen": [put(1, 0, 10), put(2, 0, 10), reserve((1, 3), 1, 2), reserve(None, 11, 12)],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_good_histories_are_accepted(name: str) -> None:
    assert is_linearizable(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_bad_histories_are_rejected(name: str) -> None:
    assert not is_linearizable(BAD[name])
