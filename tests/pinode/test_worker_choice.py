"""Who builds: the right CPU, room, idle, cool; then who built the app last; the same order on every node."""

from dataclasses import replace

from pinode.apps.build import Build
from pinode.apps.observed import NodeStats, NodeView
from pinode.deploy.worker_choice import machines_of, turn_of
from tests.pinode.observed_world import node

GIB = 1024**3
WELL = NodeStats(disk_free_bytes=10 * GIB, temperature_celsius=50.0, memory_percent=40.0, cpu_percent=10.0)


def well(name: str, **fields: object) -> NodeView:
    stats = {key: value for key, value in fields.items() if hasattr(WELL, key)}
    others = {key: value for key, value in fields.items() if not hasattr(WELL, key)}
    view = node(name, stats=replace(WELL, **stats))  # type: ignore[arg-type]
    return replace(view, stats_age_seconds=1.0, **others)  # type: ignore[arg-type]


def order(*nodes: NodeView, builds: tuple[Build, ...] = ()) -> str:
    turns = {one.node_id: turn_of(one.node_id, nodes, builds, floor_bytes=GIB) for one in nodes}
    return "".join(sorted(turns, key=lambda node_id: turns[node_id]))


def built_on(node_id: str, state: str = "succeeded") -> Build:
    return Build(
        id=1, app="blog", git_url="https://h/x.git", ref=None, subdirectory=None, created_by="ada",
        created_at_ms=0, state=state, node_id=node_id,  # type: ignore[arg-type]
    )  # fmt: skip


def test_every_node_has_a_turn_of_its_own() -> None:
    nodes = [well("a"), well("b"), well("c")]

    assert sorted(turn_of(one.node_id, nodes, (), floor_bytes=GIB) for one in nodes) == [0, 1, 2]


def test_the_cpu_that_most_dynos_need_goes_first() -> None:
    assert order(well("a", arch="x86_64"), well("b"), well("c")) == "bca"


def test_among_nodes_of_one_cpu_those_with_the_interpreters_of_most_go_first() -> None:
    old, new = ("/usr/bin/python3.11",), ("/usr/bin/python3.13",)

    nodes = [well("a", interpreters=old), well("b", interpreters=new), well("c", interpreters=new)]

    assert order(*nodes) == "bca"


def test_full_disks_busy_nodes_and_hot_ones_go_last() -> None:
    assert order(well("a", disk_free_bytes=0), well("b", builds=1), well("c")) == "cba"
    assert order(well("a", temperature_celsius=80.0), well("b", throttled=True), well("c")) == "cba"
    assert order(well("a", memory_percent=95.0), well("b")) == "ba"


def test_who_built_the_app_last_has_its_packages_and_goes_before_who_is_merely_cooler() -> None:
    cool, last = well("a", temperature_celsius=30.0), well("b", temperature_celsius=60.0)

    assert order(cool, last) == "ab"
    assert order(cool, last, builds=(built_on("b"),)) == "ba"
    assert order(cool, last, builds=(built_on("b", "failed"),)) == "ab"


def test_the_coolest_goes_first_and_flickering_decides_nothing() -> None:
    assert order(well("a", temperature_celsius=61.0), well("b", temperature_celsius=45.0)) == "ba"
    assert order(well("a", cpu_percent=12.0), well("b", cpu_percent=11.0)) == "ab"


def test_nodes_that_are_away_or_do_not_build_are_not_waited_for() -> None:
    away = replace(well("a"), state="dead")

    assert turn_of("c", [away, well("b", roles=("deploy",)), well("c")], (), floor_bytes=GIB) == 0


def test_a_build_is_told_the_cpus_of_all_that_may_run_the_app_also_of_those_that_are_off() -> None:
    builds_only = well("a", arch="x86_64", roles=("build",))
    nodes = [
        builds_only,
        well("b", arch="aarch64"),
        well("c", arch="armv7l", state="dead"),
        well("d", arch=""),
    ]

    assert machines_of(nodes) == ("aarch64", "armv7l")
    assert machines_of([replace(nodes[1], state="left")]) == ()
