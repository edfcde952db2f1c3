"""Looking at a topic's delayed jobs: which are due, and which one is next."""

import random

import pytest

from replicated_queue.queue.commands import Cancel, Kick, Kicked, KickJob, Nack
from replicated_queue.queue.job import DELAYED, READY, JobRecord
from replicated_queue.queue.job_book import WOKEN_AT_ONCE
from replicated_queue.queue.jobs import Jobs
from replicated_queue.queue.topic import Topic
from replicated_queue.queue.views import peek_topic, topic_stats
from tests.replicated_queue.queue_log import QueueLog

MANY = 2_000


class CountedJobs(Jobs):
    """Counts how often somebody looks a job up."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def get(self, job_id: int) -> JobRecord | None:
        self.looks += 1
        return super().get(job_id)


def topic_with_delayed(jobs: Jobs) -> Topic:
    """`MANY` jobs, of which one becomes due each millisecond, in no order of their ids."""
    topic = Topic("mail", jobs)
    for number in range(MANY):
        job = JobRecord(number + 1, "mail", b"", 0, 1_000, 1, "key", 0, 0, (), 0)
        job.due_ms = 1 + number * 7 % MANY
        job.state = DELAYED
        jobs.keep(job)
        topic.counts[DELAYED] += 1
        topic.add_delayed(job)
    return topic


@pytest.mark.parametrize("due", [0, 3])
def test_jobs_that_become_due_later_are_not_looked_at(due: int) -> None:
    jobs = CountedJobs()
    topic = topic_with_delayed(jobs)
    jobs.looks = 0

    stats = topic.stats(due)
    first_ready, first_delayed = topic.next_of(READY, due), topic.next_of(DELAYED, due)

    assert (stats.ready, stats.delayed) == (due, MANY - due)
    assert (first_ready is not None) == (due > 0)
    assert first_delayed is not None and first_delayed.due_ms == due + 1
    assert jobs.looks < 50


@pytest.mark.parametrize("seed", range(5))
def test_what_is_said_of_delayed_jobs_is_true_whatever_happened_to_them(seed: int) -> None:
    chance, log = random.Random(seed), QueueLog()
    for _ in range(300):
        job_id = log.put(priority=chance.randrange(5), delay_ms=chance.randrange(1, 100))
        match chance.randrange(5):
            case 0:
                log.apply(KickJob(job_id))
                log.apply(Nack(*log.take(), delay_ms=chance.randrange(1, 100)))
            case 1:
                log.apply(Cancel(job_id))
            case 2:
                log.apply(Kick("mail", 2))
            case _:
                pass
    jobs = list(log.queue.jobs.values())

    for now in range(0, 110, 10):
        later = [(job.due_ms, job.id) for job in jobs if job.state == DELAYED and job.due_ms > now]
        stats = topic_stats(log.queue, "mail", now=now, platform=False)
        first = peek_topic(log.queue, "mail", "delayed", now=now, platform=False)

        assert (stats.ready, stats.delayed) == (len(jobs) - len(later), len(later))
        assert [view.id for view in first] == ([min(later)[1]] if later else [])


def test_many_jobs_that_become_due_at_once_are_made_ready_by_many_commands() -> None:
    log = QueueLog()
    ids = [log.put(delay_ms=1 + number % 3) for number in range(2 * WOKEN_AT_ONCE + 5)]
    earliest_first = sorted(ids, key=lambda job_id: (log.queue.jobs[job_id].due_ms, job_id))
    topic = log.queue.topics["mail"]

    first, _ = log.take(at=10)

    assert first == min(earliest_first[:WOKEN_AT_ONCE])
    assert topic.counts[READY] == WOKEN_AT_ONCE - 1
    assert topic_stats(log.queue, "mail", now=log.now, platform=False).ready == len(ids) - 1
    assert {first, *(log.take()[0] for _ in ids[1:])} == set(ids)


def test_many_jobs_that_become_due_in_several_topics_are_not_more_for_one_command() -> None:
    log = QueueLog()
    for number in range(WOKEN_AT_ONCE + 5):
        log.put(topic=("mail", "other")[number % 2], delay_ms=1)

    log.take("mail", "other", at=10)

    ready = [log.queue.topics[name].counts[READY] for name in ("mail", "other")]
    assert sum(ready) == WOKEN_AT_ONCE - 1


def test_a_kick_goes_to_jobs_that_are_not_due_however_many_are() -> None:
    log = QueueLog()
    for _ in range(WOKEN_AT_ONCE + 500):
        log.put(delay_ms=1)
    later = [log.put(delay_ms=1_000 - number) for number in range(10)]

    kicked = log.apply(Kick("mail", 4), at=10)

    assert kicked == Kicked(4)
    assert [log.state_of(job_id) for job_id in later] == [DELAYED] * 6 + [READY] * 4
    assert topic_stats(log.queue, "mail", now=log.now, platform=False).delayed == 6
    assert log.apply(Kick("mail", 100)) == Kicked(6)


def test_a_job_that_is_due_needs_no_kick_however_many_are_before_it() -> None:
    log = QueueLog()
    ids = [log.put(delay_ms=1) for _ in range(WOKEN_AT_ONCE + 5)]

    assert log.apply(KickJob(ids[-1]), at=10) == Kicked(0)
    assert log.queue.jobs[ids[-1]].kicks == 0
    assert {log.take()[0] for _ in ids} == set(ids)
