"""No job spins, and none starves: waits between attempts, and priorities that age."""

import pytest

from replicated_queue.queue.backoff import MAX_BACKOFF_MS, backoff_ms
from replicated_queue.queue.commands import Ack, ExpireLease, GiveBack, Kick, Nack, SetTopic
from tests.replicated_queue.queue_log import QueueLog


def test_each_failed_attempt_waits_twice_as_long_as_the_one_before_up_to_ten_minutes() -> None:
    """Checklist 3.8: a worker that crashes again and again does not spin."""
    waits = [backoff_ms(200, attempts=attempts, job_id=7) for attempts in range(1, 40)]

    assert waits[0] == 0  # a worker's end is not its job's fault
    for number, wait in enumerate(waits[1:]):
        longest = min(200 * 2**number, MAX_BACKOFF_MS)
        assert longest / 2 <= wait <= longest


def test_jobs_that_failed_together_do_not_come_back_together() -> None:
    waits = {backoff_ms(10_000, attempts=3, job_id=job_id) for job_id in range(100)}

    assert len(waits) > 90
    assert max(waits) - min(waits) > 8_000


def test_the_largest_base_and_any_number_of_attempts_stay_within_the_maximum() -> None:
    assert backoff_ms(MAX_BACKOFF_MS, attempts=1_000_000, job_id=2**63) <= MAX_BACKOFF_MS
    assert backoff_ms(0, attempts=1_000_000, job_id=1) == 0


@pytest.mark.parametrize("fail", [ExpireLease, Nack, lambda *lease: GiveBack((lease,))])
def test_a_poisoned_job_waits_between_attempts_however_they_fail(fail: type[ExpireLease]) -> None:
    """Checklist 3.8."""
    log = QueueLog()
    job_id = log.put(max_attempts=0, backoff_ms=1_000)
    log.apply(fail(*log.take()))
    log.apply(fail(*log.take()))

    assert log.state_of(job_id) == "delayed"
    assert log.reserve(at=499) is None
    assert log.reserve(at=1_000) is not None


def test_a_worker_that_names_a_delay_has_its_way() -> None:
    log = QueueLog()
    log.put(max_attempts=0, backoff_ms=60_000)
    for _ in range(5):
        log.apply(Nack(*log.take(), delay_ms=0))

    log.apply(Nack(*log.take(), delay_ms=100))

    assert log.reserve(at=99) is None
    assert log.reserve(at=100) is not None


def test_a_crashing_worker_takes_a_job_a_few_times_in_a_minute_not_thousands() -> None:
    """Checklist 3.8: one that dies at once each time, for a job without a bound on attempts."""
    log = QueueLog()
    log.put(max_attempts=0)
    taken = 0

    for now in range(0, 60_000, 10):
        if (lease := log.reserve(at=now)) is not None:
            taken += 1
            log.apply(ExpireLease(*lease))

    assert taken <= 12


def test_a_kick_begins_the_waits_anew() -> None:
    log = QueueLog()
    job_id = log.put(max_attempts=0, backoff_ms=60_000)
    for _ in range(2):
        log.apply(ExpireLease(*log.take()))
    log.apply(Kick("mail", 1))

    log.apply(ExpireLease(*log.take()))

    assert log.state_of(job_id) == "ready"


def served_at(log: QueueLog, wanted: int, *, until: int, **urgent: object) -> int | None:
    """When the wanted job is served, while each 100 ms an urgent job comes and one job is done."""
    for now in range(0, until, 100):
        log.put(b"urgent", priority=0, at=now, **urgent)
        lease = log.take(at=now)
        if lease[0] == wanted:
            return now
        log.apply(Ack(*lease))
    return None


def test_without_ageing_an_endless_stream_of_urgent_jobs_starves_a_patient_one() -> None:
    log = QueueLog()
    patient = log.put(priority=3)

    assert served_at(log, patient, until=10_000) is None


def test_with_ageing_a_patient_job_is_served_within_its_priority_times_the_step() -> None:
    """Checklist 3.9."""
    log = QueueLog()
    log.apply(SetTopic("mail", ageing_ms=1_000))
    patient = log.put(priority=3, at=0)

    assert served_at(log, patient, until=10_000) == 3_000


def test_jobs_that_do_not_age_starve_no_job_that_does() -> None:
    """Checklist 3.9: beanstalk's jobs keep their order among themselves, in a topic that ages too."""
    log = QueueLog()
    log.apply(SetTopic("mail", ageing_ms=1_000))
    patient = log.put(priority=3, at=0)

    assert served_at(log, patient, until=10_000, ages=False) == 3_000


def test_jobs_that_do_not_age_go_by_priority_alone_however_long_they_wait() -> None:
    """Checklist 3.9: never at the beanstalk door."""
    log = QueueLog()
    log.apply(SetTopic("mail", ageing_ms=1_000))
    log.put(priority=3, ages=False, at=0)
    urgent = log.put(priority=0, ages=False, at=1_000_000)

    assert log.take(at=1_000_000)[0] == urgent


def test_ageing_that_is_turned_off_moves_no_job_that_waits() -> None:
    """Its place was fixed by the put: nothing is sorted again."""
    log = QueueLog()
    log.apply(SetTopic("mail", ageing_ms=1_000))
    patient = log.put(priority=3, at=0)
    log.apply(SetTopic("mail", ageing_ms=0))
    later = log.put(priority=0, at=5_000)

    assert [log.take(at=5_000)[0] for _ in range(2)] == [patient, later]


def test_the_most_urgent_of_several_topics_counts_ageing_too() -> None:
    log = QueueLog()
    log.apply(SetTopic("mail", ageing_ms=1_000))
    patient = log.put(priority=2, at=0)
    for now in (1_000, 3_000):
        log.put(topic="bills", priority=0, at=now)

    order = [log.take("mail", "bills", at=3_000)[0] for _ in range(3)]

    assert order == [patient + 1, patient, patient + 2]
