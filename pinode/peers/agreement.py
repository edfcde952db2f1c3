"""How fresh nodes agree on one founding record: single-decree Paxos whose voters are part of the question.

Nobody knows beforehand who the founding nodes are; a proposer names its *group*, as many nodes as are
expected. A new value needs a promise of every node of its group, and is decided when a majority of the group
accepted it. Every promise tells which groups its giver was ever asked for, and whoever proposes later needs a
majority of each of those: so it meets anyone who may have accepted before, and adopts that value. Two groups
that share a node therefore never decide differently, in any order of starts, losses and crashes. A node
answers only after what it promises or accepts is durable.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace

from pinode.errors import Conflict

Group = frozenset[str]
MAX_GROUPS = 64  # that one node is ever asked for; more than a room full of Pis being switched on


@dataclass(frozen=True, slots=True, order=True)
class Ballot:
    """One attempt of one proposer; higher ones outbid lower ones."""

    round: int
    node_id: str


@dataclass(frozen=True, slots=True)
class Value:
    """What is proposed, and the group that decides it."""

    members: Group
    content: bytes


@dataclass(frozen=True, slots=True)
class Prepare:
    """Promise to accept nothing of lower ballots, and tell what was accepted already."""

    ballot: Ballot
    group: Group


@dataclass(frozen=True, slots=True)
class Accept:
    """Accept this value, unless a higher ballot was promised."""

    ballot: Ballot
    value: Value


@dataclass(frozen=True, slots=True)
class Promised:
    """The answer to `Prepare`: every group asked for so far, and the value accepted last."""

    groups: frozenset[Group]
    accepted: Accept | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to `Accept`."""


@dataclass(frozen=True, slots=True)
class Outbid:
    """A higher ballot was promised; try again above it."""

    promised: Ballot


NO_BALLOT = Ballot(0, "")


@dataclass(frozen=True, slots=True)
class AcceptorState:
    """What one node must remember before it answers."""

    promised: Ballot = NO_BALLOT
    groups: frozenset[Group] = field(default_factory=frozenset)
    accepted: Accept | None = None

    def prepare(self, message: Prepare) -> "tuple[AcceptorState, Promised | Outbid]":
        """Return the state to make durable, and then the answer."""
        groups = self.groups | {message.group}
        if message.ballot < self.promised or len(groups) > MAX_GROUPS:
            return self, Outbid(self.promised)
        state = replace(self, promised=message.ballot, groups=groups)
        return state, Promised(groups=groups, accepted=self.accepted)

    def accept(self, message: Accept) -> "tuple[AcceptorState, Accepted | Outbid]":
        """Return the state to make durable, and then the answer."""
        if message.ballot < self.promised:
            return self, Outbid(self.promised)
        return replace(self, promised=message.ballot, accepted=message), Accepted()


class TwoFoundings(Conflict):
    """Two sets of nodes that share none began to found a cluster each, under the same key."""

    def __init__(self, first: Group, second: Group) -> None:
        super().__init__(
            f"the nodes {_listed(first)} and the nodes {_listed(second)} each began to found a cluster",
            hint="Stop one set of them, and remove the file `founding` from their data directories.",
        )


class Proposal:
    """One ballot of one proposer."""

    def __init__(self, ballot: Ballot, group: Group) -> None:
        self.ballot = ballot
        self.group = group
        self.value: Value | None = None
        self._promises: dict[str, Promised] = {}
        self._accepted_by: set[str] = set()

    def nodes_to_ask(self) -> Group:
        """Whose promise counts: the group, and every group that any promise told of."""
        return self.group.union(*self._groups())

    def take_promise(self, node_id: str, promise: Promised) -> None:
        """Count one promise of this ballot."""
        self._promises[node_id] = promise

    def choose(self, make: Callable[[], bytes]) -> Value | None:
        """Return the value to have accepted: one found, else a new one; None while promises are missing.

        Raises `TwoFoundings`.
        """
        if not all(
            self._is_majority(group, self._promises.keys()) for group in self._groups() - {self.group}
        ):
            return None
        found = [promise.accepted for promise in self._promises.values() if promise.accepted]
        if found:
            newest = max(found, key=lambda accepted: accepted.ballot).value
            for other in found:
                if not newest.members & other.value.members:
                    raise TwoFoundings(newest.members, other.value.members)
            self.value = newest if self._is_majority(newest.members, self._promises.keys()) else None
        elif self.group <= self._promises.keys():
            self.value = Value(self.group, make())
        return self.value

    def take_accepted(self, node_id: str) -> None:
        """Count one acceptance of the chosen value."""
        self._accepted_by.add(node_id)

    @property
    def is_decided(self) -> bool:
        """Whether a majority of the value's group accepted it: it is the outcome for ever."""
        return self.value is not None and self._is_majority(self.value.members, self._accepted_by)

    def _groups(self) -> frozenset[Group]:
        return frozenset[Group]().union(*(promise.groups for promise in self._promises.values()))

    @staticmethod
    def _is_majority(group: Group, nodes: Set[str]) -> bool:
        return 2 * len(group & nodes) > len(group)


def _listed(group: Group) -> str:
    return ", ".join(sorted(group))
