"""Topics with bounds of their own, and topics that are drained."""

import pytest

from replicated_queue.errors import InvalidRequest, QueueFull, ReservedTopic, TopicDraining
from replicated_queue.queue.commands import Ack, Cancel, Command, Put, PutMany, SetTopic
from replicated_queue.queue.views import all_stats, topic_stats
from tests.replicated_queue.fake_group import FakeGroup
from tests.replicated_queue.queue_log import QueueLog


def test_a_topic_holds_no_more_jobs_than_its_own_bound_and_others_do() -> None:
    """Checklist 3.13."""
    log = QueueLog()
    log.apply(SetTopic("mail", max_jobs=2))
    first = log.put()
    log.put()

    with pytest.raises(QueueFull, match="2 of 2 jobs in topic 'mail'"):
        log.put()
    with pytest.raises(QueueFull):
        log.apply(PutMany((Put("bills", b""), Put("mail", b""))))
    assert log.put(topic="bills")
    log.apply(Cancel(first))
    assert log.put()


def test_a_topic_holds_no_more_bytes_than_its_own_bound() -> None:
    log = QueueLog()
    log.apply(SetTopic("mail", max_bytes=10))
    log.put(b"12345", dedupe_key="abc")

    with pytest.raises(QueueFull, match="8 of 10 bytes"):
        log.put(b"123")

    assert log.put(b"12")


def test_a_bound_below_what_is_there_takes_nothing_away() -> None:
    log = QueueLog()
    for _ in range(3):
        log.put()
    log.apply(SetTopic("mail", max_jobs=1))

    assert len(log.queue.jobs) == 3
    with pytest.raises(QueueFull):
        log.put()


def test_a_put_that_finds_its_dedupe_key_needs_no_room() -> None:
    log = QueueLog()
    log.apply(SetTopic("mail", max_jobs=1))
    first = log.put(dedupe_key="k")

    assert log.put(dedupe_key="k") == first


def test_a_drained_topic_takes_no_new_jobs_and_gives_out_those_it_has() -> None:
    log = QueueLog()
    job_id = log.put()

    for _ in range(2):  # asked twice it is the same
        log.apply(SetTopic("mail", is_draining=True))

    with pytest.raises(TopicDraining):
        log.put()
    assert log.take()[0] == job_id
    log.apply(Ack(job_id, 5))
    with pytest.raises(TopicDraining):
        log.put()
    log.apply(SetTopic("mail", is_draining=False))
    assert log.put()


def test_settings_that_are_not_named_stay_as_they_were() -> None:
    log = QueueLog()
    log.apply(SetTopic("mail", max_jobs=5, ageing_ms=1_000))

    log.apply(SetTopic("mail", is_draining=True))

    stats = topic_stats(log.queue, "mail", now=0, platform=False)
    assert (stats.max_jobs, stats.max_bytes, stats.ageing_ms, stats.is_draining) == (5, 0, 1_000, True)


def test_a_topic_with_settings_is_there_without_jobs_and_survives_any_number_of_others() -> None:
    log = QueueLog(max_idle_topics=1)
    log.apply(SetTopic("mail", max_jobs=5))
    log.apply(SetTopic("plain"))
    for number in range(5):
        log.put(topic=f"t{number}")
        log.apply(Ack(*log.take(f"t{number}")))

    assert list(all_stats(log.queue, now=0, platform=False)) == ["mail"]
    assert topic_stats(log.queue, "mail", now=0, platform=False).max_jobs == 5


def test_topics_with_settings_are_bounded_and_one_that_is_reset_makes_room() -> None:
    log = QueueLog(max_set_topics=2)
    log.apply(SetTopic("a", max_jobs=1))
    log.apply(SetTopic("b", max_jobs=1))

    with pytest.raises(QueueFull):
        log.apply(SetTopic("c", max_jobs=1))
    log.apply(SetTopic("a", max_jobs=7))
    log.apply(SetTopic("a", max_jobs=0))

    log.apply(SetTopic("c", max_jobs=1))
    assert set(log.queue.topics) == {"b", "c"}


@pytest.mark.parametrize(
    "command",
    [
        SetTopic("mail", max_jobs=-1),
        SetTopic("mail", max_bytes=-1),
        SetTopic("mail", ageing_ms=-1),
        SetTopic("mail", ageing_ms=24 * 3600 * 1000 + 1),
    ],
)
def test_settings_outside_their_bounds_are_refused(command: Command) -> None:
    with pytest.raises(InvalidRequest):
        QueueLog().apply(command)


def test_topics_of_the_platform_are_set_by_the_platform_alone() -> None:
    log = QueueLog()

    with pytest.raises(ReservedTopic):
        log.apply(SetTopic("pinode.builds", max_jobs=1))


async def test_a_client_sets_a_topic_and_reads_what_it_set() -> None:
    async with FakeGroup() as group:
        broker = group.brokers[2]
        await broker.set_topic("mail", max_jobs=1, max_bytes=100, ageing=60)
        await broker.put("mail", b"work")

        with pytest.raises(QueueFull):
            await broker.put("mail", b"more")
        stats = await broker.stats("mail")

        assert (stats.max_jobs, stats.max_bytes, stats.ageing_ms, stats.used_bytes) == (1, 100, 60_000, 4)
