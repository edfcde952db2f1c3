"""A job that only waits is kept as a tuple, which Python's garbage collector leaves alone."""

import gc
from collections.abc import Callable

import pytest

from replicated_queue.queue.commands import Cancel, Nack, Pause, Purge, Reserve
from replicated_queue.queue.job import JobRecord
from replicated_queue.queue.priority_queue import PriorityQueue
from replicated_queue.queue.views import page_of_jobs, peek_job, topic_stats
from tests.replicated_queue.queue_log import QueueLog
from tests.replicated_queue.test_snapshots_of_state import carried_over

MANY = 1_000


def records() -> int:
    """How many there are for the garbage collector to look at."""
    gc.collect()
    return sum(type(found) is JobRecord for found in gc.get_objects())


@pytest.fixture
def log() -> QueueLog:
    log = QueueLog()
    for number in range(MANY):
        log.put(b"%d" % number, priority=number % 3)
    return log


def restored(queue: PriorityQueue) -> PriorityQueue:
    other = PriorityQueue()
    carried_over({"queue": queue}, {"queue": other})
    return other


def test_a_long_queue_is_nothing_to_the_garbage_collector_also_when_it_comes_from_a_snapshot() -> None:
    before, objects = records(), len(gc.get_objects())
    log = QueueLog()
    for number in range(MANY):
        log.put(b"%d" % number)
    other = restored(log.queue)
    gc.collect()
    gc.collect()  # a tuple in a tuple is let go one round later

    assert records() == before
    assert len(gc.get_objects()) - objects < MANY / 10
    assert other.digest() == log.queue.digest()


@pytest.mark.parametrize(
    "look",
    [
        lambda queue: peek_job(queue, 7, now=0, platform=False),
        lambda queue: page_of_jobs(queue, "mail", state=None, after=0, limit=100, now=0, platform=False),
        lambda queue: page_of_jobs(queue, "mail", state="buried", after=0, limit=100, now=0, platform=False),
        lambda queue: queue.digest(),
        lambda queue: list(queue.leases()),
        restored,
    ],
    ids=["peek", "page", "page of buried", "digest", "leases", "snapshot"],
)
def test_looking_at_jobs_leaves_them_as_small_as_they_were(
    log: QueueLog, look: Callable[[PriorityQueue], object]
) -> None:
    before = records()

    answer = look(log.queue)

    del answer
    assert records() == before


def test_a_job_that_was_held_stays_a_record_and_those_beside_it_do_not_become_one(log: QueueLog) -> None:
    before = records()

    job_id, token = log.take()
    log.apply(Nack(job_id, token, reason="not now"))
    log.apply(Pause("mail", 1_000))
    log.apply(Cancel(MANY))

    assert records() == before + 1
    view = peek_job(log.queue, job_id, now=log.now, platform=False)
    assert (view.attempts, view.nacks, view.reasons) == (1, 1, ("attempt 1: not now",))


def test_jobs_come_in_turn_whether_they_only_waited_or_were_given_back_and_purged_ones_do_not(
    log: QueueLog,
) -> None:
    first, token = log.take()
    log.apply(Nack(first, token, delay_ms=0))
    order = [log.take()[0] for _ in range(MANY - 10)]
    log.apply(Purge("mail", 100))

    assert order == sorted(range(1, MANY + 1), key=lambda job_id: ((job_id - 1) % 3, job_id))[: MANY - 10]
    assert log.reserve() is None and topic_stats(log.queue, "mail", now=0, platform=False).ready == 0
    assert log.apply(Reserve(("mail",), "w")) is not None
