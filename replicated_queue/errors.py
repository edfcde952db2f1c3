"""What can go wrong between a client and the replicated queue, each with what to do about it.

Two families. *Refusals* are decided by the state machine from committed state: they are results, equal on
every replica, and nothing was changed. The others tell how the asking went; `OutcomeUnknown` alone leaves
open whether something was done.
"""

from collections.abc import Sequence


class QueueError(Exception):
    """Root of everything this package raises on purpose."""


class Refusal(QueueError):
    """The queue decided against the request, and nothing was changed."""


class NotLeader(QueueError):
    """This node does not lead the group; `leader` is whom it believes in, if anybody."""

    def __init__(self, leader: int | None = None) -> None:
        self.leader = leader
        known = f"node {leader:016x} leads" if leader is not None else "no leader is known yet"
        super().__init__(
            f"this node does not lead the group ({known}). Ask the leader, or try again shortly."
        )


class NoQuorum(QueueError):
    """No leader could be reached in time; nothing was done."""

    def __init__(self, *, waited_seconds: float | None = None) -> None:
        self.waited_seconds = waited_seconds
        waited = f" within {waited_seconds:.1f} s" if waited_seconds is not None else ""
        super().__init__(
            f"no quorum: no majority of the nodes could be reached{waited}, so nothing can be changed now "
            "and nothing was. Bring the missing nodes back, or try again shortly."
        )


class Busy(QueueError):
    """The leader has as many changes in flight as it may; nothing was done."""

    def __init__(self, retry_after_seconds: float = 0.1) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"the queue is busy and did nothing. Try again in {retry_after_seconds:.1f} s.")


class DiskFull(Busy):
    """The leader's disk takes no more. It hands over, so another try may find a leader that has room."""

    def __init__(self, where: str) -> None:
        super().__init__(retry_after_seconds=1.0)
        self.where = where
        self.args = (
            f"nothing was done: the leader's disk is full or read-only ({where}). Free space there, "
            "or make it writable; changes are taken again by themselves.",
        )


class OutcomeUnknown(QueueError):
    """The request was sent and no answer came: it may or may not be done."""

    def __init__(self, what: str = "the request") -> None:
        self.what = what
        super().__init__(
            f"{what} was sent but its answer was lost: it may or may not be done. "
            "Look at the job before you ask again, or ask again under the same request id."
        )


class NodeUnreachable(QueueError):
    """None of the nodes a client knows answered; nothing was done."""

    def __init__(self, *, tried: Sequence[str], reason: str = "") -> None:
        self.tried = tuple(tried)
        self.reason = reason
        why = f" ({reason})" if reason else ""
        super().__init__(
            f"no node answered at {', '.join(tried)}{why}, and nothing was done. "
            "Check the addresses, and that one of these nodes runs."
        )


class ClientClosed(QueueError):
    """The client was closed before it sent the request; nothing was done."""

    def __init__(self) -> None:
        super().__init__("the client was closed before it sent this, and nothing was done. Open another one.")


class NotAuthorized(QueueError):
    """The token opens nothing here."""

    def __init__(self) -> None:
        super().__init__("the token was refused: it is wrong or expired. Log in for a new one.")


class MalformedMessage(QueueError):
    """Bytes that are not a message of this package, or break its bounds."""

    def __init__(self, reason: str = "not a message of the queue") -> None:
        self.reason = reason
        super().__init__(f"malformed message: {reason}")


class UnknownVersion(QueueError):
    """An entry of a newer version than this program can apply; the node must stop rather than guess."""

    def __init__(self, version: object) -> None:
        super().__init__(
            f"an entry has version {version!r}, newer than this program knows. Upgrade this node."
        )


