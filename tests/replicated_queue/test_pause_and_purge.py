"""Pausing and purging topics, jobs taken by their id or given back, and what is counted."""

from pathlib import Path

import pytest

from replicated_queue.errors import WrongState
from replicated_queue.queue.commands import (
    Ack,
    Acked,
    Bury,
    Cancel,
    ExpireLease,
    GiveBack,
    Kick,
    Kicked,
    KickJob,
    Nack,
    Pause,
    Purge,
    Purged,
    Reserve,
    Reserved,
    ReserveJob,
)
from replicated_queue.queue.views import peek_job, peek_topic, topic_stats
from tests.replicated_queue.queue_log import QueueLog
from tests.replicated_queue.queue_nodes import QueueNodes


def test_a_paused_topic_gives_out_nothing_until_its_pause_ends() -> None:
    log = QueueLog()
    job_id = log.put(at=0)
    log.apply(Pause("mail", 5_000))

    early = log.reserve(at=4_999)
    later = log.take(at=5_000)

    assert early is None
    assert later[0] == job_id


def test_a_pause_can_be_ended_early() -> None:
    log = QueueLog()
    job_id = log.put()
    log.apply(Pause("mail", 5_000))

    log.apply(Pause("mail", 0))

    assert log.take()[0] == job_id


def test_pausing_kicking_and_purging_twice_is_the_same_as_once() -> None:
    """Checklist 3.15."""
    log = QueueLog()
    for _ in range(3):
        log.put()
    log.apply(Bury(*log.take()))

    kicks = [log.apply(Kick("mail", 5)) for _ in range(2)]
    for _ in range(2):
        log.apply(Pause("mail", 1_000), at=500)
    paused_until = log.queue.topics["mail"].paused_until
    purges = [log.apply(Purge("mail")) for _ in range(2)]

    assert kicks == [Kicked(1, were_buried=True), Kicked(0)]
    assert paused_until == 1_500
    assert purges == [Purged(3), Purged(0)]


def test_other_topics_of_a_reserve_go_on_while_one_is_paused() -> None:
    log = QueueLog()
    log.put(topic="mail", priority=0)
    other = log.put(topic="bills", priority=9)
    log.apply(Pause("mail", 5_000))

    assert log.take("mail", "bills")[0] == other


def test_a_leader_knows_when_a_pause_ends_and_counts_nothing_as_free_before() -> None:
    log = QueueLog()
    log.put(at=0)
    log.apply(Pause("mail", 5_000))

    assert log.queue.available("mail", now=4_999) == 0
    assert log.queue.next_due("mail") == 5_000
    assert log.queue.available("mail", now=5_000) == 1


def test_a_purge_cancels_what_nobody_holds_and_leaves_the_rest() -> None:
    log = QueueLog()
    held = log.put()
    lease = log.take()
    log.put()
    log.put(delay_ms=1_000)
    elsewhere = log.put(topic="bills")

    result = log.apply(Purge("mail"))

    assert result == Purged(2)
    assert set(log.queue.jobs) == {held, elsewhere}
    log.apply(Ack(*lease))
    assert log.apply(Purge("mail")) == Purged(0)


@pytest.mark.parametrize("state", ["ready", "delayed", "buried"])
def test_a_job_can_be_taken_by_its_id_whatever_its_turn(state: str) -> None:
    log = QueueLog()
    job_id = log.put(delay_ms=1_000 if state == "delayed" else 0)
    if state == "buried":
        log.apply(Bury(*log.take()))

    reserved = log.apply(ReserveJob(job_id, "w1"))

    assert isinstance(reserved, Reserved)
    assert reserved.job_ids == (job_id,)
    assert log.state_of(job_id) == "leased"
    with pytest.raises(WrongState):
        log.apply(ReserveJob(job_id, "w2"))


def test_taking_one_job_by_id_without_end_leaves_no_growing_heap() -> None:
    log = QueueLog()
    job_id = log.put(max_attempts=0, backoff_ms=0)

    for _ in range(1_000):
        reserved = log.apply(ReserveJob(job_id))
        assert isinstance(reserved, Reserved)
        log.apply(Nack(job_id, reserved.token))

    assert len(log.queue.topics["mail"].ready) < 100


