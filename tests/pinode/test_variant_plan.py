"""Which further slugs the leader has built: one for each kind of node that has none, and no more than that."""

from dataclasses import replace
from random import Random

import pytest

from pinode.apps.build import Build, abilities
from pinode.apps.commands import (
    CancelBuild,
    FailBuild,
    RequestVariant,
    SetFormation,
    StartBuild,
    StopDynos,
)
from pinode.apps.errors import Refused
from pinode.apps.observed import NodeView
from pinode.apps.slug_gaps import LONGEST_RETRY_MS, RETRY_MS, can, gaps_of
from pinode.apps.slug_kinds import slug_for
from pinode.scheduler.variant_plan import VariantPlan, plan_variants
from replicated_queue.queue.commands import ExpireLease
from tests.pinode.agreement import completion
from tests.pinode.observed_world import ObservedWorld, node

OLD, NEW = ("/usr/bin/python3.11",), ("/usr/bin/python3.13",)


def world_of(*nodes: NodeView) -> ObservedWorld:
    """An app whose live release has a slug for aarch64 and Python 3.11."""
    world = ObservedWorld(*nodes)
    world.agreed.create()
    world.agreed.deploy(interpreter=OLD[0], holders=())
    world.settle()
    return world


def planned(world: ObservedWorld) -> VariantPlan:
    return plan_variants(world.agreed.registry, list(world.nodes.values()), now_ms=world.agreed.now)


def carry_out(world: ObservedWorld) -> Build:
    """Agree on the one command; the build that it asks for."""
    (command,) = planned(world).commands
    assert isinstance(command, RequestVariant)
    build = world.agreed.registry.build(int(world.agreed.do(command)))
    assert build is not None
    return build


def work(world: ObservedWorld, *, slug: str | None = "2") -> None:
    """A worker on whichever node can takes the job and makes this slug, or none."""
    agreed = world.agreed
    for worker in world.nodes.values():
        if worker.takes("build"):
            build_id, token = agreed.take_job(worker.node_id, has=_abilities(worker))
            if build_id:
                agreed.do(StartBuild(build_id=build_id, token=token, node_id=worker.node_id))
                build = agreed.registry.build(build_id)
                assert build is not None
                if slug is None:
                    agreed.do(FailBuild(build_id=build_id, token=token, failure="no wheel"))
                else:
                    path = next(iter(build.interpreters), None)
                    made = completion(build_id, token, slug=slug, arch=worker.arch, interpreter=path)
                    agreed.do(made)
                return
    raise AssertionError("nobody took it")


def _abilities(worker: NodeView) -> tuple[str, ...]:
    return abilities(worker.arch, worker.interpreters)


def mixed() -> ObservedWorld:
    return world_of(node("a", interpreters=OLD), node("b", interpreters=NEW), node("c", interpreters=NEW))


def test_where_all_nodes_are_of_one_kind_nothing_is_built() -> None:
    world = world_of(node("a", interpreters=OLD), node("b", interpreters=(*OLD, *NEW)))

    assert planned(world) == VariantPlan(commands=(), due_ms=None)


def test_nodes_with_another_interpreter_get_a_slug_and_then_there_is_nothing_left_to_do() -> None:
    world = mixed()

    build = carry_out(world)
    assert (build.arch, build.interpreters) == ("aarch64", NEW)
    assert planned(world).commands == ()
    work(world)

    assert planned(world).commands == ()
    world.agreed.do(SetFormation(app="blog", quantities={"web": 3}, actor="ada"))
    world.settle()
    assert set(world.where().values()) == {"a", "b", "c"}


def test_the_kind_of_most_nodes_comes_first() -> None:
    world = world_of(
        node("a", interpreters=OLD),
        node("b", arch="x86_64", interpreters=OLD),
        node("c", interpreters=NEW),
        node("d", interpreters=NEW),
    )

    assert carry_out(world).interpreters == NEW
    work(world)
    assert carry_out(world).arch == "x86_64"


def test_when_the_last_node_of_a_kind_dies_the_app_comes_back_on_another_kind() -> None:
    world = world_of(node("a", interpreters=OLD), node("b", arch="x86_64", interpreters=NEW))
    world.nodes["a"] = replace(world.nodes["a"], state="dead")
    world.settle()
    assert set(world.where().values()) == {"a"}, "nothing of it runs on b yet"

    carry_out(world)
    work(world)
    world.settle()

    assert set(world.where().values()) == {"b"}


@pytest.mark.parametrize(
    "change", [{"state": "dead"}, {"state": "suspect"}, {"availability": "cordoned"}, {"roles": ("build",)}]
)
def test_nodes_that_take_no_dynos_get_no_slug_of_their_own(change: dict[str, object]) -> None:
    world = world_of(node("a", interpreters=OLD), replace(node("b", interpreters=NEW), **change))  # type: ignore[arg-type]

    assert planned(world).commands == ()


def test_it_is_built_by_a_node_that_has_all_that_these_have_and_where_there_is_none_not_at_all() -> None:
    both = replace(node("c", interpreters=(*NEW, *OLD)), roles=("build",))
    nodes = node("a", interpreters=OLD), replace(node("b", interpreters=NEW), roles=("deploy",))

    assert planned(world_of(*nodes)).commands == ()
    world = world_of(*nodes, both)
    carry_out(world)
    work(world)
    assert planned(world).commands == ()


