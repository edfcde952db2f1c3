"""What a leader changes by itself: how many vote, who comes in, who goes (checklist 1.20 to 1.26)."""

from dataclasses import dataclass, field
from random import Random

import pytest

from replicated_queue.raft.autopilot import (
    AutopilotRules,
    AutopilotWatch,
    founding_membership,
    next_change,
    voters_wanted,
)
from replicated_queue.raft.membership import Change, ChangeKind, Membership
from replicated_queue.raft.progress import Follower

ADD, LEARN, REMOVE = ChangeKind.ADD_VOTER, ChangeKind.ADD_LEARNER, ChangeKind.REMOVE
RULES = AutopilotRules()
MINUTE = 60.0


@dataclass
class Cluster:
    """Nodes and their leader's autopilot; a change takes effect as soon as it is asked for."""

    membership: Membership
    registered: set[int]
    leader: int = 1
    off: set[int] = field(default_factory=set)
    behind: set[int] = field(default_factory=set)
    needing_snapshots: set[int] = field(default_factory=set)
    now: float = 0.0
    done: list[tuple[float, Change]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = AutopilotWatch(RULES, now=self.now)

    @classmethod
    def founded(cls, nodes: int) -> "Cluster":
        return cls(founding_membership(range(1, nodes + 1)), set(range(1, nodes + 1)))

    def lead(self, leader: int) -> None:
        self.leader = leader
        self.watch = AutopilotWatch(RULES, now=self.now)

    def look(self) -> Change | None:
        followers = [
            Follower(
                peer,
                0 if peer in self.behind else 5_000,
                peer not in self.off,
                peer in self.needing_snapshots,
            )
            for peer in self.membership.ids
            if peer != self.leader
        ]
        view = self.watch.look(
            me=self.leader,
            membership=self.membership,
            registered={peer: peer not in self.off for peer in self.registered},
            followers=followers,
            last_index=5_100,
            now=self.now,
        )
        return next_change(view, RULES)

    def pass_time(self, seconds: float) -> list[Change]:
        """Look each second, and do what is to be done; return it."""
        before = len(self.done)
        for _ in range(round(seconds)):
            self.now += 1.0
            while (change := self.look()) is not None:
                self.membership = self.membership.changed([change])
                self.done.append((self.now, change))
        return [change for _, change in self.done[before:]]

    def join(self, *nodes: int) -> None:
        self.registered |= set(nodes)

    @property
    def voters(self) -> tuple[int, ...]:
        return self.membership.voters.ids

    @property
    def keeps_quorum(self) -> bool:
        return self.membership.voters.is_quorum(set(self.voters) - self.off)


@pytest.mark.parametrize(("nodes", "voters"), [(1, 1), (2, 1), (3, 3), (6, 3), (7, 5), (40, 5)])
def test_a_group_is_founded_with_one_three_or_five_voters_and_the_others_learn(
    nodes: int, voters: int
) -> None:
    founded = founding_membership(range(nodes, 0, -1))

    assert founded.voters.ids == tuple(range(1, voters + 1))
    assert founded.learners == tuple(range(voters + 1, nodes + 1))


@pytest.mark.parametrize("nodes", [1, 2, 3, 6, 7])
def test_a_group_that_is_as_it_should_be_is_left_alone(nodes: int) -> None:
    assert Cluster.founded(nodes).pass_time(30 * MINUTE) == []


def test_a_node_that_joins_learns_at_once() -> None:
    cluster = Cluster.founded(1)
    cluster.join(2)

    assert cluster.pass_time(20 * MINUTE) == [Change(LEARN, 2)]


def test_from_one_voter_to_three_it_goes_only_when_both_are_caught_up_for_ten_seconds() -> None:
    """Checklist 1.23: with two voters the group would stop when either is away."""
    cluster = Cluster.founded(1)
    cluster.join(2, 3)
    cluster.behind = {3}
    assert cluster.pass_time(5 * MINUTE) == [Change(LEARN, 2), Change(LEARN, 3)]

    cluster.behind = set()

    assert cluster.pass_time(9) == []
    assert cluster.pass_time(2) == [Change(ADD, 2), Change(ADD, 3)]


def test_a_learner_that_needs_a_snapshot_is_not_caught_up_however_short_the_log() -> None:
    """Checklist 1.23: the majority would depend on a disk that has nothing yet."""
    cluster = Cluster.founded(1)
    cluster.join(2, 3)
    cluster.needing_snapshots = {3}
    assert cluster.pass_time(5 * MINUTE) == [Change(LEARN, 2), Change(LEARN, 3)]

    cluster.needing_snapshots = set()

    assert cluster.pass_time(11) == [Change(ADD, 2), Change(ADD, 3)]


def test_a_learner_that_was_away_for_a_moment_begins_its_ten_seconds_anew() -> None:
    """Checklist 1.23."""
    cluster = Cluster.founded(1)
    cluster.join(2, 3)
    cluster.pass_time(9)
    cluster.off = {3}
    cluster.pass_time(1)
    cluster.off = set()

    assert cluster.pass_time(9) == []
    assert cluster.pass_time(2) == [Change(ADD, 2), Change(ADD, 3)]


def test_seven_nodes_have_five_voters() -> None:
    cluster = Cluster.founded(6)
    cluster.join(7)

    cluster.pass_time(MINUTE)

    assert cluster.voters == (1, 2, 3, 4, 5)
    assert cluster.membership.learners == (6, 7)


def test_two_voters_that_reboot_at_once_leave_the_group_as_it_is() -> None:
    """Checklist 1.26."""
    cluster = Cluster.founded(7)
    cluster.off = {4, 5}

    assert cluster.pass_time(9 * MINUTE) == []
    assert cluster.keeps_quorum


def test_a_voter_that_is_gone_for_ten_minutes_is_replaced_by_a_spare_and_learns_when_it_returns() -> None:
    """Checklist 1.26: the spare first, and the removal only after a calm."""
    cluster = Cluster.founded(4)
    cluster.off = {3}
    assert cluster.pass_time(9.9 * MINUTE) == []

    assert cluster.pass_time(MINUTE) == [Change(ADD, 4), Change(LEARN, 3)]

    times = [at for at, _ in cluster.done]
    assert times[1] - times[0] >= RULES.calm_seconds
    cluster.off = set()
    assert cluster.pass_time(20 * MINUTE) == []
    assert cluster.voters == (1, 2, 4)


def test_a_dead_voter_without_a_spare_stays_a_voter() -> None:
    """Checklist 1.26: voters never become fewer because of a death."""
    cluster = Cluster.founded(3)
    cluster.off = {3}

    assert cluster.pass_time(60 * MINUTE) == []


def test_a_new_leader_counts_the_ten_minutes_anew() -> None:
    cluster = Cluster.founded(4)
    cluster.off = {3}
    cluster.pass_time(9 * MINUTE)

    cluster.lead(2)

    assert cluster.pass_time(9 * MINUTE) == []
    assert cluster.pass_time(2 * MINUTE) != []


def test_a_node_that_is_removed_leaves_the_group_and_a_spare_takes_its_place_first() -> None:
    cluster = Cluster.founded(4)
    cluster.pass_time(MINUTE)
    cluster.registered -= {2}

    assert cluster.pass_time(MINUTE) == [Change(ADD, 4), Change(REMOVE, 2)]


def test_when_the_third_node_is_removed_one_voter_remains_and_the_second_learns() -> None:
    cluster = Cluster.founded(3)
    cluster.pass_time(MINUTE)
    cluster.registered -= {3}

    assert cluster.pass_time(MINUTE) == [Change(REMOVE, 3), Change(LEARN, 2)]
    assert cluster.voters == (1,)


def test_the_leader_is_removed_last_and_never_without_a_successor() -> None:
    cluster = Cluster.founded(2)
    cluster.registered -= {1}

    assert cluster.pass_time(MINUTE) == [Change(ADD, 2), Change(REMOVE, 1)]

    lonely = Cluster.founded(2)
    lonely.off, lonely.registered = {2}, {2}
    assert lonely.pass_time(60 * MINUTE) == []


def test_no_voter_is_removed_whose_removal_would_cost_the_majority() -> None:
    """Checklist 1.26."""
    cluster = Cluster.founded(4)
    cluster.pass_time(MINUTE)
    cluster.off = {2, 4}
    cluster.registered -= {3}

    assert cluster.pass_time(5 * MINUTE) == []

    cluster.off = {4}
    assert cluster.pass_time(5 * MINUTE) == [Change(REMOVE, 3)]


@pytest.mark.parametrize("seed", range(40))
def test_through_any_trouble_the_autopilot_keeps_its_promises_and_arrives(seed: int) -> None:
    """Checklist 1.20, 1.23, 1.26: random joins, removals, reboots and changes of leader."""
    random = Random(seed)
    cluster = Cluster.founded(random.randrange(1, 8))
    for _ in range(60):
        _trouble(cluster, random)
        step = random.choice((1.0, 5.0, 60.0))
        for _ in range(random.randrange(1, 16)):
            cluster.now += step
            _step_with_promises(cluster)
    cluster.off = cluster.behind = set()

    cluster.pass_time(30 * MINUTE)

    assert set(cluster.membership.ids) - {cluster.leader} == cluster.registered - {cluster.leader}
    if cluster.leader in cluster.registered:
        assert len(cluster.voters) == voters_wanted(len(cluster.registered))


def _trouble(cluster: Cluster, random: Random) -> None:
    """Nobody takes more than a minority of the voters away, or there is no leader to ask."""
    match random.choice(("join", "remove", "off", "off", "on", "on", "lag", "lead")):
        case "join" if len(cluster.registered) < 12:
            cluster.join(max(cluster.registered | set(cluster.membership.ids) | {20}) + 1)
        case "remove" if len(cluster.registered) > 1:
            cluster.registered.discard(random.choice(sorted(cluster.registered)))
        case "off":
            cluster.off.add(random.choice(cluster.membership.ids))
            cluster.off.discard(cluster.leader)
            while not cluster.keeps_quorum:
                cluster.off.discard(random.choice(sorted(cluster.off)))
        case "on" if cluster.off:
            cluster.off.discard(random.choice(sorted(cluster.off)))
        case "lag":
            cluster.behind = {peer for peer in cluster.membership.learners if random.random() < 0.3}
        case "lead":
            cluster.lead(random.choice(sorted(set(cluster.voters) - cluster.off)))
        case _:
            pass


def _step_with_promises(cluster: Cluster) -> None:
    while (change := cluster.look()) is not None:
        before = cluster.membership
        cluster.membership = before.changed([change])  # refuses more than one voter at once
        cluster.done.append((cluster.now, change))
        old, new = set(before.voters.ids), set(cluster.voters)
        assert cluster.keeps_quorum, f"{change} costs the majority"
        wanted = voters_wanted(len(cluster.registered))
        if new - old:
            assert change.node in before.learners and change.node not in cluster.off | cluster.behind
            assert (
                len(old) > 1 or wanted == 1 or _ready(cluster, before) >= 2 or not old <= cluster.registered
            )
        if old - new:
            promotions = [at for at, done in cluster.done if done.kind is ADD]
            assert not promotions or cluster.now - promotions[-1] >= RULES.calm_seconds
            assert change.node not in cluster.registered or len(old) > wanted, "voters shrank by a death"


def _ready(cluster: Cluster, membership: Membership) -> int:
    return len(set(membership.learners) & cluster.registered - cluster.off - cluster.behind)