def test_what_a_gone_worker_held_is_ready_again_and_not_counted_as_released() -> None:
    log = QueueLog()
    first, second = log.put(), log.put()
    leases = (log.take(), log.take())
    log.apply(Ack(*leases[0]))

    result = log.apply(GiveBack(leases))

    assert result == Acked((first,))
    view = peek_job(log.queue, second, now=log.now, platform=False)
    assert (view.state, view.nacks, view.timeouts) == ("ready", 0, 0)


def test_release_and_bury_can_change_the_priority() -> None:
    log = QueueLog()
    log.put(priority=5)
    other = log.put(priority=5)

    job_id, token = log.take()
    log.apply(Nack(job_id, token, priority=9))

    assert log.take()[0] == other


def test_a_kick_of_a_ready_job_says_that_nothing_was_moved() -> None:
    log = QueueLog()
    job_id = log.put()

    assert log.apply(KickJob(job_id)) == Kicked(0)


def test_everything_that_happens_to_a_job_is_counted() -> None:
    log = QueueLog()
    job_id = log.put(at=0)

    log.apply(Nack(*log.take()))
    log.apply(ExpireLease(*log.take()))
    log.apply(Bury(*log.take(at=200)))
    log.apply(Kick("mail", 1))
    log.take(at=2_500)

    view = peek_job(log.queue, job_id, now=log.now, platform=False)
    assert (view.reserves, view.nacks, view.timeouts, view.buries, view.kicks) == (4, 1, 1, 1, 1)
    assert view.due_ms == 2_500 + 60_000


def test_statistics_of_a_topic_tell_states_totals_and_the_pause() -> None:
    log = QueueLog()
    for priority in (0, 1_023, 1_024):
        log.put(priority=priority, at=0)
    log.put(delay_ms=10_000)
    log.apply(Bury(*log.take()))
    log.apply(Cancel(log.put()))
    log.apply(Pause("mail", 3_000))

    stats = topic_stats(log.queue, "mail", now=1_000, platform=False)

    assert (stats.ready, stats.urgent, stats.delayed, stats.buried, stats.leased) == (2, 1, 1, 1, 0)
    assert (stats.total_put, stats.total_cancelled, stats.pauses) == (5, 1, 1)
    assert (stats.pause_ms, stats.pause_left_ms) == (3_000, 2_000)
    assert topic_stats(log.queue, "mail", now=3_000, platform=False).pause_ms == 0


def test_counts_of_a_topic_outlive_its_jobs_for_the_last_topics_only() -> None:
    log = QueueLog(max_idle_topics=2)

    for name in ("a", "b", "c"):
        log.put(topic=name)
        log.apply(Ack(*log.take(name)))

    totals = [topic_stats(log.queue, name, now=0, platform=False).total_put for name in ("a", "b", "c")]
    assert totals == [0, 1, 1]


def test_the_first_job_of_each_state_can_be_looked_at() -> None:
    log = QueueLog()
    buried = log.put(at=0)
    log.apply(Bury(*log.take()))
    log.put(priority=5)
    due = log.put(priority=1, delay_ms=100)
    later = log.put(delay_ms=9_000)

    first = {
        state: [view.id for view in peek_topic(log.queue, "mail", state, now=1_000, platform=False)]
        for state in ("ready", "delayed", "buried")
    }

    assert first == {"ready": [due], "delayed": [later], "buried": [buried]}
    assert log.apply(Reserve(("mail",)), at=1_000) == Reserved(log.index, (due,))


async def test_a_client_pauses_purges_and_takes_single_jobs(tmp_path: Path) -> None:
    async with QueueNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        follower = next(node_id for node_id in nodes.nodes if node_id != leader)
        async with nodes.client(follower) as client:
            first, second = [await client.put("mail", data) for data in (b"a", b"b")]
            job = await client.reserve_job(second, worker="w1")
            await client.give_back([job])
            await client.pause("mail", 60)
            paused = await client.reserve("mail", wait=0)
            await client.pause("mail", 0)
            purged = await client.purge("mail")

            assert (job.id, job.data) == (second, b"b")
            assert paused is None
            assert purged == 2
            assert await client.peek_first("mail", "ready") is None
            assert first < second
