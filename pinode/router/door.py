"""A port the router listens on, and what comes in there."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Door:
    """Apps by host name; with `is_app_port` one app; or requests of other routers."""

    port: int
    is_tls: bool = False
    is_app_port: bool = False
    is_for_routers: bool = False
