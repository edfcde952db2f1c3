"""What a follower does with what its leader sends: appends and snapshots, each with its answer (§5.3, §7)."""

from .config import RaftConfig
from .log import RaftLog
from .membership import Membership
from .messages import (
    Append,
    AppendRejected,
    AppendResponse,
    Heartbeat,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteResponse,
)


def answer_to_the_past(message: Message, *, term: int, config: RaftConfig) -> list[Message]:
    """What to say to who speaks from an earlier term than ours."""
    me, to = message.to, message.sender
    match message:
        case Append() | Heartbeat() | InstallSnapshot() if config.check_quorum or config.pre_vote:
            # An old leader would never learn of a term that a cut-off node reached alone, and both would
            # stay useless: it ignored the node's votes, the node ignores its appends.
            return [AppendResponse(sender=me, to=to, term=term, index=0)]
        case PreVote():
            # Without an answer a group whose candidate is behind in terms never elects anybody.
            return [PreVoteResponse(sender=me, to=to, term=term, reject=True)]
        case _:
            return []


def take_append(log: RaftLog, message: Append) -> AppendResponse | AppendRejected:
    """Take a leader's entries, and say up to where the logs are equal, or where they may be."""
    me, to, term = message.to, message.sender, message.term
    if message.previous.index < log.commit_index:
        return AppendResponse(sender=me, to=to, term=term, index=log.commit_index)
    vouched = log.maybe_append(message.previous, message.entries)
    if vouched is not None:
        # Not our own last index: what lies behind this message's entries was not verified by it.
        log.commit_to(min(message.commit, vouched))
        return AppendResponse(sender=me, to=to, term=term, index=vouched)
    hint = log.find_conflict(min(message.previous.index, log.last_index), message.previous.term)
    return AppendRejected(sender=me, to=to, term=term, index=message.previous.index, hint=hint)


def take_snapshot(log: RaftLog, message: InstallSnapshot, *, is_member: bool) -> Membership | None:
    """Begin the log anew behind a snapshot, and return its membership; None if we need nothing of it.

    A log that already has the snapshot's last entry keeps all that follows on it, and only learns that it is
    committed. To a member, a snapshot that does not know it is one of a group that it was removed from; a
    newcomer takes it, for its own admission comes in the log behind it.
    """
    snapshot = message.snapshot
    membership = Membership.of(snapshot.voters, snapshot.learners)
    if snapshot.last.index <= log.commit_index or (is_member and message.to not in membership):
        return None
    if log.last_index >= snapshot.last.index and log.term_at(snapshot.last.index) == snapshot.last.term:
        log.commit_to(snapshot.last.index)
        return None
    log.restore(snapshot)
    return membership


def is_stranger(peer: int, *, membership: Membership, log: RaftLog) -> bool:
    """Whether `peer` was removed, as far as we know, and thus has no business in our elections.

    One that we only never heard of may have come since: a voter that was away while the members changed could
    be the one that is missing to elect anybody.
    """
    return peer in membership.removed and not log.may_be_member(peer)
