"""The hash of a queue's whole state: made in short steps, and different where anything is."""

from random import Random

from replicated_queue.errors import Refusal
from replicated_queue.queue.commands import Ack
from replicated_queue.queue.job_book import HASHED_A_STEP
from replicated_queue.queue.priority_queue import PriorityQueue
from tests.replicated_queue.queue_log import QueueLog
from tests.replicated_queue.test_queue_properties import LIMITS, random_command


def queue_with_many_keys(count: int) -> QueueLog:
    log = QueueLog()
    for number in range(count):
        log.put(dedupe_key=f"key {number}")
    for _ in range(count // 2):
        log.apply(Ack(*log.take()))
    return log


def test_the_hash_of_the_state_is_made_in_steps_of_some_rows() -> None:
    log = queue_with_many_keys(4 * HASHED_A_STEP)
    rows = len(log.queue.jobs) + len(list(log.queue.finished.all()))

    assert sum(1 for _ in log.queue.digest_steps()) >= rows / HASHED_A_STEP


def test_the_hash_of_the_state_says_who_holds_a_dedupe_key() -> None:
    one, other = queue_with_many_keys(10), queue_with_many_keys(10)
    assert one.queue.digest() == other.queue.digest()

    other.queue._book.keys.put("mail", "key 9", 3)

    assert one.queue.digest() != other.queue.digest()


def test_each_dedupe_key_is_that_of_a_job_that_is_known() -> None:
    random, queue, seen = Random(3), PriorityQueue(LIMITS), 0
    for index in range(1, 1_500):
        try:
            queue.apply(random_command(random, queue), index=index, now=index)
        except Refusal:
            pass
        keys = queue._book.keys.copy()
        holders = [
            job for job in (*queue.jobs.values(), *queue.finished.all()) if queue._book.keys.holds(job)
        ]
        seen += len(keys)
        assert {(job.topic, job.dedupe_key): job.id for job in holders} == keys

    assert seen > 1_000
