"""Where the plan lets dynos run, and when it moves them."""

from dataclasses import replace

import pytest

from pinode.apps.build import abilities
from pinode.apps.commands import Place, SetFormation, Unplace
from pinode.apps.observed import DynoState, NodeState, NodeStats, NodeView
from pinode.scheduler.plan_memory import RETURN_GRACE_MS
from tests.pinode.observed_world import ObservedWorld, node


@pytest.fixture
def world() -> ObservedWorld:
    return deployed(ObservedWorld())


def deployed(world: ObservedWorld, *, web: int = 1) -> ObservedWorld:
    world.agreed.create()
    world.agreed.deploy(holders=())
    scale(world, web=web)
    world.settle()
    return world


def scale(world: ObservedWorld, **quantities: int) -> None:
    world.agreed.do(SetFormation(app="blog", quantities=quantities, actor="ada"))


def test_dynos_spread_over_the_nodes() -> None:
    world = deployed(ObservedWorld(), web=3)

    assert sorted(world.where().values()) == ["a", "b", "c"]


def test_two_apps_go_to_different_nodes(world: ObservedWorld) -> None:
    world.agreed.create("shop")
    world.agreed.deploy("shop", slug="2", holders=())
    world.settle()

    assert world.where("shop") != {"v1 web.1": world.where()["v1 web.1"]}


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (NodeStats(temperature_celsius=80.0), NodeStats(temperature_celsius=50.0)),
        (NodeStats(throttled=True), NodeStats(throttled=False)),
        (NodeStats(memory_percent=95.0), NodeStats(memory_percent=80.0)),
        (NodeStats(cpu_percent=90.0), NodeStats(cpu_percent=20.0)),
    ],
)
def test_a_strained_node_is_taken_last(worse: NodeStats, better: NodeStats) -> None:
    world = deployed(ObservedWorld(node("a", stats=worse), node("b", stats=better)))

    assert world.where() == {"v1 web.1": "b"}


def test_a_node_that_has_the_slug_already_is_preferred() -> None:
    world = ObservedWorld()
    world.agreed.create()
    world.agreed.deploy(holders=("c",))

    world.settle()

    assert world.where() == {"v1 web.1": "c"}


def test_only_living_nodes_that_run_dynos_and_fit_the_slug_are_taken() -> None:
    nodes = (
        node("a", arch="x86_64"),
        node("b", roles=("build",)),
        node("c", state="suspect"),
        node("d", state="dead"),
        node("e"),
    )
    world = deployed(ObservedWorld(*nodes), web=2)

    assert set(world.where().values()) == {"e"}


def test_a_slug_goes_where_its_interpreter_is_and_to_nodes_of_each_cpu_it_is_for() -> None:
    nodes = (
        node("a", interpreters=("/usr/bin/python3.13",)),
        node("b", interpreters=("/usr/bin/python3.11", "/usr/bin/node")),
        node("c", arch="x86_64", interpreters=("/usr/bin/python3.11",)),
        node("d", arch="riscv64", interpreters=("/usr/bin/python3.11",)),
    )
    world = ObservedWorld(*nodes)
    world.agreed.create()
    world.agreed.deploy(holders=("a",), arch="aarch64,x86_64", interpreter="/usr/bin/python3.11")
    scale(world, web=3)

    world.settle()

    assert set(world.where().values()) == {"b", "c"}


OLD, NEW = ("/usr/bin/python3.11",), ("/usr/bin/python3.13",)


def upgraded(state: DynoState, *others: NodeView) -> ObservedWorld:
    """An app on node a, whose system was replaced by one with another Python; its dyno is in this state."""
    world = ObservedWorld(node("a", interpreters=OLD), *others)
    world.agreed.create()
    world.agreed.deploy(holders=("a",), interpreter=OLD[0])
    world.settle()
    assert world.where() == {"v1 web.1": "a"}
    world.nodes["a"] = replace(world.nodes["a"], interpreters=NEW)
    world.report(world.agreed.registry.placements()[0], state)
    return world


def test_a_dyno_whose_node_has_lost_what_it_needs_moves_to_one_that_has_it() -> None:
    world = upgraded("failed", node("b", interpreters=OLD))

    world.settle()

    assert world.where() == {"v1 web.1": "b"}


def test_where_no_node_has_it_any_more_the_dyno_waits_for_a_slug_and_comes_back_with_it() -> None:
    world = upgraded("crashed")
    (placement,) = world.agreed.registry.placements()

    assert world.execute_plan() == (Unplace(number=placement.number),)
    assert world.plan().commands == ()
    variant = world.agreed.vary(world.agreed.registry.deploys("blog")[0].id, arch="aarch64", interpreters=NEW)
    _, token = world.agreed.start("a", has=abilities("aarch64", NEW))
    world.agreed.complete(variant, token, slug="2", interpreter=NEW[0])
    world.settle()

    assert world.where() == {"v1 web.1": "a"}


