"""From any state, with observations that stay as they are, the plan reaches the formation and then falls silent."""

from dataclasses import replace
from random import Random

import pytest

from pinode.apps.commands import RestartDynos, SetConfig, SetFormation, StartReleaseCommand, StopDynos
from pinode.apps.errors import Refused
from pinode.apps.observed import Availability, NodeStats
from pinode.apps.placement import Placement
from pinode.scheduler.plan_memory import RETURN_GRACE_MS
from tests.pinode.observed_world import ObservedWorld, node

TYPES = {"web": "x", "worker": "y", "release": "z"}


def stir(world: ObservedWorld, random: Random) -> None:
    """Something happens: somebody deploys, scales or configures, a node dies, a dyno fails, the leader changes."""
    app = random.choice(["blog", "shop"])
    match random.randrange(13):
        case 0 | 1:
            kinds = random.choice([("web",), ("worker",), ("web", "worker"), ("release", "web")])
            types = {name: TYPES[name] for name in kinds}
            world.agreed.deploy(app, slug=random.choice("123"), process_types=types)
        case 2:
            quantities = {random.choice(["web", "worker"]): random.randint(0, 4)}
            world.agreed.do(SetFormation(app=app, quantities=quantities, actor="ada"))
        case 3:
            world.agreed.do(SetConfig(app=app, set_values={"A": random.randbytes(1)}, actor="ada"))
        case 4:
            world.set_state(random.choice("abc"), random.choice(["dead", "suspect", "alive", "alive"]))
        case 5:
            for placement in world.agreed.registry.placements():
                if placement.process_type == "release":
                    stir_command(world, placement, random)
                elif random.random() < 0.3:
                    world.report(placement, random.choice(["up", "starting", "crashed", "failed"]))
        case 6:
            world.change_leader()
        case 7:
            kind = random.choice([None, "web", "worker.1"])
            world.agreed.do(RestartDynos(app=app, dyno=kind, actor="ada"))
        case 8:
            memory = NodeStats(memory_percent=random.choice([20.0, 95.0]))
            world.nodes = {name: replace(node, stats=memory) for name, node in world.nodes.items()}
        case 9:
            world.agreed.do(StopDynos(app=app, actor="ada"))
        case 10:
            availability: Availability = random.choice(["active", "active", "cordoned", "drained", "leaving"])
            world.set_availability(random.choice("abc"), availability)
        case _:
            world.agreed.now += random.choice([0, 100, 5_000, 100_000])
            world.execute_plan()


def stir_command(world: ObservedWorld, placement: Placement, random: Random) -> None:
    """A release command begins, ends well, fails, or nothing is heard of it."""
    if world.nodes[placement.node_id].state not in ("alive", "suspect"):
        return
    match random.randrange(4):
        case 0 if not world.agreed.registry.is_running_command(placement):
            world.agreed.do(StartReleaseCommand(number=placement.number))
        case 1:
            world.run_command(placement)
        case 2:
            world.run_command(placement, failure="x")


@pytest.mark.parametrize("seed", range(40))
def test_the_plan_converges_to_the_formation_and_then_is_empty(seed: int) -> None:
    random = Random(seed)
    world = ObservedWorld(node("a"), node("b"), node("c"), node("d", arch="x86_64"))
    for app in ("blog", "shop"):
        world.agreed.create(app)
    for _ in range(60):
        try:
            stir(world, random)
        except Refused as refused:
            assert refused.code in ("too_many_dynos", "process_type_not_found", "dyno_not_found"), refused

    world.set_state("a", "alive")
    world.set_availability("a", "active")
    world.agreed.now += RETURN_GRACE_MS
    world.settle()

    assert world.plan().commands == () and world.plan().due_ms is None
    for app in ("blog", "shop"):
        assert_as_agreed(world, app)


def assert_as_agreed(world: ObservedWorld, name: str) -> None:
    """Exactly the dynos of the formation run, of the live release alone, on nodes that are there."""
    registry = world.agreed.registry
    app, live = registry.app(name), registry.live_release(name)
    assert app is not None
    assert registry.pending_release(name) is None
    if live is None:
        assert not registry.placements_of(name)
        return
    wanted = {
        (process_type, ordinal)
        for process_type in live.process_types
        if process_type != "release"
        for ordinal in range(1, app.formation.get(process_type, 0) + 1)
        if not app.is_stopped
    }
    placed = [(one.process_type, one.ordinal) for one in registry.placements_of(name)]
    assert set(placed) == wanted and len(placed) == len(wanted)
    for placement in registry.placements_of(name):
        assert placement.version == live.version
        assert not placement.is_to_restart and not placement.is_moving
        assert not world.nodes[placement.node_id].is_to_be_emptied
        assert world.nodes[placement.node_id].state in ("alive", "suspect")
        assert world.nodes[placement.node_id].arch == "aarch64"


@pytest.mark.parametrize("seed", range(20))
def test_at_any_moment_planning_twice_gives_the_same_plan_and_none_of_it_is_refused(seed: int) -> None:
    random = Random(1_000 + seed)
    world = ObservedWorld()
    for app in ("blog", "shop"):
        world.agreed.create(app)

    for _ in range(40):
        try:
            stir(world, random)
        except Refused:
            continue
        assert world.plan() == world.plan()
        world.execute_plan()
