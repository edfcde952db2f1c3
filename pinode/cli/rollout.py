"""Watching a release come up: its state asked for again and again, over nodes that go away for a moment."""

import shutil
import sys
import time
from typing import Any

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Failure
from pinode.cli.log_line import MOST_LINES, parse_log_line
from pinode.cli.output import printable, say
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
    client: ApiClient, app: str, version: int, *, within_seconds: float = 1200, quiet: bool = False
) -> dict[str, Any]:
    """Wait until the release serves, and say how it comes up unless `quiet`.

    Raises `Failure` with the reason when it does not get there.
    """
    deadline = time.monotonic() + within_seconds
    patience = Patience(hint=f"it goes on; any node can tell: pinode releases:info v{version} -a {app}")
    view = _View(client, app, version)
    while time.monotonic() < deadline:
        try:
            release: dict[str, Any] = client.get(app_path(app, "releases", str(version)))
            if not quiet:
                view.show(release)
            patience.renew()
        except Failure as failure:
            view.clear_progress()
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


class _View:
    """What was said of a rollout so far: its release command's lines, then its dynos as they come up."""

    def __init__(self, client: ApiClient, app: str, version: int) -> None:
        self._client, self._app, self._version = client, app, version
        self._began = time.monotonic()
        self._is_terminal = sys.stderr.isatty()
        self._said: dict[str, str] = {}  # dyno → its state; "" → the heading
        self._lines_shown = 0
        self._has_progress = False

    def show(self, release: dict[str, Any]) -> None:
        """Say what is new."""
        command_state = release["command_state"]
        if command_state in ("running", "failed") or (
            command_state == "succeeded" and "command" in self._said
        ):
            self._show_command(ended=command_state != "running")
        if release["state"] == "pending" and command_state in (None, "succeeded"):
            self._show_dynos()
        elif release["state"] == "failed":
            self.clear_progress()
            if command_state != "failed":
                for line in release["last_lines"]:
                    say(f"       {printable(line)}")

    def clear_progress(self) -> None:
        """Take away the line that changes."""
        if self._has_progress:
            self._has_progress = False
            click.echo("\r\x1b[K", err=True, nl=False)

    def _show_command(self, *, ended: bool) -> None:
        if self._said.get("command") == "ended":
            return
        if "command" not in self._said:
            say("-----> Release command")
        self._said["command"] = "ended" if ended else "runs"
        found = self._client.lines(
            app_path(self._app, "logs"), lines=MOST_LINES, process=f"release.{self._version}"
        )
        lines = [line.text for line in map(parse_log_line, found) if line.source == "app"]
        for text in lines[self._lines_shown :]:
            say(f"       {printable(text)}")
        self._lines_shown = max(self._lines_shown, len(lines))

    def _show_dynos(self) -> None:
        dynos = [
            dyno
            for dyno in self._client.items(app_path(self._app, "dynos"))
            if dyno["version"] == self._version and dyno["process_type"] != "release"
        ]
        if dynos and "" not in self._said:
            self._said[""] = "launching"
            say(f"-----> Launching v{self._version}")
        for dyno in dynos:
            state = f"{dyno['state']}: {dyno['detail']}" if dyno["detail"] else dyno["state"]
            if state != self._said.get(dyno["name"]) and dyno["state"] not in ("waiting", "starting"):
                self.clear_progress()
                say(f"       {dyno['name']} on {dyno['node']}: {printable(state)}")
            self._said[dyno["name"]] = state
        self._show_progress(dynos)

    def _show_progress(self, dynos: list[dict[str, Any]]) -> None:
        """On a terminal, a line that changes: what is being waited for, and for how long."""
        coming = [
            f"{dyno['name']} on {dyno['node']} {dyno['state']}" for dyno in dynos if dyno["state"] != "up"
        ]
        if not self._is_terminal or not coming:
            return
        text = f"       {', '.join(coming[:3])} · {time.monotonic() - self._began:.0f} s"
        width = shutil.get_terminal_size().columns
        click.echo(f"\r\x1b[K{text[: width - 1]}", err=True, nl=False)
        self._has_progress = True


def has_come_up(app: str, release: dict[str, Any]) -> bool:
    """Whether the release serves, or served and gave way; raises `Ended` when it never will."""
    if release["state"] == "failed":
        failure = release["failure"] or "it did not say why"
        raise Ended(
            f"release v{release['version']} of {app} failed: {failure}",
            hint=None if "pinode logs" in failure else f"what its dynos said: pinode logs -a {app}",
        )
    if release["state"] == "superseded" and not release["has_served"]:
        raise Ended(
            f"release v{release['version']} of {app} gave way to a newer one before it came up",
            hint=f"pinode releases -a {app}",
        )
    return release["state"] in ("live", "superseded")
