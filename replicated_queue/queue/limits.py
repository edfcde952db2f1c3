"""What the queue refuses before it looks at its state: names, sizes and numbers outside their bounds."""

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from replicated_queue.errors import InvalidRequest
from replicated_queue.queue.backoff import MAX_BACKOFF_MS
from replicated_queue.queue.commands import (
    MAX_JOBS_PER_COMMAND,
    Ack,
    AckMany,
    Bury,
    Command,
    GiveBack,
    Kick,
    Nack,
    Pause,
    Purge,
    Put,
    PutMany,
    Reserve,
    ReserveJob,
    SetTopic,
)
from replicated_queue.queue.job import (
    LOWEST_PRIORITY,
    MAX_DATA_BYTES,
    MAX_LEASE_MS,
    MIN_LEASE_MS,
    check_bytes,
    check_number,
    check_text,
    check_topic,
)

MEBIBYTE = 1024 * 1024
DAY_MS = 24 * 3600 * 1000
MAX_TOPICS_PER_RESERVE = 100
MAX_ATTEMPTS = 1_000_000
MAX_NEEDS = 8  # of one job
MAX_DIFFERENT_NEEDS = 64  # among the jobs of one topic, for a reserve looks at each
MAX_ABILITIES = 64  # of one worker
MAX_ABILITY_BYTES = 64
ABILITY_PATTERN: Final = re.compile(r"[A-Za-z0-9+/;.$_()=:-]{1,64}")


