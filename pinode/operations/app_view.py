"""How an app is doing, in one word, and its dynos: what is agreed, joined with what is observed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pinode.apps.app import App
from pinode.apps.build import Build
from pinode.apps.observed import DynoReport
from pinode.apps.placement import Placement
from pinode.cluster import Cluster

AppState = Literal["new", "building", "starting", "live", "down", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DynoView:
    """A placement and what was last heard of it.

    Beside the states of a report: waiting (its node said nothing yet) and unknown (its node is not in reach).
    """

    placement: Placement
    node_name: str
    state: str
    report: DynoReport | None
    detail: str | None


def app_state(cluster: Cluster, app: App) -> AppState:
    """Return the app's state.

    new: nothing was deployed; building, starting: its first release is on the way; failed: that did not
    succeed; live: a dyno of the live release is up; down: one should be, but none is; stopped: by
    somebody, or scaled to nothing.
    """
    registry = cluster.state.registry
    if app.live_version is None:
        if building(cluster, app.name) is not None:
            return "building"
        if registry.pending_release(app.name) is not None:
            return "starting"
        return "failed" if registry.builds(app.name) or registry.releases(app.name) else "new"
    wanted = {kind for kind, quantity in app.formation.items() if quantity > 0}
    if app.is_stopped or not wanted:
        return "stopped"
    kind = "web" if "web" in wanted else min(wanted)
    live = [
        dyno
        for dyno in dynos(cluster, app.name)
        if dyno.placement.process_type == kind and dyno.placement.version == app.live_version
    ]
    if any(dyno.state == "up" for dyno in live):
        return "live"
    return "starting" if any(dyno.state in ("waiting", "fetching", "starting") for dyno in live) else "down"


def building(cluster: Cluster, app: str) -> Build | None:
    """Return the build that runs, else the one that waits, of those that somebody asked for."""
    unfinished = [
        build for build in cluster.state.registry.deploys(app) if build.state in ("queued", "building")
    ]
    return min(unfinished, key=lambda build: (build.state != "building", build.id), default=None)


def dynos(cluster: Cluster, app: str) -> Sequence[DynoView]:
    """Return the app's dynos by name; one that moves has two rows, the new one first."""
    reports = {report.placement: report for report in cluster.reports()}
    return [
        _view(cluster, placement, reports.get(placement.number)) for placement in _placements(cluster, app)
    ]


def _placements(cluster: Cluster, app: str) -> list[Placement]:
    found = cluster.state.registry.placements_of(app)
    return sorted(found, key=lambda one: (one.process_type, one.ordinal, -one.number))


def _view(cluster: Cluster, placement: Placement, report: DynoReport | None) -> DynoView:
    node = cluster.node(placement.node_id)
    name = node.name if node is not None else placement.node_id
    if node is None or node.state in ("dead", "left"):
        heard = f"; it was {report.state} when last heard" if report is not None else ""
        state, detail = "unknown", f"{name} is not in reach{heard}."
    elif report is None:
        state, detail = "waiting", None
    else:
        state, detail = report.state, report.detail
    return DynoView(placement=placement, node_name=name, state=state, report=report, detail=detail)