class LeaseLost(Refusal):
    """The lease ended, and the job may have another holder: whatever was done for it must not count."""

    def __init__(self, *, job_id: int, job_ids: Sequence[int] = ()) -> None:
        self.job_id = job_id
        self.job_ids = tuple(job_ids) or (job_id,)  # of a request about several jobs: all that were lost
        which = f"job {job_id}" if len(self.job_ids) == 1 else f"{len(self.job_ids)} jobs ({job_id}, …)"
        super().__init__(f"the lease of {which} has ended. Drop this work: it goes to another worker.")


class QueueFull(Refusal):
    """The bound on jobs or on their bytes is reached."""

    def __init__(self, *, what: str) -> None:
        self.what = what
        super().__init__(
            f"the queue is full ({what}). Let workers finish some jobs, or cancel some, then try again."
        )


class TopicDraining(Refusal):
    """The topic takes no new jobs."""

    def __init__(self, *, topic: str) -> None:
        self.topic = topic
        super().__init__(
            f"topic {topic!r} is being drained: it takes no new jobs until somebody ends that. "
            "Those that are there are worked off."
        )


class JobNotFound(Refusal):
    """No job of this id: it never was, or it ended too long ago to be remembered."""

    def __init__(self, *, job_id: int) -> None:
        self.job_id = job_id
        super().__init__(
            f"there is no job {job_id}. It may have ended long ago; `pinode queue` shows what waits."
        )


class AlreadyDone(Refusal):
    """The job has ended already; `state` says how."""

    def __init__(self, *, job_id: int, state: str) -> None:
        self.job_id = job_id
        self.state = state
        super().__init__(f"job {job_id} is already {state}. Nothing is left to do for it.")


class Duplicate(Refusal):
    """A job of this dedupe key was done already, within the time such keys are remembered."""

    def __init__(self, *, job_id: int) -> None:
        self.job_id = job_id
        super().__init__(
            f"a job of this dedupe key is already done (job {job_id}). Use another key to do it again."
        )


class WrongState(Refusal):
    """The job is in a state that does not allow this."""

    def __init__(self, *, job_id: int, state: str, wanted: str) -> None:
        self.job_id = job_id
        self.state = state
        self.wanted = wanted
        super().__init__(f"job {job_id} is {state}, but this needs a job that is {wanted}.")


class SessionExpired(Refusal):
    """The request is too old to know whether it was done before, so it was not done (again).

    `surely_not_done`: it was asked once only, so it may be asked anew.
    """

    def __init__(self, *, surely_not_done: bool = False) -> None:
        self.surely_not_done = surely_not_done
        super().__init__(
            "this client was silent for too long for the queue to know whether the request was done before, "
            "so it was not done now. Look at the job, then ask again as a new request."
        )


class KeyReused(Refusal):
    """The key of a single shot was used for another one, so this one was not done."""

    def __init__(self) -> None:
        super().__init__(
            "this idempotency key was used for another request, so this one was not done. "
            "Take a new key for each thing that is to be done, for example a random UUID."
        )


class InvalidTopic(Refusal):
    """The name breaks the rule for topics."""

    def __init__(self, *, topic: str) -> None:
        self.topic = topic
        super().__init__(
            f"{topic[:200]!r} is no name for a topic: 1 to 200 bytes of letters, digits and -+/;.$_(), "
            "not beginning with '-', for example 'mail'."
        )


class ReservedTopic(Refusal):
    """Topics that begin with `pinode.` are the platform's own."""

    def __init__(self, *, topic: str) -> None:
        self.topic = topic
        super().__init__(
            f"topic {topic!r} is the platform's own. Choose a name that does not begin with 'pinode.'."
        )


class JobTooLarge(Refusal):
    """The job's data, result or reason is over its bound."""

    def __init__(self, *, what: str, size_bytes: int, bound_bytes: int) -> None:
        self.what = what
        self.size_bytes = size_bytes
        self.bound_bytes = bound_bytes
        super().__init__(
            f"{what} has {size_bytes} bytes, more than {bound_bytes}. "
            "Store it elsewhere and put its address into the job."
        )


class InvalidRequest(Refusal):
    """A value of the request is outside what the queue allows."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