def test_a_variant_whose_builders_have_gone_is_cancelled_so_that_another_kind_can_have_its_own() -> None:
    world = mixed()
    build = carry_out(world)
    for name in "bc":
        world.nodes[name] = replace(world.nodes[name], state="dead")
    world.nodes["d"] = node("d", arch="x86_64")

    (command,) = planned(world).commands
    assert command == CancelBuild(build_id=build.id, actor="pinode: no node is left that could build it")
    world.agreed.do(command)
    assert carry_out(world).arch == "x86_64"
    for name in "bc":
        world.nodes[name] = replace(world.nodes[name], state="alive")
    work(world)
    assert carry_out(world).interpreters == NEW, "it never began, so it is asked for again at once"


def test_one_that_failed_is_tried_again_later_and_later() -> None:
    world = mixed()
    waits = []
    for _ in range(8):
        carry_out(world)
        work(world, slug=None)
        made = planned(world)
        assert made.commands == () and made.due_ms is not None
        waits.append(made.due_ms - world.agreed.now)
        world.agreed.now = made.due_ms

    assert waits[:3] == [RETRY_MS, 2 * RETRY_MS, 4 * RETRY_MS]
    assert waits[-1] == LONGEST_RETRY_MS


def test_a_slug_that_does_not_run_there_all_the_same_is_not_built_again_and_again() -> None:
    world = mixed()
    carry_out(world)
    build_id, token = world.agreed.take_job("b", has=_abilities(world.nodes["b"]))
    world.agreed.do(StartBuild(build_id=build_id, token=token, node_id="b"))
    world.agreed.do(completion(build_id, token, slug="2", interpreter="/usr/bin/node"))

    made = planned(world)

    assert (made.commands, made.due_ms) == ((), world.agreed.now + RETRY_MS)


def test_what_somebody_asked_for_goes_first_and_a_stopped_app_gets_nothing() -> None:
    world = mixed()
    world.agreed.request()
    assert planned(world).commands == ()

    other = mixed()
    other.agreed.do(StopDynos(app="blog", actor="ada"))
    assert planned(other).commands == ()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_nodes_come_and_go_in_the_end_every_kind_that_can_be_built_for_has_a_slug(seed: int) -> None:
    random = Random(seed)
    world = world_of(*(_some_node(random, name) for name in "abcde"))
    agreed = world.agreed

    for _ in range(60):
        name = random.choice("abcde")
        agreed.now += random.choice([0, 1_000, RETRY_MS])
        match random.randrange(6):
            case 0:
                world.nodes[name] = replace(world.nodes[name], state=random.choice(["alive", "dead"]))
            case 1:
                world.nodes[name] = _some_node(random, name)
            case 2:
                agreed.request()
            case _:
                _some_work(random, world)
        for command in planned(world).commands:
            agreed.do(command)
        open_builds = agreed.registry.unfinished_builds()
        assert len([build for build in open_builds if build.variant_of is not None]) <= 1

    for _ in range(400):
        _some_work(random, world, fails=False)
        made = planned(world)
        for command in made.commands:
            agreed.do(command)
        world.settle()
        agreed.now = max(agreed.now + 60_000, made.due_ms or 0)
    assert agreed.replay().digest() == agreed.state.digest()
    live = agreed.registry.live_release("blog")
    assert live is not None
    nodes = list(world.nodes.values())
    assert not [gap for gap in gaps_of(agreed.registry, live, nodes) if gap.builders]
    slugs = agreed.registry.slugs_of(live)
    for placement in agreed.registry.placements():
        assert slug_for(slugs, world.nodes[placement.node_id]) or not world.nodes[placement.node_id].takes(
            "deploy"
        )


def _some_node(random: Random, name: str) -> NodeView:
    interpreters = random.choice([OLD, NEW, (*NEW, *OLD)])
    roles = random.choice([("build", "deploy"), ("build", "deploy"), ("deploy",), ("build",)])
    return node(name, arch=random.choice(["aarch64", "x86_64"]), interpreters=interpreters, roles=roles)


def _some_work(random: Random, world: ObservedWorld, *, fails: bool = True) -> None:
    """A worker takes what there is for it and makes a slug for its own kind, fails, or dies."""
    agreed = world.agreed
    workers = [one for one in world.nodes.values() if one.takes("build")]
    for worker in random.sample(workers, len(workers)):
        build_id, token = agreed.take_job(worker.node_id, has=_abilities(worker))
        build = agreed.registry.build(build_id)
        if build is None:
            continue
        assert can(worker, build.needs)
        allowed = build.interpreters or worker.interpreters
        path = next(one for one in worker.interpreters if one in allowed)
        slug = {"aarch64": "12", "x86_64": "34"}[worker.arch][path == NEW[0]]
        try:
            agreed.do(StartBuild(build_id=build_id, token=token, node_id=worker.node_id))
            match random.randrange(4) if fails else 3:
                case 0:
                    agreed.do(FailBuild(build_id=build_id, token=token, failure="x"))
                case 1:
                    agreed.do_on_queue(ExpireLease(build.job_id or 0, token))
                case _:
                    agreed.do(completion(build_id, token, slug=slug, arch=worker.arch, interpreter=path))
        except Refused:
            pass
        return
