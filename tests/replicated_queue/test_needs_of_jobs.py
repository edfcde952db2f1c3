"""Jobs that only some workers can do: `needs` of the job, `has` of the worker."""

import asyncio

import pytest

from replicated_queue.errors import InvalidRequest, QueueFull
from replicated_queue.queue.commands import Ack, Nack, Put, PutMany, Reserve, ReserveJob
from tests.replicated_queue.fake_group import FakeGroup
from tests.replicated_queue.queue_log import QueueLog
from tests.waiting import eventually

ARM, GO = "arch=aarch64", "builder=go"


def test_a_job_is_given_only_to_a_worker_that_has_all_it_needs() -> None:
    log = QueueLog()
    job_id = log.put(needs=(GO, ARM))

    assert log.reserve() is None
    assert log.reserve(has=(ARM,)) is None
    assert log.take(has=(ARM, "disk", GO))[0] == job_id


def test_what_a_worker_cannot_do_it_is_given_neither_beside_other_jobs_nor_from_several_topics() -> None:
    log = QueueLog()
    needed = log.put(needs=(ARM,))
    log.put(needs=(GO,))
    elsewhere = log.put(topic="files", needs=(ARM,))

    assert log.reserve() is None
    assert log.reserve("mail", "files", has=("disk",)) is None
    assert {log.take("mail", "files", has=(ARM,))[0] for _ in range(2)} == {needed, elsewhere}
    assert log.reserve("mail", "files", has=(ARM,)) is None


def test_an_urgent_job_is_never_hidden_behind_one_the_worker_cannot_do() -> None:
    """Checklist 3.10."""
    log = QueueLog()
    for _ in range(100):
        log.put(priority=0, needs=(ARM,))
    patient = log.put(priority=3)
    urgent = log.put(priority=1)

    assert [log.take()[0] for _ in range(2)] == [urgent, patient]
    assert log.reserve() is None


def test_a_worker_that_can_do_more_still_gets_the_most_urgent_first() -> None:
    log = QueueLog()
    ids = [
        log.put(priority=2, needs=(ARM,)),
        log.put(priority=0),
        log.put(priority=1, needs=(ARM, GO)),
        log.put(priority=1),
    ]

    order = [log.take(has=(ARM, GO))[0] for _ in range(4)]

    assert order == [ids[1], ids[2], ids[3], ids[0]]


def test_a_job_keeps_its_needs_over_a_nack() -> None:
    log = QueueLog()
    log.put(needs=(ARM,))
    log.apply(Nack(*log.take(has=(ARM,)), delay_ms=50))

    assert log.reserve(at=60) is None
    assert log.reserve(at=60, has=(ARM,)) is not None


def test_a_job_asked_for_by_its_id_is_given_whatever_it_needs() -> None:
    log = QueueLog()
    job_id = log.put(needs=(ARM,))

    log.apply(ReserveJob(job_id))

    assert log.state_of(job_id) == "leased"


def test_a_leader_counts_as_available_only_what_the_worker_can_do() -> None:
    log = QueueLog()
    log.put(needs=(ARM,))
    log.put(needs=(ARM, GO))

    counts = [log.queue.available("mail", frozenset(has), now=0) for has in ((), (ARM,), (ARM, GO))]

    assert counts == [0, 1, 2]


def test_different_needs_in_one_topic_are_bounded_and_the_room_comes_back() -> None:
    log = QueueLog()
    ids = [log.put(needs=(f"kind={number}",)) for number in range(64)]

    with pytest.raises(QueueFull):
        log.put(needs=("kind=64",))
    assert log.put(needs=("kind=0",))
    log.apply(Ack(*log.take(has=("kind=1",))))
    assert log.put(needs=("kind=64",)) > ids[-1]
    with pytest.raises(QueueFull):
        log.apply(PutMany(tuple(Put("new", b"", needs=(f"kind={n}",)) for n in range(65))))


@pytest.mark.parametrize("word", ["", "a b", "ä", "x" * 65, "a\n", "a,b"])
def test_words_that_are_no_abilities_are_refused(word: str) -> None:
    log = QueueLog()

    with pytest.raises(InvalidRequest):
        log.put(needs=(word,))
    with pytest.raises(InvalidRequest):
        log.apply(Reserve(("mail",), has=(word,)))


def test_too_many_abilities_are_refused() -> None:
    log = QueueLog()

    with pytest.raises(InvalidRequest):
        log.put(needs=tuple(f"n{number}" for number in range(9)))
    with pytest.raises(InvalidRequest):
        log.apply(Reserve(("mail",), has=tuple(f"n{number}" for number in range(65))))


async def test_who_waits_longer_but_cannot_do_the_job_holds_up_nobody() -> None:
    """Checklist 3.10, for those who wait at the leader."""
    async with FakeGroup() as group:
        broker = group.brokers[1]
        plain = asyncio.create_task(broker.reserve("mail", wait=60))
        able = asyncio.create_task(broker.reserve("mail", wait=60, has=[ARM]))
        await eventually(lambda: broker._desk.waiting_count == 2)

        await broker.put("mail", b"for arm", needs=[ARM])

        job = await able
        assert job is not None and job.data == b"for arm"
        assert not plain.done()
        entries = len(group.entries)
        await broker.put("mail", b"for all")
        assert (await plain) is not None
        assert len(group.entries) == entries + 2  # nobody reserved in vain
