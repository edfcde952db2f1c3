"""What a node and its router say to each other over a unix socket: frames of 4 bytes length and msgpack."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import msgpack

from pinode.router.route_table import AppRoutes, Route, RouteTable

VERSION = 1
LENGTH_BYTES = 4
FRAME_BYTES = 8 * 1024 * 1024


class MalformedControl(Exception):
    """Bytes on the control socket that are none of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """Where to listen and with which certificates; the same again changes nothing."""

    host: str  # of apps, app ports and apps_tls
    apps_port: int
    router_host: str
    router_port: int
    domain: str
    node_certificate: str  # paths of PEM files
    node_key: str
    authority: str
    apps_tls_host: str = ""
    apps_tls_port: int = 0  # 0: no https
    web_certificate: str = ""
    web_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UseRoutes:
    """The whole table, in place of the last one."""

    table: RouteTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End: let requests under way finish for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Of the router: sent at once when a node connects, and after each change of `problems`."""

    pid: int
    version: str
    has_routes: bool
    problems: tuple[str, ...] = ()


Control = Configure | UseRoutes | Stop | Status


def encode_control(message: Control) -> bytes:
    """The frame of a message, with its length."""
    fields = _plain_table(message.table) if isinstance(message, UseRoutes) else asdict(message)
    body: bytes = msgpack.packb([VERSION, type(message).__name__, fields])
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def decode_control(body: bytes) -> Control | None:
    """A message, None for one of a newer program. Raises `MalformedControl`."""
    try:
        _, kind, fields, *_ = msgpack.unpackb(body)
        read = READERS.get(kind)
        return read(fields) if read else None
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise MalformedControl(f"no control message: {error}") from error


def _plain_table(table: RouteTable) -> dict[str, Any]:
    """Rows of values: a table has many of them."""
    rows = [
        [
            app.app,
            app.port,
            app.expected,
            [[r.placement, r.node_id, r.host, r.router_port, r.local_port] for r in app.routes],
            app.in_maintenance,
        ]
        for app in table.apps
    ]
    return {"apps": rows}


def _read_routes(fields: dict[str, Any]) -> UseRoutes:
    apps = tuple(
        AppRoutes(
            app=app,
            port=port,
            expected=expected,
            routes=tuple(Route(*route[:5]) for route in routes),
            in_maintenance=in_maintenance,
        )
        for app, port, expected, routes, in_maintenance, *_ in fields["apps"]
    )
    return UseRoutes(table=RouteTable(apps=apps))


def _read_configure(fields: dict[str, Any]) -> Configure:
    return Configure(**{name: fields[name] for name in Configure.__dataclass_fields__ if name in fields})


def _read_status(fields: dict[str, Any]) -> Status:
    return Status(
        pid=fields["pid"],
        version=fields["version"],
        has_routes=fields["has_routes"],
        problems=tuple(fields["problems"]),
    )


READERS: dict[str, Callable[[dict[str, Any]], Control]] = {
    "Configure": _read_configure,
    "UseRoutes": _read_routes,
    "Stop": lambda fields: Stop(),
    "Status": _read_status,
}
