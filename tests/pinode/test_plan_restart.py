"""Restarting, stopping and starting an app again: one dyno after another, and nothing that nobody asked for."""

import pytest

from pinode.apps.commands import Place, RestartDynos, SetConfig, SetFormation, StopDynos
from pinode.apps.errors import DynoNotFound
from tests.pinode.observed_world import ObservedWorld


@pytest.fixture
def world() -> ObservedWorld:
    """v1 is live with two web dynos and a worker."""
    world = ObservedWorld()
    world.agreed.create()
    world.agreed.deploy(process_types={"web": "x", "worker": "y"})
    world.agreed.do(SetFormation(app="blog", quantities={"web": 2, "worker": 1}, actor="ada"))
    world.settle()
    return world


def numbers(world: ObservedWorld) -> dict[str, int]:
    return {one.dyno: one.number for one in world.agreed.registry.placements_of("blog")}


def restart(world: ObservedWorld, dyno: str | None = None) -> int:
    return int(world.agreed.do(RestartDynos(app="blog", dyno=dyno, actor="ada")))


def test_all_dynos_are_replaced_where_they_are(world: ObservedWorld) -> None:
    before, places = numbers(world), world.where()

    assert restart(world) == 3
    world.settle()

    assert world.where() == places
    assert all(number > before[dyno] for dyno, number in numbers(world).items())


def test_of_each_type_one_is_replaced_and_the_next_when_it_is_no_longer_starting(
    world: ObservedWorld,
) -> None:
    restart(world)

    first = world.execute_plan()
    waiting = world.execute_plan()
    world.report_all("starting")
    still = world.execute_plan()
    world.report_all()
    second = world.execute_plan()

    assert [(one.process_type, one.ordinal) for one in first if isinstance(one, Place)] == [
        ("web", 1),
        ("worker", 1),
    ]
    assert waiting == still == ()
    assert [(one.process_type, one.ordinal) for one in second if isinstance(one, Place)] == [("web", 2)]


def test_one_that_crashes_again_and_again_does_not_hold_the_others_up(world: ObservedWorld) -> None:
    restart(world, "web")
    world.execute_plan()
    world.report_all("failed")

    (next_one,) = world.execute_plan()

    assert isinstance(next_one, Place) and next_one.ordinal == 2


@pytest.mark.parametrize(("dyno", "count"), [("web.2", 1), ("web", 2), ("worker", 1)])
def test_one_dyno_or_one_type_is_restarted_alone(world: ObservedWorld, dyno: str, count: int) -> None:
    before = numbers(world)

    assert restart(world, dyno) == count
    world.settle()

    changed = [name for name, number in numbers(world).items() if number != before[name]]
    assert len(changed) == count and all(name.startswith(dyno) for name in changed)


def test_a_dyno_that_does_not_run_cannot_be_restarted(world: ObservedWorld) -> None:
    with pytest.raises(DynoNotFound):
        restart(world, "web.9")


def test_a_new_leader_goes_on_with_a_restart(world: ObservedWorld) -> None:
    restart(world, "web")
    world.execute_plan()
    world.change_leader()

    world.settle()

    assert not any(one.is_to_restart for one in world.agreed.registry.placements())


def test_a_deploy_under_way_is_the_restart(world: ObservedWorld) -> None:
    world.agreed.deploy(slug="2", process_types={"web": "x", "worker": "y"})
    world.execute_plan()
    restart(world)

    assert world.execute_plan() == ()
    world.settle()
    assert sorted(world.where()) == ["v2 web.1", "v2 web.2", "v2 worker.1"]


def test_a_stopped_app_runs_nothing_until_it_is_restarted(world: ObservedWorld) -> None:
    world.agreed.do(StopDynos(app="blog", actor="ada"))
    world.settle()
    assert world.where() == {}

    assert restart(world) == 0
    world.settle()

    assert sorted(world.where()) == ["v1 web.1", "v1 web.2", "v1 worker.1"]


def test_a_deploy_starts_a_stopped_app(world: ObservedWorld) -> None:
    world.agreed.do(StopDynos(app="blog", actor="ada"))
    world.settle()

    world.agreed.deploy(slug="2")
    world.settle()

    assert sorted(world.where()) == ["v2 web.1", "v2 web.2"]


def test_a_change_of_config_does_not_start_a_stopped_app(world: ObservedWorld) -> None:
    world.agreed.do(StopDynos(app="blog", actor="ada"))
    world.settle()

    world.agreed.do(SetConfig(app="blog", set_values={"A": b"1"}, actor="ada"))
    world.settle()

    assert world.where() == {}
    live = world.agreed.registry.live_release("blog")
    assert live is not None and live.version == 2
