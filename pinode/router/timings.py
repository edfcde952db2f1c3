"""How long the router waits for what, in seconds, and how much it holds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterTimings:
    """Every wait on a client, a dyno or another router ends."""

    head_seconds: float = (
        15.0  # for a request's head, from its first byte; and for the first byte of a connection
    )
    idle_seconds: float = 75.0  # of a kept client connection between requests
    body_seconds: float = 60.0  # without any progress of a body
    answer_seconds: float = 60.0  # for the head of the answer, from the last byte of the request
    tunnel_seconds: float = 3600.0  # of silence in a WebSocket
    starting_seconds: float = 5.0  # a request waits for a dyno that is starting
    orphaned_seconds: float = 15.0  # ... and so long while the node is away: the routes may be old
    look_again_seconds: float = 0.25
    connect_seconds: float = 0.5  # to a dyno or a router; a router's TLS handshake gets as much again
    acknowledge_seconds: float = 0.5  # for another router to say that it handed a request on
    avoid_seconds: float = 2.0  # a router that failed is asked last for so long
    pooled_seconds: float = 60.0  # an unused connection to a dyno or a router is kept
    linger_seconds: float = 2.0  # an answered client may go on sending what nobody wants
    drain_seconds: float = 5.0  # requests under way may end when the router is to stop
    most_clients: int = 4096
    most_pooled: int = 32  # for each dyno or router
    buffer_bytes: int = 64 * 1024