_PLAIN_PUT: Final = Put("any", b"")[2:]  # a put that asks for nothing in particular
_PLAIN_RESERVE: Final = Reserve(("any",))[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """Bounds of the whole queue. The same on all replicas: they decide results."""

    max_jobs: int = 100_000
    max_bytes: int = 32 * MEBIBYTE  # of job data and of all texts with it
    max_buried: int = 10_000  # the oldest is dropped and counted
    max_buried_ms: int = 30 * DAY_MS  # one that is older is dropped and counted
    max_set_topics: int = 1_000  # topics with settings of their own
    max_topics: int = 5_000  # with jobs or settings
    max_idle_topics: int = 1_000  # topics without jobs whose counts are kept; the longest idle go first
    max_finished: int = 10_000
    max_finished_bytes: int = 4 * MEBIBYTE  # their results
    dedupe_window_ms: int = DAY_MS  # how long a key is remembered after its job succeeded
    platform_share: float = 0.1  # of jobs, bytes and topics, kept free for the platform's own


def check_command(command: Command, known: Container[str] = ()) -> None:
    """Raise the `Refusal` that fits what is wrong with `command`, whatever the state.

    `known` are topics that there are, whose names are good.
    """
    match command:
        case Put():
            _check_put(command, known)
        case Reserve():
            _check_reserve(command, known)
        case Ack():
            check_bytes("the result", command.result)
        case PutMany():
            _check_count("put_many", len(command.puts))
            for put in command.puts:
                _check_put(put)
        case ReserveJob():
            check_text("the worker's name", command.worker)
            _check_lease(command.lease_ms)
        case AckMany():
            _check_count("ack_many", len(command.leases))
        case Nack():
            check_text("the reason", command.reason)
            if command.delay_ms is not None:
                check_number("the delay in ms", command.delay_ms, low=0, high=MAX_LEASE_MS)
            _check_priority(command.priority)
        case Bury():
            check_text("the reason", command.reason)
            _check_priority(command.priority)
        case GiveBack():
            _check_count("give_back", len(command.leases))
        case Pause():
            check_topic(command.topic, platform=command.platform)
            check_number("the pause in ms", command.pause_ms, low=0, high=MAX_LEASE_MS)
        case Purge():
            check_topic(command.topic, platform=command.platform)
            check_number("the bound of a purge", command.bound, low=1, high=MAX_JOBS_PER_COMMAND)
        case SetTopic():
            _check_settings(command)
        case Kick():
            check_topic(command.topic, platform=command.platform)
            check_number("the bound of a kick", command.bound, low=0, high=2**32 - 1)
        case _:
            pass  # the others name a job and nothing else


def _check_put(put: Put, known: Container[str] = ()) -> None:
    check_topic(put.topic, platform=put.platform, known=known)
    if put[2:] == _PLAIN_PUT and len(put.data) <= MAX_DATA_BYTES:
        return  # nearly all: every put is checked on every node
    if (
        len(put.data) <= MAX_DATA_BYTES
        and 0 <= put.priority <= LOWEST_PRIORITY
        and 0 <= put.delay_ms <= MAX_LEASE_MS
        and MIN_LEASE_MS <= put.lease_ms <= MAX_LEASE_MS
        and 0 <= put.max_attempts <= MAX_ATTEMPTS
        and 0 <= put.backoff_ms <= MAX_BACKOFF_MS
        and put.dedupe_key is None
        and not put.needs
    ):
        return
    check_bytes("the job's data", put.data)
    check_number("the priority", put.priority, low=0, high=LOWEST_PRIORITY)
    check_number("the delay in ms", put.delay_ms, low=0, high=MAX_LEASE_MS)
    check_number("the lease in ms", put.lease_ms, low=MIN_LEASE_MS, high=MAX_LEASE_MS)
    check_number("max_attempts", put.max_attempts, low=0, high=MAX_ATTEMPTS)
    check_number("the back-off in ms", put.backoff_ms, low=0, high=MAX_BACKOFF_MS)
    if put.dedupe_key is not None:
        check_text("the dedupe key", put.dedupe_key)
    if put.needs:
        _check_abilities("a job's needs", put.needs, most=MAX_NEEDS)


def _check_settings(command: SetTopic) -> None:
    check_topic(command.topic, platform=command.platform)
    for what, value, high in (
        ("the topic's bound on jobs", command.max_jobs, 2**32 - 1),
        ("the topic's bound on bytes", command.max_bytes, 2**48),
        ("the topic's ageing in ms", command.ageing_ms, DAY_MS),
    ):
        if value is not None:
            check_number(what, value, low=0, high=high)


def _check_reserve(command: Reserve, known: Container[str]) -> None:
    if command[1:] == _PLAIN_RESERVE and len(command.topics) == 1:
        check_topic(command.topics[0], platform=False, known=known)
        return
    if command.worker:
        check_text("the worker's name", command.worker)
    check_number("the number of jobs", command.count, low=1, high=MAX_JOBS_PER_COMMAND)
    _check_lease(command.lease_ms)
    if not 1 <= len(command.topics) <= MAX_TOPICS_PER_RESERVE:
        raise InvalidRequest(
            f"a reserve names {len(command.topics)} topics, but must name 1 to {MAX_TOPICS_PER_RESERVE}."
        )
    for topic in command.topics:
        check_topic(topic, platform=command.platform, known=known)
    if command.has:
        _check_abilities("what a worker has", command.has, most=MAX_ABILITIES)


def _check_abilities(what: str, words: tuple[str, ...], *, most: int) -> None:
    if len(words) > most:
        raise InvalidRequest(f"{what} are {len(words)} words, but at most {most} are allowed.")
    for word in words:
        if ABILITY_PATTERN.fullmatch(word) is None:
            raise InvalidRequest(
                f"{word[:100]!r} names nothing a worker can have: 1 to {MAX_ABILITY_BYTES} letters, digits "
                "and -+/;.$_()=:, for example 'arch=aarch64'."
            )


def _check_lease(lease_ms: int | None) -> None:
    if lease_ms is not None:
        check_number("the lease in ms", lease_ms, low=MIN_LEASE_MS, high=MAX_LEASE_MS)


def _check_priority(priority: int | None) -> None:
    if priority is not None:
        check_number("the priority", priority, low=0, high=LOWEST_PRIORITY)


def _check_count(what: str, count: int) -> None:
    if not 1 <= count <= MAX_JOBS_PER_COMMAND:
        raise InvalidRequest(f"{what} was given {count} jobs, but takes 1 to {MAX_JOBS_PER_COMMAND}.")
