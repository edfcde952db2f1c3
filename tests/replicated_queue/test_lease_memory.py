"""Deadlines of leases in the leader's memory."""

from replicated_queue.leases import LeaseTable


def table_at(now: float) -> LeaseTable:
    leases = LeaseTable()
    leases.advance(now)
    return leases


def run_to(leases: LeaseTable, begin: float, end: float) -> None:
    """As the timer does: a step a second at most."""
    while begin < end:
        begin = min(begin + 1.0, end)
        leases.advance(begin)


def test_a_lease_is_due_when_its_time_is_over_and_not_before() -> None:
    leases = table_at(100)
    leases.grant(7, 70, 10)

    run_to(leases, 100, 109.9)
    assert leases.take_due() == []
    run_to(leases, 109.9, 110)
    assert leases.take_due() == [(7, 70)]


def test_an_extended_lease_begins_anew() -> None:
    leases = table_at(0)
    leases.grant(7, 70, 10)
    run_to(leases, 0, 8)

    assert leases.extend(7, 70, None)

    run_to(leases, 8, 17.5)
    assert leases.take_due() == []
    run_to(leases, 17.5, 18)
    assert leases.take_due() == [(7, 70)]


def test_a_lease_can_be_extended_to_end_sooner() -> None:
    leases = table_at(0)
    leases.grant(7, 70, 60)

    leases.extend(7, 70, 2)
    run_to(leases, 0, 2)

    assert leases.take_due() == [(7, 70)]


def test_a_pause_of_the_process_lengthens_every_lease_by_at_least_the_pause() -> None:
    """Checklist 3.2 and 1.18: a stopped leader could hear no extension."""
    leases = table_at(0)
    leases.grant(7, 70, 10)
    run_to(leases, 0, 5)

    leases.advance(35)

    run_to(leases, 35, 39.9)
    assert leases.take_due() == []
    run_to(leases, 39.9, 40)
    assert leases.take_due() == [(7, 70)]


def test_a_lease_that_ended_or_has_another_token_is_not_extended() -> None:
    leases = table_at(0)
    leases.grant(7, 70, 10)

    assert not leases.extend(7, 69, None)
    leases.end(7)
    assert not leases.extend(7, 70, None)


def test_a_lease_whose_end_is_on_its_way_is_not_extended_and_its_expiry_is_asked_again() -> None:
    leases = table_at(0)
    leases.grant(7, 70, 1)
    leases.advance(1)
    assert leases.take_due() == [(7, 70)]

    assert not leases.extend(7, 70, None)
    assert leases.take_due() == []
    run_to(leases, 1, 2)

    assert leases.take_due() == [(7, 70)]


def test_with_nothing_held_there_is_nothing_to_wait_for() -> None:
    leases = table_at(0)
    assert leases.seconds_to_next() is None

    leases.grant(7, 70, 60)
    assert leases.seconds_to_next() == 1.0
    leases.end(7)

    assert leases.seconds_to_next() is None


def test_leases_that_are_acknowledged_at_once_leave_no_growing_memory() -> None:
    leases = table_at(0)

    for job_id in range(10_000):
        leases.grant(job_id, job_id, 60)
        leases.end(job_id)

    assert len(leases._heap) < 2_000
