"""The route table: what is agreed and what is observed, as routes."""

from dataclasses import replace

from pinode.apps.commands import CreateApp, MakeReleaseLive, Place, SetMaintenance
from pinode.apps.observed import DynoReport, NodeView
from pinode.apps.placement import Placement
from pinode.router.control_codec import LENGTH_BYTES, UseRoutes, decode_control, encode_control
from pinode.router.route_table import AgreedApp, AgreedDyno, Route, RouteTable, agreed_apps, build
from tests.pinode.fake_cluster import FakeCluster, node_view

HERE, THERE = node_view(1, "pi1"), node_view(2, "pi2")
AGREED = (AgreedApp("blog", 4, (AgreedDyno(7, HERE.node_id), AgreedDyno(8, THERE.node_id))),)


def report(placement: int, node: NodeView, **fields: object) -> DynoReport:
    values = {"state": "up", "port": 20_000 + placement, **fields}
    return DynoReport(
        placement=placement,
        app="blog",
        version=1,
        process_type="web",
        ordinal=1,
        node_id=node.node_id,
        **values,  # type: ignore[arg-type]
    )


def routes_of(*reports: DynoReport, nodes: tuple[NodeView, ...] = (HERE, THERE)) -> tuple[Route, ...]:
    table: RouteTable = build(AGREED, reports, nodes, self_id=HERE.node_id, first_port=9000)
    return table.apps[0].routes


def test_only_dynos_that_are_up_have_routes_and_the_port_is_told_for_local_ones_alone() -> None:
    routes = routes_of(report(7, HERE), report(8, THERE))

    assert routes == (
        Route(7, HERE.node_id, HERE.host, 7301, local_port=20_007),
        Route(8, THERE.node_id, THERE.host, 7301, local_port=None),
    )
    for state in ("fetching", "starting", "stopping", "crashed", "exited", "failed"):
        assert routes_of(report(7, HERE, state=state)) == ()


def test_dead_nodes_are_skipped_at_once_and_suspected_ones_are_not() -> None:
    reports = (report(7, HERE), report(8, THERE))
    placements = {
        state: [route.placement for route in routes_of(*reports, nodes=(HERE, replace(THERE, state=state)))]
        for state in ("alive", "suspect", "dead", "left")
    }

    assert placements == {"alive": [7, 8], "suspect": [7, 8], "dead": [7], "left": [7]}


def test_a_node_serves_its_own_dynos_whatever_is_said_of_it() -> None:
    routes = routes_of(report(7, HERE), nodes=(replace(HERE, state="dead"),))

    assert [route.local_port for route in routes] == [20_007]


def test_a_report_counts_only_for_the_node_of_the_placement() -> None:
    assert routes_of(report(7, THERE), report(9, HERE)) == ()


def test_an_app_keeps_its_port_and_says_how_many_dynos_are_expected() -> None:
    (app,) = build(AGREED, (), (), self_id=HERE.node_id, first_port=9000).apps

    assert (app.app, app.port, app.expected, app.routes) == ("blog", 9004, 2, ())


def test_while_a_release_rolls_out_the_live_one_serves() -> None:
    cluster = FakeCluster()
    cluster.add_user("ada")
    create_app(cluster)
    first = cluster.complete_build(cluster.start_build("blog"))
    old = cluster.bring_up("blog", first)
    second = cluster.complete_build(cluster.start_build("blog"))
    new = place(cluster, second)

    while_rolling_out = agreed_apps(cluster.state.registry)[0].dynos
    make_live(cluster, second)
    afterwards = agreed_apps(cluster.state.registry)[0].dynos

    assert [dyno.placement for dyno in while_rolling_out] == [old.number]
    assert new.number in [dyno.placement for dyno in afterwards]
    assert old.number not in [dyno.placement for dyno in afterwards]


def create_app(cluster: FakeCluster) -> None:
    cluster.apply(CreateApp(name="blog", owner="ada"))


def place(cluster: FakeCluster, version: int) -> Placement:
    cluster.apply(Place(app="blog", version=version, process_type="web", ordinal=1, node_id=cluster.node_id))
    return next(one for one in cluster.state.registry.placements_of("blog") if one.version == version)


def make_live(cluster: FakeCluster, version: int) -> None:
    cluster.apply(MakeReleaseLive(app="blog", version=version))


def test_maintenance_is_agreed_and_reaches_the_table_and_its_bytes() -> None:
    cluster = FakeCluster()
    cluster.add_user("ada")
    cluster.apply(CreateApp(name="blog", owner="ada"))
    cluster.apply(SetMaintenance(app="blog", on=True, actor="ada"))

    table = build(agreed_apps(cluster.state.registry), (), (), self_id="a", first_port=9000)

    assert table.apps[0].in_maintenance
    assert decode_control(encode_control(UseRoutes(table=table))[LENGTH_BYTES:]) == UseRoutes(table=table)
