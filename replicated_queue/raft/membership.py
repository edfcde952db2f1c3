"""Who belongs to the group: voters, learners, and the changes that move one node at a time (thesis §4.1)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from struct import Struct, error

from ..errors import QueueError, UnknownVersion
from .voters import Voters

CHANGE_VERSION = 1
CHANGE = Struct(">BQ")  # kind, node


class ChangeRefused(QueueError):
    """The change would leave no voters, move several at once, or come before another took effect."""


class ChangeKind(IntEnum):
    """What becomes of a node."""

    ADD_VOTER = 1  # or promote a learner
    ADD_LEARNER = 2  # or demote a voter
    REMOVE = 3


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a membership change; takes effect when its entry is applied."""

    kind: ChangeKind
    node: int


@dataclass(frozen=True, slots=True)
class Membership:
    """The configuration of a group. Learners get the log and count for nothing."""

    voters: Voters
    learners: tuple[int, ...] = ()
    removed: frozenset[int] = field(default=frozenset(), compare=False)  # as far as this process saw it

    @classmethod
    def of(cls, voters: Iterable[int], learners: Iterable[int] = ()) -> "Membership":
        """A membership of these ids."""
        return cls(Voters(voters), tuple(sorted(set(learners))))

    @property
    def ids(self) -> tuple[int, ...]:
        """Everybody, ascending."""
        return tuple(sorted({*self.voters.ids, *self.learners}))

    def __contains__(self, node: int) -> bool:
        return node in self.voters or node in self.learners

    def changed(self, changes: Sequence[Change]) -> "Membership":
        """What follows. Raises `ChangeRefused`: two majorities must always share a node (thesis §4.1)."""
        voters, learners = set(self.voters.ids), set(self.learners)
        for change in changes:
            voters.discard(change.node)
            learners.discard(change.node)
            if change.kind is ChangeKind.ADD_VOTER:
                voters.add(change.node)
            elif change.kind is ChangeKind.ADD_LEARNER:
                learners.add(change.node)
        if not voters:
            raise ChangeRefused("removed all voters")
        if len(voters ^ set(self.voters.ids)) > 1:
            raise ChangeRefused("more than one voter changed without entering joint config")
        removed = self.removed | {change.node for change in changes if change.kind is ChangeKind.REMOVE}
        return replace(Membership.of(voters, learners), removed=removed - voters - learners)


def encode_changes(changes: Sequence[Change]) -> bytes:
    """The data of an entry that changes the membership."""
    return bytes((CHANGE_VERSION,)) + b"".join(CHANGE.pack(change.kind, change.node) for change in changes)


def decode_changes(data: bytes) -> tuple[Change, ...]:
    """Changes of such an entry. Raises `UnknownVersion`: guessing would part the replicas."""
    if data[:1] != bytes((CHANGE_VERSION,)):
        raise UnknownVersion(data[:1])
    try:
        return tuple(Change(ChangeKind(kind), node) for kind, node in CHANGE.iter_unpack(data[1:]))
    except (error, ValueError) as unknown:
        raise UnknownVersion(data) from unknown
