"""Agreement on one founding record, in any order of messages, losses and crashes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations
from random import Random

import pytest

from pinode.peers.agreement import (
    Accept,
    Accepted,
    AcceptorState,
    Ballot,
    Group,
    Outbid,
    Prepare,
    Promised,
    Proposal,
    TwoFoundings,
    Value,
)

A, B, C, D, E = "abcde"


def prepared(state: AcceptorState, ballot: Ballot, group: set[str]) -> AcceptorState:
    return state.prepare(Prepare(ballot, frozenset(group)))[0]


def promise(state: AcceptorState, ballot: Ballot, group: set[str]) -> Promised:
    answer = state.prepare(Prepare(ballot, frozenset(group)))[1]
    assert isinstance(answer, Promised)
    return answer


def accepting(ballot: Ballot, members: set[str], content: bytes) -> AcceptorState:
    state = prepared(AcceptorState(), ballot, members)
    return state.accept(Accept(ballot, Value(frozenset(members), content)))[0]


def test_a_new_value_needs_the_promise_of_the_whole_group_and_a_majority_to_be_decided() -> None:
    proposal = Proposal(Ballot(1, A), frozenset({A, B, C}))

    for node in (A, B):
        proposal.take_promise(node, promise(AcceptorState(), proposal.ballot, {A, B, C}))
    too_early = proposal.choose(lambda: b"record")
    proposal.take_promise(C, promise(AcceptorState(), proposal.ballot, {A, B, C}))
    value = proposal.choose(lambda: b"record")
    proposal.take_accepted(A)
    by_one = proposal.is_decided
    proposal.take_accepted(C)

    assert too_early is None
    assert value == Value(frozenset({A, B, C}), b"record")
    assert (by_one, proposal.is_decided) == (False, True)


def test_whoever_retries_adopts_what_one_node_accepted_already() -> None:
    proposal = Proposal(Ballot(2, B), frozenset({A, B, C}))
    proposal.take_promise(
        B, promise(accepting(Ballot(1, A), {A, B, C}, b"first"), proposal.ballot, {A, B, C})
    )
    proposal.take_promise(C, promise(AcceptorState(), proposal.ballot, {A, B, C}))

    value = proposal.choose(lambda: b"second")

    assert value == Value(frozenset({A, B, C}), b"first")


def test_a_promise_refuses_lower_ballots() -> None:
    state = prepared(AcceptorState(), Ballot(5, A), {A, B})

    answers = [
        state.prepare(Prepare(Ballot(4, B), frozenset({A, B})))[1],
        state.accept(Accept(Ballot(4, B), Value(frozenset({A, B}), b"")))[1],
    ]

    assert answers == [Outbid(Ballot(5, A))] * 2


def test_a_node_that_was_asked_for_another_group_makes_its_proposer_ask_a_majority_of_that_group() -> None:
    decided = accepting(Ballot(1, A), {A, B, C}, b"first")
    shared = prepared(AcceptorState(), Ballot(1, A), {A, B, C})
    proposal = Proposal(Ballot(2, D), frozenset({C, D, E}))

    proposal.take_promise(C, promise(shared, proposal.ballot, {C, D, E}))
    for node in (D, E):
        proposal.take_promise(node, promise(AcceptorState(), proposal.ballot, {C, D, E}))
    alone = proposal.choose(lambda: b"second")
    to_ask = proposal.nodes_to_ask()
    proposal.take_promise(A, promise(decided, proposal.ballot, {C, D, E}))
    value = proposal.choose(lambda: b"second")

    assert alone is None
    assert to_ask == {A, B, C, D, E}
    assert value == Value(frozenset({A, B, C}), b"first")


def test_a_node_that_died_before_anything_was_accepted_can_be_replaced() -> None:
    proposal = Proposal(Ballot(2, A), frozenset({A, B, D}))
    for node in (A, B):
        state = prepared(AcceptorState(), Ballot(1, C), {A, B, C})
        proposal.take_promise(node, promise(state, proposal.ballot, {A, B, D}))
    proposal.take_promise(D, promise(AcceptorState(), proposal.ballot, {A, B, D}))

    value = proposal.choose(lambda: b"second")

    assert value == Value(frozenset({A, B, D}), b"second")


def test_two_foundings_that_share_no_node_are_said_instead_of_one_being_overruled() -> None:
    proposal = Proposal(Ballot(9, A), frozenset({A, C}))
    proposal.take_promise(A, promise(accepting(Ballot(1, A), {A, B}, b"one"), proposal.ballot, {A, C}))
    proposal.take_promise(B, promise(accepting(Ballot(1, A), {A, B}, b"one"), proposal.ballot, {A, C}))
    proposal.take_promise(C, promise(accepting(Ballot(2, C), {C, D}, b"two"), proposal.ballot, {A, C}))
    proposal.take_promise(D, promise(accepting(Ballot(2, C), {C, D}, b"two"), proposal.ballot, {A, C}))

    with pytest.raises(TwoFoundings, match="a, b"):
        proposal.choose(lambda: b"three")


@dataclass
class World:
    """Nodes with durable acceptors and forgetful proposers; messages are lost, late, or come twice."""

    random: Random
    nodes: str
    expect: int
    loss: float
    acceptors: dict[str, AcceptorState] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    flying: list[tuple[str, str, object]] = field(default_factory=list)  # from, to, message
    decided: list[Value] = field(default_factory=list)
    made: int = 0

    def run(self, steps: int) -> None:
        self.acceptors = {node: AcceptorState() for node in self.nodes}
        for _ in range(steps):
            self.random.choice(
                [self.begin, self.deliver, self.deliver, self.deliver, self.deliver, self.crash]
            )()

    def settle(self) -> None:
        """Faults end; one proposer after the other tries."""
        self.loss, self.flying = 0.0, []
        for node in self.nodes * 3:
            self.begin(node)
            while self.flying:
                self.deliver()

    def begin(self, node: str = "") -> None:
        node = node or self.random.choice(self.nodes)
        state = self.acceptors[node]
        others = [other for other in self.nodes if other != node]
        group = frozenset({node, *self.random.sample(others, self.expect - 1)})
        if state.accepted is not None:
            group = state.accepted.value.members
        rounds = [state.promised.round for state in self.acceptors.values()]
        ballot = Ballot(max(rounds) + self.random.choice([0, 1, 1]) if node in group else 0, node)
        if ballot <= state.promised:
            ballot = Ballot(state.promised.round + 1, node)
        proposal = self.proposals[node] = Proposal(ballot, group)
        self.prepare(node, proposal, frozenset())

    def prepare(self, node: str, proposal: Proposal, asked: Group) -> None:
        for other in sorted(proposal.nodes_to_ask() - asked):
            self.flying.append((node, other, Prepare(proposal.ballot, proposal.group)))

    def crash(self) -> None:
        self.proposals.pop(self.random.choice(self.nodes), None)

    def deliver(self) -> None:
        if not self.flying:
            return
        at = self.random.randrange(len(self.flying))
        sender, to, message = (
            self.flying[at] if self.random.random() < 0.1 * self.loss else self.flying.pop(at)
        )
        if self.random.random() < self.loss:
            return
        if isinstance(message, Prepare):
            self.acceptors[to], answer = self.acceptors[to].prepare(message)
            self.flying.append((to, sender, (message.ballot, answer)))
        elif isinstance(message, Accept):
            self.acceptors[to], accepted = self.acceptors[to].accept(message)
            self.flying.append((to, sender, (message.ballot, accepted)))
        elif isinstance(message, tuple):
            self.take(sender, to, *message)

    def take(self, sender: str, node: str, ballot: Ballot, answer: object) -> None:
        proposal = self.proposals.get(node)
        if proposal is None or proposal.ballot != ballot:
            return
        if isinstance(answer, Accepted) and proposal.value is not None:
            proposal.take_accepted(sender)
            if proposal.is_decided:
                self.decided.append(proposal.value)
        elif isinstance(answer, Promised) and proposal.value is None:
            asked = proposal.nodes_to_ask()
            proposal.take_promise(sender, answer)
            self.prepare(node, proposal, asked)
            value = proposal.choose(self.make)
            for other in sorted(value.members if value else ()):
                self.flying.append((node, other, Accept(proposal.ballot, value)))  # type: ignore[arg-type]

    def make(self) -> bytes:
        self.made += 1
        return str(self.made).encode()


def worlds(seeds: range) -> Iterator[World]:
    for seed in seeds:
        random = Random(seed)
        nodes, expect = random.choice([("abc", 3), ("abc", 2), ("abcd", 3), ("abcde", 3), ("abcde", 5)])
        yield World(random=random, nodes=nodes, expect=expect, loss=random.choice([0.0, 0.1, 0.4]))


@pytest.mark.parametrize("block", range(5))
def test_no_order_of_messages_losses_and_crashes_founds_two_clusters(block: int) -> None:
    for seed, world in enumerate(worlds(range(block * 300, block * 300 + 300)), block * 300):
        world.run(steps=400)
        world.settle()

        outcomes = {value.content for value in world.decided}
        assert len(outcomes) == 1, f"seed {seed}: {world.decided}"


@pytest.mark.parametrize("order", list(permutations("abc")))
def test_every_order_of_starts_founds_one_cluster(order: tuple[str, ...]) -> None:
    world = World(random=Random(0), nodes="abc", expect=3, loss=0.0)
    world.acceptors = {node: AcceptorState() for node in "abc"}
    for node in order:
        world.begin(node)
        while world.flying:
            world.deliver()

    assert {value.content for value in world.decided} == {b"1"}
