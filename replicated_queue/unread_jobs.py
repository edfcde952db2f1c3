"""Jobs that a reserve took for somebody who is not there any more. Pure.

They are given back, as if they had never been taken. This is only for answers that nobody will ever ask for
again: a request that may be repeated under its number must find its job leased to it.
"""

from typing import TypeGuard

from replicated_queue.queue.codec import JOBS, command_values
from replicated_queue.queue.commands import GiveBack, Reserve, ReserveJob
from replicated_queue.queue_state import QUEUE_DOMAIN
from replicated_queue.request_codec import Outcome, jobs_of, submit
from replicated_queue.requests import Submit
from replicated_queue.sessions import single


def takes_jobs(command: object) -> TypeGuard[Reserve | ReserveJob]:
    """Whether its answer may be jobs."""
    return isinstance(command, Reserve | ReserveJob)


def leases_in(answer: Outcome) -> tuple[tuple[int, int], ...]:
    """(job id, token) of the jobs in an answer, if it is that of a reserve that found some."""
    if not isinstance(answer, list | tuple) or len(answer) < 3 or answer[0] != JOBS:
        return ()
    return tuple((job.id, job.token) for job in jobs_of(answer))


def giving_back(answer: Outcome, *, platform: bool) -> Submit | None:
    """A request that gives back all of them. It may be done twice, for each is named with its token."""
    leases = leases_in(answer)
    if not leases:
        return None
    command = GiveBack(leases, platform, unseen=True)
    return submit(single(QUEUE_DOMAIN, command_values(command))._replace(commands=(command,)))
