"""Who is next: by priority, then by age; delayed jobs when they are due."""

from replicated_queue.queue.commands import Kick, Nack, Put, PutMany, Reserve, Reserved
from tests.replicated_queue.queue_log import QueueLog


def test_the_most_urgent_job_is_next_and_among_equals_the_oldest() -> None:
    log = QueueLog()
    log.put(b"low", priority=3)
    log.put(b"urgent", priority=0)
    log.put(b"urgent too", priority=0)

    order = [log.queue.jobs[log.take()[0]].data for _ in range(3)]

    assert order == [b"urgent", b"urgent too", b"low"]


def test_ids_ascend_in_the_order_of_the_log() -> None:
    log = QueueLog()

    ids = [log.put(), log.put(topic="other"), log.put()]

    assert ids == sorted(ids)
    assert len(set(ids)) == 3


def test_a_reserve_of_several_topics_gets_the_most_urgent_of_all() -> None:
    log = QueueLog()
    log.put(topic="mail", priority=2)
    urgent = log.put(topic="bills", priority=1)

    job_id, _ = log.take("mail", "bills")

    assert job_id == urgent


def test_a_job_keeps_its_place_after_a_delay_a_nack_and_a_kick() -> None:
    log = QueueLog()
    delayed = log.put(delay_ms=1_000, at=0)
    first = log.put()
    buried = log.put(max_attempts=1)
    last = log.put()
    job_id, token = log.take()
    assert job_id == first
    log.apply(Nack(first, token))
    log.take()
    held = log.take()
    assert held[0] == buried
    log.apply(Nack(*held))
    log.apply(Kick("mail", 1))

    order = [log.take(at=1_000)[0] for _ in range(3)]

    assert order == [delayed, buried, last]


def test_a_delayed_job_is_ready_when_cluster_time_reaches_it_and_not_before() -> None:
    log = QueueLog()
    job_id = log.put(delay_ms=1_000, at=5_000)

    assert log.reserve(at=5_999) is None
    assert log.reserve(at=6_000) == (job_id, 3)


def test_a_job_given_back_with_a_delay_waits_for_it() -> None:
    log = QueueLog()
    log.put()
    job_id, token = log.take()

    log.apply(Nack(job_id, token, delay_ms=500), at=1_000)

    assert log.reserve(at=1_499) is None
    assert log.take(at=1_500)[0] == job_id


def test_one_entry_puts_and_reserves_many_jobs() -> None:
    log = QueueLog()

    created = log.apply(PutMany(tuple(Put("mail", b"%d" % number) for number in range(5))))
    reserved = log.apply(Reserve(("mail",), count=3))

    assert isinstance(reserved, Reserved)
    assert reserved.job_ids == created.job_ids[:3]  # type: ignore[union-attr]
    assert log.queue.available("mail", now=0) == 2


def test_topics_do_not_mix() -> None:
    log = QueueLog()
    log.put(topic="mail")

    assert log.reserve("bills") is None
