"""One holder at a time: fencing tokens, attempts, burying, and late answers."""

import pytest

from replicated_queue.errors import AlreadyDone, JobNotFound, LeaseLost, WrongState
from replicated_queue.queue.commands import (
    Ack,
    Acked,
    AckMany,
    Bury,
    Cancel,
    Done,
    ExpireLease,
    Kick,
    Kicked,
    KickJob,
    Nack,
    Reserved,
    ReserveJob,
)
from tests.replicated_queue.queue_log import QueueLog


def test_a_job_whose_lease_ran_out_goes_to_the_next_worker_and_the_late_ack_is_refused() -> None:
    """Checklist 3.1."""
    log = QueueLog()
    log.put()
    late = log.take(worker="node-a")

    log.apply(ExpireLease(*late))
    taken_over = log.take(worker="node-b")

    assert taken_over[1] > late[1]
    for answer in (Ack(*late), Nack(*late), Bury(*late)):
        with pytest.raises(LeaseLost):
            log.apply(answer)
    log.apply(Ack(*taken_over))
    assert log.state_of(late[0]) == "succeeded"


def test_the_token_is_the_place_of_the_reserve_in_the_log() -> None:
    log = QueueLog()
    log.put()

    _, token = log.take()

    assert token == log.index


def test_an_expiry_that_comes_too_late_changes_nothing() -> None:
    """Checklist 3.2: the entry names job and token."""
    log = QueueLog()
    log.put()
    first = log.take()
    log.apply(Nack(*first))
    second = log.take()
    before = log.queue.jobs[second[0]].row()

    log.apply(ExpireLease(*first))

    assert log.queue.jobs[second[0]].row() == before
    log.queue.check_lease(*second)


def test_what_acts_for_a_job_can_ask_whether_its_token_still_holds() -> None:
    log = QueueLog()
    log.put(topic="pinode.builds", platform=True)
    lease = log.take("pinode.builds", platform=True)

    assert log.queue.check_lease(*lease).id == lease[0]

    log.apply(ExpireLease(*lease))
    with pytest.raises(LeaseLost):
        log.queue.check_lease(*lease)


def test_an_ack_that_comes_twice_hears_that_the_job_is_done() -> None:
    """Checklist 3.19."""
    log = QueueLog()
    log.put()
    lease = log.take()
    log.apply(Ack(*lease, result=b"sent"))

    with pytest.raises(AlreadyDone) as refused:
        log.apply(Ack(*lease))

    assert refused.value.state == "succeeded"
    assert log.queue.finished.get(lease[0]).result == b"sent"  # type: ignore[union-attr]


@pytest.mark.parametrize("late", [Nack, Bury])
def test_a_nack_or_bury_after_the_ack_hears_that_the_job_is_done(late: type[Nack | Bury]) -> None:
    log = QueueLog()
    log.put()
    lease = log.take()
    log.apply(Ack(*lease))

    with pytest.raises(AlreadyDone):
        log.apply(late(*lease))


def test_an_ack_after_the_bury_is_refused() -> None:
    log = QueueLog()
    log.put()
    lease = log.take()
    log.apply(Bury(*lease, reason="bad address"))

    with pytest.raises(LeaseLost):
        log.apply(Ack(*lease))

    assert log.state_of(lease[0]) == "buried"


def test_a_bury_that_its_worker_repeats_is_done_already_and_anybody_elses_is_refused() -> None:
    """Checklist 3.15."""
    log = QueueLog()
    log.put()
    lease = log.take()
    log.apply(Bury(*lease, reason="broken"))
    before = log.queue.digest()

    assert log.apply(Bury(*lease, reason="broken")) == Done()
    with pytest.raises(LeaseLost):
        log.apply(Bury(lease[0], lease[1] + 1))
    assert log.queue.digest() == before

    log.apply(KickJob(lease[0]))
    with pytest.raises(LeaseLost):
        log.apply(Bury(*lease))


def test_a_job_that_is_long_forgotten_is_not_found() -> None:
    """Checklist 3.17."""
    log = QueueLog(max_finished=1)
    log.put()
    log.put()
    first, second = log.take(), log.take()
    log.apply(Ack(*first))
    log.apply(Ack(*second))

    with pytest.raises(JobNotFound):
        log.apply(Ack(*first))
    with pytest.raises(AlreadyDone):
        log.apply(Ack(*second))


def test_a_job_is_buried_with_its_reasons_after_the_last_attempt() -> None:
    """Checklist 3.8: attempts count at the reserve; nacks and timeouts are counted apart."""
    log = QueueLog()
    job_id = log.put(max_attempts=2)

    log.apply(ExpireLease(*log.take()))
    log.apply(Nack(*log.take(), reason="no such host"))

    job = log.queue.jobs[job_id]
    assert (job.state, job.attempts, job.timeouts, job.nacks) == ("buried", 2, 1, 1)
    assert job.reasons == ("attempt 1: its lease ran out", "attempt 2: no such host")
    assert log.reserve() is None


