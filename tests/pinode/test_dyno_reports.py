"""What nodes tell each other about their dynos: everybody has everybody's newest rows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from pinode.apps.observed import DynoReport
from pinode.dynos.report_codec import DynoTable, decode_table, encode_table
from pinode.dynos.reports import METHOD, Reports
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.linked_clusters import linked_clusters, peers_of
from tests.waiting import eventually


def row(node_id: str, placement: int, state: str = "up") -> DynoReport:
    return DynoReport(
        placement=placement,
        app="blog",
        version=1,
        process_type="web",
        ordinal=1,
        node_id=node_id,
        state=state,  # type: ignore[arg-type]
        port=20_000,
        detail="ä\n",
    )


@asynccontextmanager
async def running(*reports: Reports) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one.run()) for one in reports]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def states(reports: Reports) -> list[tuple[int, str]]:
    return [(one.placement, one.state) for one in reports.all()]


async def test_a_change_reaches_all_nodes_and_is_noticed_there() -> None:
    clusters = linked_clusters("pi1", "pi2", "pi3")
    reports = [Reports(cluster, run_id="1") for cluster in clusters]
    noticed: list[int] = []
    reports[2].on_change(lambda: noticed.append(1))
    async with running(*reports):
        reports[0].publish([row(clusters[0].node_id, 5, "starting")])
        reports[1].publish([row(clusters[1].node_id, 4)])
        await eventually(lambda: states(reports[2]) == [(4, "up"), (5, "starting")])
        reports[0].publish([row(clusters[0].node_id, 5)])
        await eventually(lambda: all(states(one) == [(4, "up"), (5, "up")] for one in reports))
        reports[1].publish([])
        await eventually(lambda: all(states(one) == [(5, "up")] for one in reports))

    assert noticed


async def test_nothing_is_sent_when_nothing_changes() -> None:
    clusters = linked_clusters("pi1", "pi2")
    reports = [Reports(cluster, run_id="1") for cluster in clusters]
    async with running(*reports):
        reports[0].publish([row(clusters[0].node_id, 5)])
        await eventually(lambda: states(reports[1]) == [(5, "up")])
        await settled(clusters)
        before = [peers_of(cluster).calls for cluster in clusters]
        for _ in range(20):
            clusters[0].note_change()
            await asyncio.sleep(0)

    assert [peers_of(cluster).calls for cluster in clusters] == before


async def test_a_node_that_starts_anew_gets_all_rows_and_replaces_its_own() -> None:
    clusters = linked_clusters("pi1", "pi2")
    old, other = Reports(clusters[0], run_id="1"), Reports(clusters[1], run_id="1")
    async with running(old, other):
        for count in range(5):
            old.publish([row(clusters[0].node_id, 10 + count)])
        other.publish([row(clusters[1].node_id, 4)])
        await eventually(lambda: states(other) == [(4, "up"), (14, "up")])

    new = Reports(clusters[0], run_id="2")
    async with running(new, other):
        await eventually(lambda: states(new) == [(4, "up")])
        new.publish([row(clusters[0].node_id, 20)])
        await eventually(lambda: states(other) == [(4, "up"), (20, "up")])


async def test_a_node_that_was_away_is_told_when_it_is_back() -> None:
    clusters = linked_clusters("pi1", "pi2")
    reports = [Reports(cluster, run_id="1") for cluster in clusters]
    async with running(*reports):
        await settled(clusters)
        peers_of(clusters[1]).unreachable.add(clusters[0].node_id)
        clusters[0].change_node("pi2", state="dead")
        reports[0].publish([row(clusters[0].node_id, 5)])
        await settled(clusters)
        assert states(reports[1]) == []
        peers_of(clusters[1]).unreachable.clear()
        clusters[0].change_node("pi2", state="alive")
        await eventually(lambda: states(reports[1]) == [(5, "up")])


async def test_a_node_speaks_only_about_its_own_dynos_and_old_news_change_nothing() -> None:
    clusters = linked_clusters("pi1", "pi2")
    one, two = (cluster.node_id for cluster in clusters)
    reports = Reports(clusters[0], run_id="1")
    newest = DynoTable(run_id="r", version=2, rows=(row(two, 5), row(one, 6)))

    async def tell(table: DynoTable) -> None:
        await peers_of(clusters[1]).call(one, METHOD, encode_table(table), timeout_seconds=1)

    await tell(newest)
    await tell(replace(newest, version=1, rows=()))

    assert states(reports) == [(5, "up")]
    assert decode_table(encode_table(newest)) == newest


async def settled(clusters: list[FakeCluster]) -> None:
    """Until no more questions are asked."""
    before = -1
    while before != (now := sum(peers_of(cluster).calls for cluster in clusters)):
        before = now
        for _ in range(20):
            await asyncio.sleep(0)
