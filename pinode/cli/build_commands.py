"""Commands about builds and releases: deploy, builds, releases."""

import time
import uuid
from typing import Any

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import ago, say, show_json, table
from pinode.cli.target import app_option, app_path, chosen_app

POLL_SECONDS = 0.2
FINISHED = ("succeeded", "failed", "cancelled")


@click.command()
@app_option
@click.argument("url", required=False)
@click.option("--ref", metavar="R", help="branch, tag or commit; else the default branch")
@click.option("--dir", "directory", metavar="SUBDIR", help="where the app lies in the repository")
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
    """Build the app from its git URL and deploy it; show the build as it goes."""
    name = chosen_app(invocation, app)
    started = time.monotonic()
    client = ApiClient(invocation)
    body = {"git_url": url, "ref": ref, "dir": directory}
    build = client.post(app_path(name, "builds"), body, idempotency_key=uuid.uuid4().hex)
    if no_wait:
        show_json(build) if invocation.json else click.echo(build["id"])
        return ExitCode.OK
    for line in client.lines(app_path(name, "builds", str(build["id"]), "log"), follow=1):
        say(line)
    outcome = wait_for_release(client, name, build["id"])
    if invocation.json:
        show_json(outcome)
        return ExitCode.OK
    say(f"-----> {name} v{outcome['version']} answers after {time.monotonic() - started:.1f} s")
    click.echo(client.get(app_path(name))["url"])
    return ExitCode.OK


def wait_for_release(
    client: ApiClient, app: str, build_id: int, *, within_seconds: float = 1200
) -> dict[str, Any]:
    """Wait until the build's release serves; raise `Failure` with the reason when it does not get there."""
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        build: dict[str, Any] = client.get(app_path(app, "builds", str(build_id)))
        if build["state"] in ("failed", "cancelled"):
            raise Failure(f"build {build_id} of {app} {build['state']}: {build['failure'] or 'cancelled'}")
        if build["state"] == "succeeded":
            release = _release(client, app, build["version"])
            if release["state"] == "failed":
                raise Failure(f"release v{build['version']} of {app} failed: {release['failure']}")
            if release["state"] in ("live", "superseded"):
                return build
        time.sleep(POLL_SECONDS)
    raise Failure(f"build {build_id} of {app} has not come to an end", code=ExitCode.TIMED_OUT)


def _release(client: ApiClient, app: str, version: int) -> dict[str, Any]:
    found = client.get(app_path(app, "releases"))["items"]
    release: dict[str, Any] = next(release for release in found if release["version"] == version)
    return release


@click.command()
@app_option
@click.pass_obj
def builds(invocation: Invocation, app: str | None) -> int:
    """The app's builds, newest first."""
    document = ApiClient(invocation).get(app_path(chosen_app(invocation, app), "builds"))
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    rows = [
        (build["id"], build["state"], (build["commit"] or "")[:8], build["ref"] or "", build["node"] or "",
         f"v{build['version']}" if build["version"] else "", build["failure"] or "")
        for build in document["items"]
    ]  # fmt: skip
    if rows:
        table(invocation, ("build", "state", "commit", "ref", "node", "release", ""), rows)
    else:
        say("no builds yet: pinode deploy URL")
    return ExitCode.OK


@click.command()
@app_option
@click.argument("build", type=int, required=False)
@click.pass_obj
def builds_output(invocation: Invocation, app: str | None, build: int | None) -> int:
    """What a build printed; the newest one unless you name one."""
    name = chosen_app(invocation, app)
    client = ApiClient(invocation)
    if build is None:
        known = client.get(app_path(name, "builds"))["items"]
        if not known:
            raise Failure(f"{name} has not been built yet", hint="pinode deploy URL", code=ExitCode.NOT_FOUND)
        build = max(item["id"] for item in known)
    for line in client.lines(app_path(name, "builds", str(build), "log"), follow=1):
        click.echo(line)
    return ExitCode.OK


@click.command()
@app_option
@click.argument("build", type=int)
@click.pass_obj
def builds_cancel(invocation: Invocation, app: str | None, build: int) -> int:
    """End a build that waits or runs."""
    ApiClient(invocation).request("DELETE", app_path(chosen_app(invocation, app), "builds", str(build)))
    say(f"cancelled build {build}")
    return ExitCode.OK


@click.command()
@app_option
@click.pass_obj
def releases(invocation: Invocation, app: str | None) -> int:
    """The app's releases, newest first."""
    document = ApiClient(invocation).get(app_path(chosen_app(invocation, app), "releases"))
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    rows = [
        (f"v{release['version']}", release["state"], release["description"], release["created_by"],
         ago(release.get("age_seconds")), release["failure"] or "")
        for release in document["items"]
    ]  # fmt: skip
    if rows:
        table(invocation, ("release", "state", "what", "who", "age", ""), rows)
    else:
        say("no releases yet: pinode deploy URL")
    return ExitCode.OK