def test_a_job_without_bound_on_attempts_is_never_buried_by_failing() -> None:
    log = QueueLog()
    job_id = log.put(max_attempts=0, backoff_ms=0)

    for _ in range(50):
        log.apply(Nack(*log.take()))

    assert log.state_of(job_id) == "ready"


def test_only_the_newest_reasons_are_kept() -> None:
    log = QueueLog()
    job_id = log.put(max_attempts=0, backoff_ms=0)

    for number in range(20):
        log.apply(Nack(*log.take(), reason=f"no. {number}"))

    assert log.queue.jobs[job_id].reasons[-1] == "attempt 20: no. 19"
    assert len(log.queue.jobs[job_id].reasons) == 5


def test_a_kicked_job_has_its_attempts_again() -> None:
    log = QueueLog()
    job_id = log.put(max_attempts=1)
    log.apply(Nack(*log.take()))

    log.apply(KickJob(job_id))
    log.apply(Nack(*log.take()))

    assert log.state_of(job_id) == "buried"
    assert log.queue.jobs[job_id].attempts == 1


def test_a_kick_takes_buried_jobs_first_in_the_order_they_were_buried_up_to_its_bound() -> None:
    log = QueueLog()
    ids = [log.put() for _ in range(3)]
    leases = [log.take() for _ in range(3)]
    for lease in reversed(leases):
        log.apply(Bury(*lease))
    delayed = log.put(delay_ms=1_000)

    kicked = log.apply(Kick("mail", 2))

    assert kicked == Kicked(2, were_buried=True)
    assert [log.state_of(job_id) for job_id in ids] == ["buried", "ready", "ready"]
    assert log.state_of(delayed) == "delayed"


def test_a_kick_takes_delayed_jobs_when_none_is_buried() -> None:
    log = QueueLog()
    delayed = log.put(delay_ms=1_000)

    assert log.apply(Kick("mail", 10)) == Kicked(1)
    assert log.take()[0] == delayed


def test_kicking_what_is_ready_or_unknown_changes_nothing() -> None:
    """Checklist 3.15: idempotent."""
    log = QueueLog()
    job_id = log.put()

    log.apply(KickJob(job_id))

    assert log.apply(Kick("mail", 10)) == Kicked(0)
    assert log.apply(Kick("nothing", 10)) == Kicked(0)
    assert log.state_of(job_id) == "ready"


def test_a_leased_job_is_cancelled_only_by_its_holder_or_by_force() -> None:
    """Checklist 3.15."""
    log = QueueLog()
    job_id = log.put()
    other = log.put()
    lease, forced = log.take(), log.take()

    with pytest.raises(WrongState):
        log.apply(Cancel(job_id))
    with pytest.raises(LeaseLost):
        log.apply(Cancel(job_id, token=lease[1] + 100))
    log.apply(Cancel(*lease))
    log.apply(Cancel(other, force=True))

    assert log.state_of(job_id) == log.state_of(other) == "cancelled"
    with pytest.raises(AlreadyDone):
        log.apply(Ack(*forced))


@pytest.mark.parametrize("wishes", [{}, {"delay_ms": 500}])
def test_a_waiting_job_can_be_cancelled_and_is_not_given_out(wishes: dict[str, int]) -> None:
    log = QueueLog()
    job_id = log.put(**wishes)

    log.apply(Cancel(job_id))

    assert log.reserve(at=1_000) is None
    assert log.queue.topics == {}


def test_an_ack_of_many_judges_each_for_itself() -> None:
    log = QueueLog()
    log.put()
    log.put()
    mine, lost = log.take(), log.take()
    log.apply(ExpireLease(*lost))

    acked = log.apply(AckMany((mine, lost)))

    assert acked == Acked((lost[0],))
    assert log.state_of(mine[0]) == "succeeded"
    assert log.state_of(lost[0]) == "ready"


def test_a_member_can_touch_no_job_of_the_platform() -> None:
    log = QueueLog()
    job_id = log.put(topic="pinode.builds", platform=True)
    lease = log.take("pinode.builds", platform=True)

    for command in (Ack(*lease), Nack(*lease), Cancel(job_id, force=True), KickJob(job_id)):
        with pytest.raises(JobNotFound):
            log.apply(command)


def test_a_job_that_is_delayed_twice_until_the_same_moment_is_kicked_once() -> None:
    log = QueueLog()
    job_id = log.put(delay_ms=1_000)
    reserved = log.apply(ReserveJob(job_id, worker="a"))
    assert isinstance(reserved, Reserved)
    log.apply(Nack(job_id, reserved.token, delay_ms=1_000))

    assert log.apply(Kick("mail", bound=10)) == Kicked(1)
    assert log.state_of(job_id) == "ready"
