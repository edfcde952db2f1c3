"""How many members vote, and which: what a leader changes by itself, one step at a time.

Who is registered is agreed elsewhere, who lives is gossip; what follows from both for the group is decided
here. Voters become fewer only when nodes are taken off the register, never because one is dead.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .membership import Change, ChangeKind, Membership
from .progress import Follower
from .voters import Voters


def voters_wanted(nodes: int) -> int:
    """How many voters a group of so many nodes has: 1 below 3, 3 below 7, then 5.

    Two voters would stop when either is away; more than five cost each entry more disks than they save.
    """
    return 1 if nodes < 3 else 3 if nodes < 7 else 5


def founding_membership(ids: Iterable[int]) -> Membership:
    """The group that these nodes found: the lowest ids vote, the others learn."""
    everybody = sorted(set(ids))
    count = voters_wanted(len(everybody))
    return Membership.of(everybody[:count], everybody[count:])


@dataclass(frozen=True, slots=True, kw_only=True)
class AutopilotRules:
    """How patient the autopilot is, in seconds, and how near a learner must be."""

    stable_seconds: float = 10.0  # alive and caught up for so long, before a learner votes
    gone_seconds: float = 600.0  # silent for so long, before another takes a voter's place
    calm_seconds: float = 10.0  # after a promotion, before a voter is taken away
    max_lag_entries: int = 1_000  # behind the leader's log, and still caught up


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One node, as the leader has seen it since it leads."""

    is_registered: bool
    is_in_reach: bool  # answers this leader
    seconds_ready: float = 0.0  # alive, in reach and caught up without a break; 0 when it is not
    seconds_gone: float = 0.0  # out of reach without a break; 0 when it is in reach


@dataclass(frozen=True, slots=True, kw_only=True)
class AutopilotView:
    """What a leader goes by: every registered node and every member."""

    me: int
    membership: Membership
    nodes: Mapping[int, Standing]
    seconds_since_promotion: float = float("inf")  # or since it leads: it may not know of the last one


class AutopilotWatch:
    """Remembers since when nodes are as they are. One for each leadership: others saw other things."""

    def __init__(self, rules: AutopilotRules, *, now: float) -> None:
        self._rules = rules
        self._ready_since: dict[int, float] = {}
        self._gone_since: dict[int, float] = {}
        self._promoted_at = now
        self._voters = frozenset[int]()  # at the last look

    def look(
        self,
        *,
        me: int,
        membership: Membership,
        registered: Mapping[int, bool],
        followers: Sequence[Follower],
        last_index: int,
        now: float,
    ) -> AutopilotView:
        """What there is to go by now. `registered`: each node, and whether gossip holds it for alive."""
        voters = frozenset(membership.voters.ids)
        if not voters <= self._voters:
            self._promoted_at = now
        self._voters = voters
        known = {follower.peer_id: follower for follower in followers}
        everybody = {*registered, *membership.ids}
        in_reach = {peer for peer, follower in known.items() if follower.is_active} | {me}
        ready = {
            peer
            for peer in in_reach & set(known)
            if registered.get(peer) and self._is_caught_up(known[peer], last_index)
        }
        _keep_since(self._ready_since, ready, now)
        _keep_since(self._gone_since, everybody - in_reach, now)
        return AutopilotView(
            me=me,
            membership=membership,
            nodes={
                peer: Standing(
                    is_registered=peer in registered,
                    is_in_reach=peer in in_reach,
                    seconds_ready=now - self._ready_since.get(peer, now),
                    seconds_gone=now - self._gone_since.get(peer, now),
                )
                for peer in sorted(everybody)
            },
            seconds_since_promotion=now - self._promoted_at,
        )

    def _is_caught_up(self, follower: Follower, last_index: int) -> bool:
        lag = last_index - follower.match_index
        return lag <= self._rules.max_lag_entries and not follower.needs_snapshot


def _keep_since(since: dict[int, float], those: set[int], now: float) -> None:
    for peer in set(since) - those:
        del since[peer]
    for peer in those:
        since.setdefault(peer, now)


