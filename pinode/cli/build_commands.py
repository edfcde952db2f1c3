"""Commands about builds: deploy, builds."""

import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.folder_archive import archive_folder, is_local
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import ago, printable, say, show_json, show_json_line, size, table
from pinode.cli.rollout import PATIENCE_SECONDS, POLL_SECONDS, Ended, Patience, follow_rollout
from pinode.cli.target import app_option, app_path, chosen_app

CANCEL_SECONDS = 60.0
QUIET_SECONDS = 60.0  # a log silent for longer is asked for again: its node may have vanished


@click.command()
@app_option
@click.argument("url", required=False)
@click.option("--ref", metavar="R", help="branch, tag or commit; else the default branch")
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    help="where the app lies in the repository; a folder here (., ./web, /srv/web) is sent instead",
)
@click.option("--no-wait", is_flag=True, help="only ask for it")
@click.pass_obj
def deploy(
    invocation: Invocation,
    app: str | None,
    url: str | None,
    ref: str | None,
    directory: str | None,
    no_wait: bool,
) -> int:
    """Build the app from its git URL, or from a folder here, and deploy it; show the build as it goes.

    Without either: what was deployed last, once more. Of a folder, what git ignores is not sent.
    """
    name = chosen_app(invocation, app)
    started = time.monotonic()
    client = ApiClient(invocation)
    if directory is not None and url is None and is_local(directory):
        if ref is not None:
            raise Failure("a folder has no --ref", hint="git push pinode BRANCH", code=ExitCode.USAGE)
        build = _send_folder(client, name, Path(directory).expanduser())
    else:
        build = client.post(app_path(name, "builds"), {"git_url": url, "ref": ref, "dir": directory})
    if no_wait:
        show_json(build) if invocation.json else click.echo(build["id"])
        return ExitCode.OK
    try:
        follow_build(client, name, build["id"])
        outcome = wait_for_release(client, name, build["id"], quiet=False)
    except KeyboardInterrupt:
        say(
            f"\nthe deploy goes on; its log: pinode builds:output {build['id']} -a {name}\n"
            f"to end it: pinode builds:cancel {build['id']} -a {name}"
        )
        raise
    if invocation.json:
        show_json(outcome)
        return ExitCode.OK
    say(f"-----> {name} v{outcome['version']} answers after {time.monotonic() - started:.1f} s")
    document = client.get(app_path(name))
    if by_name := document.get("name_url"):
        say(f"       also at {by_name}")
    click.echo(document["url"])
    return ExitCode.OK


def _send_folder(client: ApiClient, app: str, folder: Path) -> Any:
    """The build of what is in the folder now."""
    with tempfile.TemporaryDirectory(prefix="pinode-") as scratch:
        archive = Path(scratch) / "app.tar.gz"
        count = archive_folder(folder, archive)
        say(f"-----> Sending {count} files of {folder} ({size(archive.stat().st_size)})")
        return client.upload(app_path(app, "builds"), archive, query={})


def follow_build(client: ApiClient, app: str, build_id: int, *, indent: str = "") -> None:
    """Say the build's log as it is written, until the build has ended, over broken connections too."""
    path = app_path(app, "builds", str(build_id), "log")
    shown: Counter[str] = Counter()
    patience = _patience(app, build_id)
    while True:
        again, began = shown.copy(), time.monotonic()
        try:
            for line in client.lines(path, quiet_seconds=QUIET_SECONDS, follow=1):
                if again[line]:  # the log begins anew; say what is new
                    again[line] -= 1
                    continue
                patience.renew()
                shown[line] += 1
                say(indent + printable(line))
            return
        except Failure as failure:
            if time.monotonic() - began > PATIENCE_SECONDS:  # it was merely quiet
                patience.renew()
            patience.bear(failure)


def wait_for_release(
    client: ApiClient, app: str, build_id: int, *, within_seconds: float = 1200, quiet: bool = True
) -> dict[str, Any]:
    """Wait until the build's release serves, and return the build; say how it comes up unless `quiet`.

    Raises `Failure` with the reason when it does not get there.
    """
    deadline = time.monotonic() + within_seconds
    build = wait_for_build(client, app, build_id, within_seconds=within_seconds)
    follow_rollout(client, app, build["version"], within_seconds=deadline - time.monotonic(), quiet=quiet)
    return build


def wait_for_build(
    client: ApiClient, app: str, build_id: int, *, within_seconds: float = 1200
) -> dict[str, Any]:
    """Wait until the build became a release; raise `Failure` with the reason when it does not get there."""
    deadline = time.monotonic() + within_seconds
    patience = _patience(app, build_id)
    while time.monotonic() < deadline:
        try:
            build: dict[str, Any] = client.get(app_path(app, "builds", str(build_id)))
            patience.renew()
        except Failure as failure:
            patience.bear(failure)
            continue
        if build["state"] == "succeeded":
            return build
        if build["state"] in ("failed", "cancelled"):
            what = "failed" if build["state"] == "failed" else "was cancelled"
            raise Ended(f"build {build_id} of {app} {what}: {build['failure'] or 'it did not say why'}")
        time.sleep(POLL_SECONDS)
    raise Failure(
        f"build {build_id} of {app} has not come to an end within {within_seconds:.0f} s",
        hint=f"pinode builds -a {app}, pinode ps -a {app}",
        code=ExitCode.TIMED_OUT,
    )


