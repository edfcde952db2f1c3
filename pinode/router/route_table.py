"""Which dynos a request may go to: agreed (placements of the live release) and observed (they are up)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pinode.apps.observed import DynoReport, NodeView
    from pinode.apps.registry import Registry

WEB = "web"


@dataclass(frozen=True, slots=True)
class AgreedDyno:
    """A placement that may serve, and the node it is on."""

    placement: int
    node_id: str


@dataclass(frozen=True, slots=True)
class AgreedApp:
    """What the registry says of an app's routes; kept by the node for a start without any leader."""

    app: str
    port_index: int
    dynos: tuple[AgreedDyno, ...] = ()
    in_maintenance: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One dyno that answers. Its own node knows its port; others hand the request to that node's router."""

    placement: int
    node_id: str
    host: str
    router_port: int
    local_port: int | None = None


@dataclass(frozen=True, slots=True)
class AppRoutes:
    """An app with its port, the same on every node, and how many dynos are expected to answer."""

    app: str
    port: int
    expected: int = 0
    routes: tuple[Route, ...] = ()
    in_maintenance: bool = False  # answered with a page of the router's own


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All a router knows of apps, by name."""

    apps: tuple[AppRoutes, ...] = ()


def agreed_apps(registry: Registry) -> tuple[AgreedApp, ...]:
    """The agreed half of the table: while a release rolls out, the live one is what serves."""
    return tuple(
        AgreedApp(
            app=app.name,
            port_index=app.port_index,
            in_maintenance=app.in_maintenance,
            dynos=tuple(
                AgreedDyno(placement=placement.number, node_id=placement.node_id)
                for placement in registry.placements_of(app.name)
                if placement.process_type == WEB and placement.version == app.live_version
            ),
        )
        for app in registry.apps()
    )


def build(
    agreed: Iterable[AgreedApp],
    reports: Iterable[DynoReport],
    nodes: Sequence[NodeView],
    *,
    self_id: str,
    first_port: int,
) -> RouteTable:
    """Routes of every app: agreed dynos that their own node reports as up, on nodes that are not gone."""
    up = {(report.placement, report.node_id): report for report in reports if report.state == "up"}
    reachable = {node.node_id: node for node in nodes if node.state in ("alive", "suspect")}
    apps = []
    for app in sorted(agreed, key=lambda app: app.app):
        routes = []
        for dyno in app.dynos:
            report, node = up.get((dyno.placement, dyno.node_id)), reachable.get(dyno.node_id)
            is_here = dyno.node_id == self_id  # whatever others say of this node, it runs this
            if report is None or report.port is None or (node is None and not is_here):
                continue
            routes.append(
                Route(
                    placement=dyno.placement,
                    node_id=dyno.node_id,
                    host=node.host if node else "",
                    router_port=node.router_port if node else 0,
                    local_port=report.port if is_here else None,
                )
            )
        port = first_port + app.port_index
        apps.append(
            AppRoutes(
                app=app.app,
                port=port,
                expected=len(app.dynos),
                routes=tuple(routes),
                in_maintenance=app.in_maintenance,
            )
        )
    return RouteTable(apps=tuple(apps))
