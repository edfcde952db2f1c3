"""A kick of many jobs goes by thousands, and comes to the same end when it is asked again."""

import pytest

from replicated_queue.kicking import kick_in_parts
from replicated_queue.queue.commands import Bury, GiveBack, Kick, Kicked
from replicated_queue.queue.job import BURIED, DELAYED, READY
from tests.replicated_queue.queue_log import QueueLog

FIRST_PARTS = 3


class NodeGone(Exception):
    """It died after some commands."""


class Asker:
    """Asks under one key: what was done before is answered as it was then."""

    def __init__(self, log: QueueLog) -> None:
        self.log = log
        self.answers: list[Kicked] = []
        self.parts_left = FIRST_PARTS

    async def kick_all(self, bound: int) -> int:
        known = list(self.answers)

        async def kick(wanted: int, only_buried: bool) -> Kicked:
            if known:
                return known.pop(0)
            if not self.parts_left:
                raise NodeGone
            self.parts_left -= 1
            result = self.log.apply(Kick("mail", wanted, only_buried=only_buried))
            assert isinstance(result, Kicked)
            self.answers.append(result)
            return result

        return await kick_in_parts(bound, kick)


async def test_a_kick_that_broke_off_behind_the_last_buried_job_wakes_no_delayed_one_when_asked_again() -> (
    None
):
    log = QueueLog()
    for _ in range(FIRST_PARTS * 1_000):
        log.put()
        log.apply(Bury(*log.take()))
    for _ in range(500):
        log.put(delay_ms=1_000)
    asker = Asker(log)
    with pytest.raises(NodeGone):
        await asker.kick_all(5_000)

    asker.parts_left = 10

    assert [await asker.kick_all(5_000) for _ in range(2)] == [3_000, 3_000]
    counts = log.queue.topics["mail"].counts
    assert (counts[READY], counts[DELAYED], counts[BURIED]) == (3_000, 500, 0)


def test_a_lease_that_nobody_got_to_know_of_was_no_attempt() -> None:
    log = QueueLog()
    job_id = log.put(max_attempts=1, backoff_ms=60_000)

    log.apply(GiveBack((log.take(),), unseen=True))

    job = log.queue.jobs[job_id]
    assert (job.state, job.attempts, job.reasons) == (READY, 0, ())
    assert log.take()[0] == job_id
