"""What the queue refuses, decided in `apply`, leaving nothing behind."""

import pytest

from replicated_queue.errors import (
    Duplicate,
    InvalidRequest,
    InvalidTopic,
    JobTooLarge,
    QueueFull,
    Refusal,
    ReservedTopic,
)
from replicated_queue.queue.commands import (
    Ack,
    Bury,
    Cancel,
    Command,
    Created,
    Kick,
    KickJob,
    Nack,
    Put,
    PutMany,
    Reserve,
    Reserved,
    ReserveJob,
)
from replicated_queue.queue.job import LOWEST_PRIORITY
from replicated_queue.queue.views import page_of_jobs
from tests.replicated_queue.queue_log import QueueLog


@pytest.mark.parametrize("topic", ["mail", "a", "A-Za-z0-9+/;.$_()-", "x" * 200, ".hidden", "pinode"])
def test_topics_are_named_by_the_rule_of_beanstalkd(topic: str) -> None:
    log = QueueLog()

    log.put(topic=topic)

    assert topic in log.queue.topics


def test_topics_with_jobs_are_bounded_and_the_platform_has_room_for_its_own() -> None:
    log = QueueLog(max_topics=10)
    for number in range(9):
        log.put(topic=f"t{number}")

    with pytest.raises(QueueFull, match="9 topics with jobs"):
        log.put(topic="one-more")
    with pytest.raises(QueueFull, match="9 topics with jobs"):
        log.apply(PutMany((Put("t1", b""), Put("one-more", b""))))
    log.put(topic="t1")
    log.put(topic="pinode.builds", platform=True)

    job_id, token = log.take("t2")
    log.apply(Ack(job_id, token))
    log.apply(Cancel(job_id=1))
    log.put(topic="one-more")


@pytest.mark.parametrize(
    "topic", ["", "-mail", "x" * 201, "a b", "a\n", "mail\n", "a\0", "ä", "a,b", "‮mail", "m*", "../x y"]
)
def test_other_names_are_refused_wherever_a_topic_is_named(topic: str) -> None:
    log = QueueLog()

    for command in (Put(topic, b""), Reserve((topic,)), Kick(topic, 1)):
        with pytest.raises(InvalidTopic):
            log.apply(command)


def test_topics_of_the_platform_exist_for_the_platform_alone() -> None:
    log = QueueLog()

    for command in (Put("pinode.builds", b""), Reserve(("mail", "pinode.builds")), Kick("pinode.builds", 1)):
        with pytest.raises(ReservedTopic):
            log.apply(command)
    assert log.put(topic="pinode.builds", platform=True)


def test_a_job_of_64_kib_is_taken_and_a_byte_more_is_refused() -> None:
    """Checklist 3.13."""
    log = QueueLog()
    log.put(bytes(65_536))

    with pytest.raises(JobTooLarge) as refused:
        log.put(bytes(65_537))

    assert refused.value.size_bytes == 65_537


@pytest.mark.parametrize(
    "command",
    [
        Put("mail", b"", priority=-1),
        Put("mail", b"", priority=LOWEST_PRIORITY + 1),
        Put("mail", b"", delay_ms=-1),
        Put("mail", b"", lease_ms=0),
        Put("mail", b"", lease_ms=2**63 - 1),
        Put("mail", b"", max_attempts=-1),
        PutMany(()),
        PutMany((Put("mail", b""),) * 1_001),
        Reserve(()),
        Reserve(("mail",) * 101),
        Reserve(("mail",), count=0),
        Reserve(("mail",), lease_ms=1),
        Nack(1, 1, delay_ms=-5),
        Kick("mail", -1),
    ],
)
def test_numbers_outside_their_bounds_are_refused(command: Command) -> None:
    log = QueueLog()

    with pytest.raises(InvalidRequest):
        log.apply(command)


@pytest.mark.parametrize(
    "command",
    [
        Put("mail", b"", dedupe_key="k" * 201),
        Reserve(("mail",), worker="ä" * 101),
        Nack(1, 1, reason="r" * 201),
        Bury(1, 1, reason="r" * 201),
        Ack(1, 1, bytes(65_537)),
    ],
)
def test_long_texts_and_results_are_refused(command: Command) -> None:
    with pytest.raises(JobTooLarge):
        QueueLog().apply(command)


