"""How large answers become, so that none is too large for its frame: those with jobs carry their data.

A frame between nodes holds 8 MiB, one to a client 2 MiB. What a reserve will find is not known before; what
it has found is. Pure.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from replicated_queue.queue.codec import JOBS
from replicated_queue.queue.commands import Reserve, ReserveJob
from replicated_queue.queue.job import MAX_DATA_BYTES
from replicated_queue.queue.priority_queue import MAX_RESERVED_BYTES

MEBIBYTE: Final = 1024 * 1024
MOST_ASKED_BYTES: Final = 6 * MEBIBYTE  # of answers to requests that go to the leader together
MOST_TOLD_BYTES: Final = MEBIBYTE // 2  # of answers in one frame to a client; a larger one still goes alone
SMALL_BYTES: Final = 64
JOB_BYTES: Final = 300  # beside its data


def most_bytes(commands: Iterable[Any]) -> int:
    """What the answers to these commands can be, about."""
    return sum(map(_most_bytes_of, commands))


def divided(commands: Sequence[Any]) -> Iterator[range]:
    """Places of those whose answers fit together."""
    start = size = 0
    for place, command in enumerate(commands):
        more = _most_bytes_of(command)
        if place > start and size + more > MOST_ASKED_BYTES:
            yield range(start, place)
            start, size = place, 0
        size += more
    yield range(start, len(commands))


def told_together(answers: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The answers, in their order, by frame."""
    start = size = 0
    for place, answer in enumerate(answers):
        more = _bytes_of(answer)
        if place > start and size + more > MOST_TOLD_BYTES:
            yield answers[start:place]
            start, size = place, 0
        size += more
    yield answers[start:]


def _most_bytes_of(command: Any) -> int:
    if type(command) is Reserve:
        most = MAX_DATA_BYTES + JOB_BYTES
        return most if command.count == 1 else min(command.count * most, MAX_RESERVED_BYTES + MAX_DATA_BYTES)
    return MAX_DATA_BYTES if type(command) is ReserveJob else SMALL_BYTES


def _bytes_of(answer: Any) -> int:
    if type(answer) in (tuple, list) and len(answer) > 2 and answer[0] == JOBS:
        return sum([len(job[2]) + JOB_BYTES for job in answer[2:]])
    return SMALL_BYTES
