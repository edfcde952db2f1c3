"""A job that only waits is kept as a tuple, which Python's garbage collector leaves alone."""

import gc
from collections.abc import Callable

import pytest

from replicated_queue.queue.commands import Ack, Cancel, Nack, Pause, Purge, Reserve
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


def test_each_job_has_what_its_own_put_wished_for_whatever_others_of_its_topic_did() -> None:
    log, wished = QueueLog(), {}
    for number in range(40):
        wishes = {"lease_ms": 1_000 + number % 3, "max_attempts": number % 2, "backoff_ms": number // 20}
        wished[log.put(topic=f"mail-{number % 4}", **wishes)] = wishes
    for job_id, _ in [log.take("mail-0") for _ in range(10)]:
        log.apply(Cancel(job_id, force=True))
        del wished[job_id]
    last = {"lease_ms": 7_000, "max_attempts": 9, "backoff_ms": 3}
    wished[log.put(topic="mail-0", **last)] = last

    for queue in (log.queue, restored(log.queue)):
        for job_id, wishes in wished.items():
            job = queue.jobs[job_id]
            assert {name: getattr(job, name) for name in wishes} == wishes


def test_of_topics_that_came_and_went_nothing_is_kept_with_the_jobs() -> None:
    log = QueueLog()
    for number in range(30):
        log.put(topic=f"topic-{number}")
        log.apply(Ack(*log.take(f"topic-{number}")))

    assert not log.queue.jobs._usual