def next_change(view: AutopilotView, rules: AutopilotRules = AutopilotRules()) -> Change | None:
    """One step towards the group that there should be; None when it is there, or no step is safe now."""
    return (
        _admission(view)
        or _farewell_to_learner(view)
        or _promotion(view, rules)
        or _removal_of_voter(view, rules)
    )


def _admission(view: AutopilotView) -> Change | None:
    """Every registered node has the log."""
    outside = [peer for peer in _registered(view) if peer not in view.membership]
    return Change(ChangeKind.ADD_LEARNER, outside[0]) if outside else None


def _farewell_to_learner(view: AutopilotView) -> Change | None:
    gone = [peer for peer in view.membership.learners if not view.nodes[peer].is_registered]
    return Change(ChangeKind.REMOVE, gone[0]) if gone else None


def _promotion(view: AutopilotView, rules: AutopilotRules) -> Change | None:
    """A learner votes when a voter is missing, also beside a dead one whose place it takes."""
    voters, lasting = view.membership.voters, _lasting(view, rules)
    wanted = voters_wanted(len(_registered(view)))
    ready = [
        peer
        for peer in view.membership.learners
        if view.nodes[peer].is_registered and view.nodes[peer].seconds_ready >= rules.stable_seconds
    ]
    # Two voters are worse than one, for both are needed: on the way to three nobody stops at two.
    needed = 2 if len(voters.ids) == len(lasting) == 1 else 1
    if len(lasting) >= wanted or len(ready) < needed:
        return None
    return _if_safe(Change(ChangeKind.ADD_VOTER, ready[0]), Voters([*voters.ids, ready[0]]), view)


def _removal_of_voter(view: AutopilotView, rules: AutopilotRules) -> Change | None:
    """A voter goes that is not registered any more, or one more than there should be; the leader last."""
    if view.seconds_since_promotion < rules.calm_seconds:
        return None
    for peer in (*_unregistered_voters(view), *_surplus(view, rules)):
        kind = ChangeKind.ADD_LEARNER if view.nodes[peer].is_registered else ChangeKind.REMOVE
        rest = [voter for voter in view.membership.voters.ids if voter != peer]
        if any(view.nodes[voter].is_registered for voter in rest):
            change = _if_safe(Change(kind, peer), Voters(rest), view)
            if change is not None:
                return change
    return None


def _unregistered_voters(view: AutopilotView) -> list[int]:
    out = [peer for peer in view.membership.voters.ids if not view.nodes[peer].is_registered]
    return sorted(out, key=lambda peer: (peer == view.me, view.nodes[peer].is_in_reach, peer))


def _surplus(view: AutopilotView, rules: AutopilotRules) -> list[int]:
    """Voters above the number wanted that may go: who is gone for long first; of the others, if all last."""
    wanted = voters_wanted(len(_registered(view)))
    registered = [peer for peer in view.membership.voters.ids if view.nodes[peer].is_registered]
    lasting = _lasting(view, rules)
    if len(view.membership.voters.ids) <= wanted:
        return []
    gone = [peer for peer in registered if peer not in lasting]
    healthy = [peer for peer in reversed(lasting) if peer != view.me]
    return [*gone, *(healthy if len(lasting) > wanted else [])]


def _if_safe(change: Change, voters: Voters, view: AutopilotView) -> Change | None:
    """The change, if those who vote after it have a majority in reach."""
    in_reach = [peer for peer in voters.ids if view.nodes[peer].is_in_reach]
    return change if voters.is_quorum(in_reach) else None


def _registered(view: AutopilotView) -> list[int]:
    return [peer for peer, standing in view.nodes.items() if standing.is_registered]


def _lasting(view: AutopilotView, rules: AutopilotRules) -> list[int]:
    """Voters that are here to stay."""
    return [
        peer
        for peer in view.membership.voters.ids
        if view.nodes[peer].is_registered and view.nodes[peer].seconds_gone < rules.gone_seconds
    ]