def _patience(app: str, build_id: int) -> Patience:
    return Patience(hint=f"the deploy goes on; any node can tell: pinode builds:output {build_id} -a {app}")


@click.command()
@app_option
@click.pass_obj
def builds(invocation: Invocation, app: str | None) -> int:
    """The app's builds, newest first."""
    name, client = chosen_app(invocation, app), ApiClient(invocation)
    found = client.items(app_path(name, "builds"))
    if invocation.json:
        show_json({"items": found, "next": None})
        return ExitCode.OK
    rows = [
        (build["id"], build["state"], (build["commit"] or "")[:8], build["ref"], build["for_nodes"],
         build["node"], f"v{build['version']}" if build["version"] else "", ago(build["duration_seconds"]),
         f"{ago(build['age_seconds'])} ago", build["failure"])
        for build in found
    ]  # fmt: skip
    if rows:
        heads = (
            "build",
            "state",
            "commit",
            "ref",
            "for",
            "node",
            "release",
            "took",
            "asked",
            "failure",
        )
        table(invocation, heads, rows)
    else:
        say("no builds yet: pinode deploy URL")
    for line in client.get(app_path(name))["missing_slugs"]:
        say(line)
    return ExitCode.OK


@click.command()
@app_option
@click.argument("build", type=click.IntRange(1), required=False)
@click.pass_obj
def builds_output(invocation: Invocation, app: str | None, build: int | None) -> int:
    """What a build printed; the newest one unless you name one. With --json: a document a line, {text}."""
    name = chosen_app(invocation, app)
    client = ApiClient(invocation)
    number = build or _newest(client, name)
    for line in client.lines(app_path(name, "builds", str(number), "log"), follow=1):
        show_json_line({"text": line}) if invocation.json else click.echo(printable(line))
    return ExitCode.OK


@click.command()
@app_option
@click.argument("build", type=click.IntRange(1))
@click.pass_obj
def builds_cancel(invocation: Invocation, app: str | None, build: int) -> int:
    """End a build that waits or runs."""
    name = chosen_app(invocation, app)
    client = ApiClient(invocation)
    found = client.request("DELETE", app_path(name, "builds", str(build)))
    deadline = time.monotonic() + CANCEL_SECONDS
    while found is not None and found["cancelling"]:  # its node has not ended it yet
        if time.monotonic() > deadline:
            raise Failure(
                f"{found['node']} has not ended build {build} yet",
                hint=f"it will, or its lease ends: pinode builds:info {build} -a {name}",
                code=ExitCode.TIMED_OUT,
            )
        time.sleep(POLL_SECONDS)
        found = client.get(app_path(name, "builds", str(build)))
    if found is not None and found["state"] != "cancelled":
        raise Failure(f"build {build} {found['state']} before it could be cancelled", code=ExitCode.CONFLICT)
    say(f"cancelled build {build}")
    return ExitCode.OK


@click.command()
@app_option
@click.argument("build", type=click.IntRange(1), required=False)
@click.pass_obj
def builds_info(invocation: Invocation, app: str | None, build: int | None) -> int:
    """One build: of what, by whom, where, and what came of it; the newest one unless you name one."""
    name = chosen_app(invocation, app)
    client = ApiClient(invocation)
    found = client.get(app_path(name, "builds", str(build or _newest(client, name))))
    if invocation.json:
        show_json(found)
        return ExitCode.OK
    click.echo(f"build {found['id']} of {name}")
    facts = [
        ("state", "cancelling" if found["cancelling"] else found["state"]),
        ("failure", found["failure"]),
        ("release", f"v{found['version']}" if found["version"] else None),
        ("source", found["git_url"] or found["origin"]),
        ("ref", found["ref"]),
        ("for", found["for_nodes"]),
        ("folder", found["dir"]),
        ("commit", found["commit"]),
        ("node", found["node"]),
        ("who", found["created_by"]),
        ("asked", f"{ago(found['age_seconds'])} ago"),
        ("took", ago(found["duration_seconds"])),
    ]
    for fact, value in facts:
        if value:
            click.echo(f"  {fact:<9}  {printable(str(value))}")
    return ExitCode.OK


def _newest(client: ApiClient, app: str) -> int:
    known = [item for item in client.items(app_path(app, "builds")) if item["variant_of"] is None]
    if not known:
        raise Failure(f"{app} has not been built yet", hint="pinode deploy URL", code=ExitCode.NOT_FOUND)
    return int(max(item["id"] for item in known))
