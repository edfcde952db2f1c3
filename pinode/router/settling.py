"""When a node process that has just begun knows better than the router that it found."""

from pinode.router.route_table import RouteTable

SETTLE_SECONDS = 0.5
WHOLE_SECONDS = 20.0
LEADERLESS_SECONDS = 60.0


class Settling:
    """A router that has routes keeps them until this process has applied what was agreed and has heard of the
    dynos: for a moment at least, and until it knows one of every app that should have some; but not for long,
    for such an app may really be down. Without a leader it keeps them for a minute.
    """

    def __init__(self, *, has_routes: bool) -> None:
        self._has_routes = has_routes
        self._began: float | None = None
        self._caught_up_at: float | None = None

    def may_push(self, table: RouteTable, *, is_caught_up: bool, now: float) -> bool:
        """Whether what this process knows is to replace the router's routes."""
        self._began = now if self._began is None else self._began
        if is_caught_up and self._caught_up_at is None:
            self._caught_up_at = now
        if not self._has_routes or now - self._began >= LEADERLESS_SECONDS:
            return True
        if self._caught_up_at is None:
            return False
        is_whole = all(app.routes or not app.expected for app in table.apps)
        return now - self._caught_up_at >= (SETTLE_SECONDS if is_whole else WHOLE_SECONDS)