def test_a_dyno_that_still_runs_on_such_a_node_or_fails_for_another_reason_stays() -> None:
    running = upgraded("up", node("b", interpreters=OLD))
    failing = upgraded("failed", node("b", interpreters=OLD))
    failing.nodes["a"] = replace(failing.nodes["a"], interpreters=(*NEW, *OLD))

    assert running.plan().commands == failing.plan().commands == ()


def test_without_any_node_that_could_run_it_the_plan_waits() -> None:
    world = ObservedWorld(node("a", arch="x86_64"))
    world.agreed.create()
    world.agreed.deploy()

    assert world.plan().commands == ()
    assert world.plan().due_ms is None


def test_scaling_up_adds_and_scaling_down_takes_the_highest_away(world: ObservedWorld) -> None:
    scale(world, web=3)
    world.settle()
    assert sorted(world.where()) == ["v1 web.1", "v1 web.2", "v1 web.3"]

    scale(world, web=1)
    world.settle()
    assert list(world.where()) == ["v1 web.1"]


def test_a_dead_nodes_dynos_move_at_once_and_the_others_stay() -> None:
    world = deployed(ObservedWorld(), web=3)
    before = world.where()

    world.set_state("b", "dead")
    (moved,) = world.execute_plan()

    assert isinstance(moved, Place) and moved.replaces is not None
    after = world.where()
    assert "b" not in after.values()
    assert {dyno for dyno in before if before[dyno] != after[dyno]} == {
        dyno for dyno in before if before[dyno] == "b"
    }


def test_a_removed_nodes_dynos_move_at_once_also_under_a_new_leader(world: ObservedWorld) -> None:
    before = world.where()["v1 web.1"]

    del world.nodes[before]
    world.change_leader()
    world.execute_plan()

    assert world.where()["v1 web.1"] in world.nodes


def test_a_node_that_left_gives_its_dynos_away(world: ObservedWorld) -> None:
    world.set_state(world.where()["v1 web.1"], "left")
    before = world.where()

    world.settle()

    assert world.where() != before


@pytest.mark.parametrize("back", ["alive", "suspect"])
def test_a_suspicion_moves_nothing(world: ObservedWorld, back: NodeState) -> None:
    node_id = world.where()["v1 web.1"]

    world.set_state(node_id, "suspect")
    suspected = world.plan()
    world.set_state(node_id, back)

    assert suspected.commands == () == world.plan().commands


def test_a_node_that_returns_does_not_get_its_dynos_back(world: ObservedWorld) -> None:
    node_id = world.where()["v1 web.1"]
    world.set_state(node_id, "dead")
    world.settle()
    moved = world.where()

    world.set_state(node_id, "alive")
    world.settle()

    assert world.where() == moved
    assert not world.agreed.registry.placements_on(node_id), "its supervisor stops what it still runs"


def test_when_every_node_is_dead_the_plan_waits(world: ObservedWorld) -> None:
    for node_id in world.nodes:
        world.set_state(node_id, "dead")

    assert world.plan().commands == ()


def test_after_a_change_of_leaders_nothing_is_restarted() -> None:
    world = deployed(ObservedWorld(), web=3)

    world.change_leader()

    assert world.plan().commands == ()
    assert world.plan().due_ms is None


def test_a_new_leader_gives_nodes_time_to_come_back_after_a_power_cut(world: ObservedWorld) -> None:
    world.set_state(world.where()["v1 web.1"], "dead")
    world.change_leader()

    waiting = world.plan()
    world.agreed.now += RETURN_GRACE_MS

    assert waiting.commands == () and waiting.due_ms == world.agreed.now
    assert len(world.plan().commands) == 1


def test_a_move_that_was_not_carried_out_is_planned_again_the_same(world: ObservedWorld) -> None:
    world.set_state(world.where()["v1 web.1"], "dead")

    assert world.plan().commands == world.plan().commands != ()


def test_a_process_type_that_a_release_lost_has_no_dynos_any_more(world: ObservedWorld) -> None:
    world.agreed.deploy(process_types={"worker": "y"}, slug="2")
    scale(world, worker=1)

    world.settle()

    assert list(world.where()) == ["v2 worker.1"]


def test_scaling_to_nothing_unplaces_everything(world: ObservedWorld) -> None:
    scale(world, web=0)

    (command,) = world.execute_plan()

    assert isinstance(command, Unplace)
    assert world.where() == {}
