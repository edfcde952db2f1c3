"""Every node knows how every node was: recorded from gossip, asked from a peer after a start, shown by the web."""

import asyncio
import math
from array import array

import pytest

from gossip.stats import StatRow
from pinode.apps.observed import NodeStats
from pinode.metrics.history import NodeHistory
from pinode.metrics.rings import FIELDS, Stretch, series
from pinode.node_facts import NodeRow, encode_row
from pinode.web.charts import lines
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.linked_clusters import linked_clusters, peers_of
from tests.pinode.web_stage import stage
from tests.waiting import eventually


class Observed:
    """One node's history, with rows and a clock that tests set."""

    def __init__(self, cluster: FakeCluster, *, now: float) -> None:
        self.now = now
        self.rows: dict[str, StatRow] = {}
        self.history = NodeHistory(cluster, rows=lambda: self.rows, clock=lambda: self.now, step_seconds=0.01)
        self.history.serve()

    def hears(self, node_id: str, *, cpu: float) -> None:
        payload = encode_row(NodeRow(stats=NodeStats(cpu_percent=cpu), dynos=2))
        self.rows[node_id] = StatRow(
            node_id=node_id, run_id=1, version=1, payload=payload, measured_at=self.now
        )

    def records(self, node_id: str, *cpus: float) -> None:
        for cpu in cpus:
            self.now += 10
            self.hears(node_id, cpu=cpu)
            self.history.record()

    def cpu_of(self, node_id: str) -> list[float | None]:
        return series(self.history.fine(node_id))["cpu_percent"]


def test_what_gossip_brings_of_every_node_is_kept_until_it_is_too_old() -> None:
    (cluster,) = linked_clusters("pi1")
    observed = Observed(cluster, now=1000.0)
    observed.records("aa", 10.0, 20.0)

    for _ in range(6):
        observed.now += 10
        observed.history.record()

    assert observed.cpu_of("aa") == [10.0, 20.0, 20.0, 20.0, 20.0, 20.0]
    assert series(observed.history.fine("aa"))["dynos"][0] == 2.0
    assert series(observed.history.fine("aa"))["temperature_celsius"][0] is None
    assert observed.cpu_of("unknown") == []


async def test_a_node_that_starts_again_asks_a_living_peer_for_the_past() -> None:
    one, two, three = linked_clusters("pi1", "pi2", "pi3")
    peers_of(one).unreachable.add(one.node_id)
    living, started = Observed(three, now=1000.0), Observed(two, now=50_000.0)
    one.change_node("pi1", state="dead")
    living.records(one.node_id, *map(float, range(30)))

    task = asyncio.create_task(started.history.run())
    await eventually(lambda: started.cpu_of(one.node_id))
    task.cancel()

    assert started.cpu_of(one.node_id) == list(map(float, range(30)))


async def test_a_peer_that_sends_no_rings_does_not_end_the_recording() -> None:
    one, two = linked_clusters("pi1", "pi2")
    observed = Observed(one, now=1000.0)

    async def garbage(_peer: str, _payload: bytes):
        yield b"garbage"

    two.peers.serve_stream("metrics.rings", garbage)
    observed.hears(two.node_id, cpu=5.0)

    task = asyncio.create_task(observed.history.run())
    await eventually(lambda: observed.cpu_of(two.node_id) == [5.0])
    observed.now += 10
    observed.hears(two.node_id, cpu=6.0)
    await eventually(lambda: observed.cpu_of(two.node_id) == [5.0, 6.0])
    task.cancel()


async def test_the_api_answers_a_nodes_last_hour_and_day() -> None:
    cluster = FakeCluster()
    observed = Observed(cluster, now=1000.0)
    observed.records(cluster.node_id, 10.0, 30.0)

    async with stage("bob", cluster=cluster) as web:
        web.site.past = observed.history
        hour = (await web.api("GET", "/api/v1/nodes/pi1/history")).json()
        day = (await web.api("GET", f"/api/v1/nodes/{cluster.node_id}/history?span=day")).json()
        wrong = await web.api("GET", "/api/v1/nodes/pi1/history?span=year")
        unknown = await web.api("GET", "/api/v1/nodes/pi9/history")

    assert (hour["name"], hour["step_seconds"], hour["newest_age_seconds"]) == ("pi1", 10.0, 0.0)
    assert hour["series"]["cpu_percent"] == [10.0, 30.0]
    assert set(hour["series"]) == set(FIELDS)
    assert (day["step_seconds"], day["series"]["cpu_percent"]) == (120.0, [20.0])
    assert (wrong.status, unknown.status) == (400, 404)
    assert "hour or day" in wrong.text


async def test_the_cluster_page_draws_the_last_hour() -> None:
    cluster = FakeCluster()
    observed = Observed(cluster, now=1000.0)
    observed.records(cluster.node_id, *[50.0] * 9)

    async with stage("bob", cluster=cluster) as web:
        without = (await web.browse("/cluster")).text
        web.site.past = observed.history
        page = (await web.browse("/cluster")).text

    assert "<polyline" not in without
    assert '<polyline points="117.0,12.0 118.0,12.0 119.0,12.0">' in page


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], []),
        ([10.0], []),
        ([0.0] * 6 + [math.nan] * 3 + [200.0] * 6, ["115.0,24.0 116.0,24.0", "118.0,0.0 119.0,0.0"]),
    ],
)
def test_a_gap_ends_a_line_and_a_single_point_is_none(values: list[float], drawn: list[str]) -> None:
    rows = array("f")
    for value in values:
        rows.extend([value] * len(FIELDS))

    assert lines(Stretch(10.0, 0.0, rows), "cpu_percent", top=100.0) == drawn
