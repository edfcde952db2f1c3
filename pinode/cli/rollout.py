"""Watching a release come up: its state asked for again and again, over nodes that go away for a moment."""

import time
from typing import Any

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Failure
from pinode.cli.target import app_path

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 30.0  # for a node, or another one, to answer again
MENDED_BY_WAITING = (ExitCode.FAILED, ExitCode.NO_NODE, ExitCode.NO_LEADER, ExitCode.TIMED_OUT)


class Ended(Failure):
    """The build or its release failed; no waiting will help."""


class Patience:
    """How long a cluster that does not answer is asked again."""

    def __init__(self, *, hint: str) -> None:
        """`hint` says how to go on when it ran out."""
        self._hint = hint
        self._until: float | None = None

    def renew(self) -> None:
        """It answers."""
        self._until = None

    def bear(self, failure: Failure) -> None:
        """Pause before the next try, or raise `Failure`."""
        now = time.monotonic()
        self._until = now + PATIENCE_SECONDS if self._until is None else self._until
        if failure.code not in MENDED_BY_WAITING:
            raise failure
        if now > self._until:
            raise Failure(str(failure), hint=self._hint, code=failure.code) from failure
        time.sleep(POLL_SECONDS)


def follow_rollout(
    client: ApiClient, app: str, version: int, *, within_seconds: float = 1200
) -> dict[str, Any]:
    """Wait until the release serves; raise `Failure` with the reason when it does not get there."""
    deadline = time.monotonic() + within_seconds
    patience = Patience(hint=f"it goes on; any node can tell: pinode releases:info v{version} -a {app}")
    while time.monotonic() < deadline:
        try:
            release: dict[str, Any] = client.get(app_path(app, "releases", str(version)))
            patience.renew()
        except Failure as failure:
            patience.bear(failure)
            continue
        if has_come_up(app, release):
            return release
        time.sleep(POLL_SECONDS)
    raise Failure(
        f"v{version} of {app} has not come up within {within_seconds:.0f} s",
        hint=f"pinode ps -a {app}, pinode logs -a {app}",
        code=ExitCode.TIMED_OUT,
    )


def has_come_up(app: str, release: dict[str, Any]) -> bool:
    """Whether the release serves, or served and gave way; raises `Ended` when it never will."""
    if release["state"] == "failed":
        raise Ended(
            f"release v{release['version']} of {app} failed: {release['failure'] or 'it did not say why'}",
            hint=f"what its dynos said: pinode logs -a {app}",
        )
    if release["state"] == "superseded" and not release["has_served"]:
        raise Ended(
            f"release v{release['version']} of {app} gave way to a newer one before it came up",
            hint=f"pinode releases -a {app}",
        )
    return release["state"] in ("live", "superseded")