def test_the_bound_on_jobs_is_decided_in_apply_and_gone_when_a_job_is() -> None:
    """Checklist 3.13."""
    log = QueueLog(max_jobs=10, platform_share=0.0)
    ids = [log.put() for _ in range(10)]

    with pytest.raises(QueueFull):
        log.put()
    log.apply(Cancel(ids[0]))

    assert log.put()


def test_the_bound_on_bytes_counts_data_and_keys_exactly() -> None:
    """Checklist 3.13."""
    log = QueueLog(max_bytes=100, platform_share=0.0)
    log.put(bytes(90), dedupe_key="0123456789")
    assert log.queue.used_bytes == 100

    with pytest.raises(QueueFull):
        log.put(b"x")
    log.apply(Cancel(1))

    assert log.queue.used_bytes == 0


def test_all_that_somebody_chose_the_length_of_counts_towards_the_bound_on_bytes() -> None:
    """Checklist 3.13: a worker's name and its reasons too, for as long as they are kept."""
    log = QueueLog()
    job_id = log.put(b"12345", needs=("ab", "cd", "ab"), max_attempts=0)
    assert log.queue.used_bytes == 9

    log.apply(Nack(*log.take(worker="wörker", has=("ab", "cd")), reason="oh"))
    assert log.queue.used_bytes == 9 + 7 + len("attempt 1: oh")

    for _ in range(9):
        reserved = log.apply(ReserveJob(job_id, "w"))
        assert isinstance(reserved, Reserved)
        log.apply(Nack(job_id, reserved.token, reason="oh"))
    job = log.queue.jobs[job_id]
    assert log.queue.used_bytes == job.weigh() == 9 + 1 + sum(map(len, job.reasons))

    log.apply(Cancel(job_id))
    assert log.queue.used_bytes == 0


def test_the_platform_can_still_put_when_members_have_filled_their_share() -> None:
    log = QueueLog(max_jobs=10, platform_share=0.2)
    for _ in range(8):
        log.put()

    with pytest.raises(QueueFull):
        log.put()

    assert log.put(topic="pinode.builds", platform=True)


def test_a_put_of_many_that_does_not_fit_adds_none() -> None:
    log = QueueLog(max_jobs=3, platform_share=0.0)
    log.put()

    with pytest.raises(QueueFull):
        log.apply(PutMany((Put("mail", b""),) * 3))

    assert len(log.queue.jobs) == 1


def test_a_refused_command_leaves_nothing_behind() -> None:
    log = QueueLog(max_jobs=2, platform_share=0.0)
    log.put()
    lease = log.take()
    before = log.queue.digest()

    for command in (
        Put("bad topic", b""),
        Ack(lease[0], 99),
        Reserve(()),
        Put("mail", bytes(70_000)),
        Cancel(77),
    ):
        with pytest.raises(Refusal):
            log.apply(command)

    assert log.queue.digest() == before


def test_buried_jobs_are_bounded_and_the_oldest_is_dropped() -> None:
    """Checklist 3.16."""
    log = QueueLog(max_buried=2)
    ids = [log.put() for _ in range(3)]

    for _ in ids:
        log.apply(Bury(*log.take()))

    assert [log.state_of(job_id) for job_id in ids] == ["cancelled", "buried", "buried"]
    assert log.queue.dropped_buried == 1


def test_a_buried_job_that_nobody_looks_after_is_dropped_when_it_is_too_old() -> None:
    """Checklist 3.16: any command sees to it, so nothing needs a timer."""
    log = QueueLog(max_buried_ms=1_000)
    old, young = log.put(), log.put()
    log.apply(Bury(*log.take()), at=0)
    log.apply(Bury(*log.take()), at=500)

    log.apply(Kick("mail", 0), at=999)
    assert log.queue.dropped_buried == 0
    log.apply(Kick("mail", 0), at=1_000)

    assert (log.state_of(old), log.state_of(young)) == ("cancelled", "buried")
    assert log.queue.dropped_buried == 1


