"""A node leaves for good: its dynos first, then its vote, then its name. Four nodes in one process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from pinode.apps.commands import CreateApp, Unplace
from pinode.apps.observed import CountsAs, NodeState
from pinode.cluster_state import AgreedCommand, ClusterState
from pinode.errors import Conflict
from pinode.nodes.commands import RemoveNode, SetAvailability
from pinode.operations.departure import Departure, serve_farewells
from pinode.operations.membership import why_not_removable, why_not_without
from tests.pinode.fake_cluster import node_view
from tests.pinode.linked_clusters import linked_clusters
from tests.waiting import eventually


class Town:
    """Linked clusters of one agreed state; `pi4` wants to leave."""

    def __init__(self) -> None:
        self.clusters = linked_clusters("pi1", "pi2", "pi3", "pi4")
        self.agreed = self.clusters[0]
        for cluster in self.clusters[1:]:
            cluster.state = self.agreed.state
            cluster.apply_encoded = self.agreed.apply_encoded  # type: ignore[method-assign]
        for cluster in self.clusters:
            serve_farewells(cluster)
        self.leaver = self.clusters[3]
        self.left = asyncio.Event()
        self.departure = Departure(
            self.leaver, on_left=self.left.set, drain_seconds=0.5, farewell_seconds=1.0, look_seconds=0.01
        )

    @property
    def state(self) -> ClusterState:
        return self.agreed.state

    @property
    def availability(self) -> str:
        node = self.state.nodes.get(self.leaver.node_id)
        return node.availability if node else "gone"

    def see(self, name: str, **fields: Any) -> None:
        for cluster in self.clusters:
            cluster.change_node(name, **fields)

    def commands(self, kind: type[AgreedCommand]) -> list[AgreedCommand]:
        return [one for cluster in self.clusters for one in cluster.commands if isinstance(one, kind)]


@asynccontextmanager
async def town() -> AsyncIterator[Town]:
    made = Town()
    running = asyncio.create_task(made.departure.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    await eventually(condition, within_seconds=5)


def test_who_asks_how_far_it_is_hears_whether_the_node_starts_at_boot() -> None:
    cluster = linked_clusters("pi1", "pi2")[0]

    by_unit = Departure(cluster, on_left=lambda: None, starts_at_boot=True)
    by_hand = Departure(cluster, on_left=lambda: None)

    assert (by_unit.progress()["starts_at_boot"], by_hand.progress()["starts_at_boot"]) == (True, False)


async def test_a_node_with_nothing_on_it_leaves_when_the_group_goes_on_without_it() -> None:
    async with town() as here:
        here.departure.begin(by="ada")
        await until(lambda: here.availability == "leaving")
        assert not here.left.is_set() and "vote" in here.departure.progress()["waiting_for"]

        here.see("pi4", counts_as="none")
        await here.left.wait()

    assert here.state.nodes.get(here.leaver.node_id) is None
    removed = here.state.nodes.removed(here.leaver.node_id)
    assert removed is not None and removed.by == "ada"
    assert here.commands(RemoveNode), "another node struck it off, for it is told nothing any more"
    assert here.leaver.node_id not in [
        one.node_id for one in here.leaver.commands if isinstance(one, RemoveNode)
    ]


async def test_its_dynos_move_before_its_vote_goes() -> None:
    async with town() as here:
        here.agreed.apply(CreateApp(name="blog", owner="ada", git_url="https://git.example.org/blog.git"))
        version = here.agreed.complete_build(here.agreed.start_build("blog", node="pi4"))
        placement = here.agreed.bring_up("blog", version, node="pi4")
        here.leaver.rows = here.agreed.rows

        here.departure.begin(by="ada")
        await until(lambda: "web.1 of blog" in here.departure.progress()["waiting_for"])
        assert here.availability == "drained"

        here.agreed.apply(Unplace(number=placement.number))
        await until(lambda: here.departure.progress()["waiting_for"])
        assert here.availability == "drained", "it still runs"
        here.agreed.rows.clear()
        await until(lambda: here.availability == "leaving")


async def test_a_node_whose_dyno_has_nowhere_to_go_stays_and_says_which() -> None:
    async with town() as here:
        here.agreed.apply(CreateApp(name="blog", owner="ada", git_url="https://git.example.org/blog.git"))
        version = here.agreed.complete_build(here.agreed.start_build("blog", node="pi4"))
        here.agreed.bring_up("blog", version, node="pi4")
        here.leaver.rows = here.agreed.rows

        here.departure.begin(by="ada")
        await until(lambda: here.departure.progress()["failure"])

        assert "web.1 of blog" in here.departure.progress()["failure"]["message"]
        await until(lambda: here.availability == "active")
        assert not here.left.is_set()


async def test_a_node_that_the_group_does_not_let_go_stays() -> None:
    async with town() as here:
        here.departure.begin(by="ada")
        await until(lambda: here.departure.progress()["failure"])

        await until(lambda: here.availability == "active")


async def test_a_node_that_does_not_hear_that_it_may_go_asks_the_others() -> None:
    """The group goes on without it at once, and tells it nothing any more."""
    async with town() as here:
        execute = here.leaver.execute

        async def deaf(command: AgreedCommand, **how: Any) -> Any:
            answer = await execute(command, **how)
            if isinstance(command, SetAvailability) and command.availability == "leaving":
                here.see("pi4", counts_as="none")
                raise TimeoutError
            return answer

        here.leaver.execute = deaf  # type: ignore[method-assign]
        here.departure.begin(by="ada")
        async with asyncio.timeout(5):
            await here.left.wait()

    assert here.state.nodes.get(here.leaver.node_id) is None


async def test_a_node_that_was_switched_off_while_it_left_goes_on_where_it_was() -> None:
    """It is of the group no more, so nothing can be agreed on through it."""
    async with town() as here:
        here.agreed.apply(SetAvailability(node_id=here.leaver.node_id, availability="leaving", by="ada"))
        here.see("pi4", counts_as="none")

        async def deaf(command: AgreedCommand, **how: Any) -> Any:
            raise TimeoutError

        here.leaver.execute = deaf  # type: ignore[method-assign]
        here.departure.begin(by="ada")
        async with asyncio.timeout(5):
            await here.left.wait()

    assert here.state.nodes.get(here.leaver.node_id) is None


async def test_nobody_is_struck_off_that_is_not_leaving() -> None:
    async with town() as here:
        with pytest.raises(Conflict, match="not leaving"):
            await here.leaver.peers.call(here.agreed.node_id, "farewell", b"eve", timeout_seconds=1)

    assert here.availability == "active" and not here.commands(SetAvailability)


VIEWS = [node_view(number, f"pi{number}") for number in range(1, 5)]


def changed(number: int, state: NodeState = "alive", counts_as: CountsAs = "voter"):  # type: ignore[no-untyped-def]
    return replace(VIEWS[number - 1], state=state, counts_as=counts_as)


def test_a_dead_node_can_be_removed_and_a_living_one_only_by_force() -> None:
    nodes = [changed(1), changed(2), changed(3, "dead")]

    assert why_not_removable(nodes, nodes[2], force=False) is None
    alive = why_not_removable(nodes, nodes[1], force=False)
    assert alive is not None and alive.code == "node_is_alive" and "pinode leave" in alive.hint


def test_no_node_goes_that_would_take_the_majority_with_it() -> None:
    """Checklist 1.26."""
    nodes = [changed(1), changed(2), changed(3, "dead"), changed(4, counts_as="learner")]

    for force in (False, True):
        refusal = why_not_removable(nodes, nodes[1], force=force)
        assert refusal is not None
    lost = why_not_without(nodes, nodes[1])
    assert lost is not None and lost.code == "would_lose_quorum"
    assert "pi3" in lost.hint and "1 of 2" in lost.message
    assert why_not_without(nodes, nodes[3]) is None, "a learner decides nothing"


def test_the_only_voter_can_leave_when_another_node_is_there_to_vote() -> None:
    voter, learner = changed(1), changed(2, counts_as="learner")

    assert why_not_without([voter, learner], voter) is None
    lost = why_not_without([voter, replace(learner, state="dead")], voter)
    assert lost is not None and lost.code == "would_lose_quorum"
    alone = why_not_without([voter], voter)
    assert alone is not None and alone.code == "last_node"