def test_a_buried_job_that_was_kicked_begins_its_time_anew() -> None:
    log = QueueLog(max_buried_ms=1_000)
    job_id = log.put()
    log.apply(Bury(*log.take()), at=0)
    log.apply(KickJob(job_id), at=900)
    log.apply(Bury(*log.take(at=900)), at=900)

    log.apply(Kick("mail", 0), at=1_500)

    assert log.state_of(job_id) == "buried"


def test_a_reserve_of_many_takes_no_more_than_a_mebibyte_but_always_one() -> None:
    log = QueueLog()
    for _ in range(20):
        log.put(bytes(65_536))

    result = log.apply(Reserve(("mail",), count=20))

    assert isinstance(result, Reserved)
    assert len(result.job_ids) == 16


def test_a_page_of_large_jobs_ends_early_and_goes_on_behind_its_last() -> None:
    log = QueueLog()
    ids = [log.put(bytes(65_536)) for _ in range(40)]
    seen: list[int] = []

    while page := page_of_jobs(
        log.queue, "mail", state=None, after=seen[-1] if seen else 0, limit=100, now=0, platform=False
    ):
        assert sum(len(view.data) for view in page) <= 1024 * 1024
        seen += [view.id for view in page]

    assert seen == ids


def test_results_of_finished_jobs_are_bounded_by_their_bytes() -> None:
    log = QueueLog(max_finished_bytes=100)
    for _ in range(3):
        log.put()
        log.apply(Ack(*log.take(), result=bytes(50)))

    assert log.state_of(1) == "unknown"
    assert log.state_of(3) == "succeeded"


def test_a_dedupe_key_gives_the_id_of_the_job_that_is_there() -> None:
    """Checklist 3.7."""
    log = QueueLog()

    first = log.put(dedupe_key="invoice 7")
    again = log.put(dedupe_key="invoice 7")
    elsewhere = log.put(topic="bills", dedupe_key="invoice 7")
    other = log.put(dedupe_key="invoice 8")

    assert first == again
    assert len({first, elsewhere, other}) == 3


def test_a_dedupe_key_of_a_job_that_was_done_is_refused_within_its_window() -> None:
    """Checklist 3.7: the window is counted in the time of the entries."""
    log = QueueLog(dedupe_window_ms=1_000)
    done = log.put(dedupe_key="invoice 7")
    log.apply(Ack(*log.take()), at=500)

    with pytest.raises(Duplicate) as refused:
        log.put(dedupe_key="invoice 7", at=1_499)

    assert refused.value.job_id == done
    assert log.put(dedupe_key="invoice 7", at=1_500) > done


def test_a_dedupe_key_is_free_again_when_its_job_was_cancelled() -> None:
    log = QueueLog()
    first = log.put(dedupe_key="invoice 7")
    log.apply(Cancel(first))

    assert log.put(dedupe_key="invoice 7") > first


def test_two_puts_of_one_entry_with_one_key_make_one_job() -> None:
    log = QueueLog()

    created = log.apply(PutMany((Put("mail", b"", dedupe_key="k"), Put("mail", b"", dedupe_key="k"))))

    assert isinstance(created, Created)
    assert len(set(created.job_ids)) == 1
    assert len(log.queue.jobs) == 1


def test_topics_without_jobs_take_no_memory() -> None:
    log = QueueLog()

    for number in range(100):
        log.put(topic=f"topic-{number}")
        log.apply(Ack(*log.take(f"topic-{number}")))

    assert log.queue.topics == {}


def test_puts_and_cancels_without_end_leave_no_growing_heap() -> None:
    log = QueueLog()
    log.put(priority=0)

    for _ in range(2_000):
        log.apply(Cancel(log.put(delay_ms=0)))
        log.apply(Cancel(log.put(delay_ms=9)))

    topic = log.queue.topics["mail"]
    assert len(topic.ready) + len(topic._delayed) < 300
