"""Commands about releases: which there are, one of them, going back to an older one."""

import re
import time
from typing import Any

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import ago, printable, say, show_json, table
from pinode.cli.rollout import follow_rollout
from pinode.cli.target import app_option, app_path, chosen_app


@click.command()
@app_option
@click.pass_obj
def releases(invocation: Invocation, app: str | None) -> int:
    """The app's releases, newest first."""
    found = ApiClient(invocation).items(app_path(chosen_app(invocation, app), "releases"))
    if invocation.json:
        show_json({"items": found, "next": None})
        return ExitCode.OK
    rows = [
        (f"v{release['version']}", release["state"], release["description"], release["created_by"],
         f"{ago(release['age_seconds'])} ago", release["failure"])
        for release in found
    ]  # fmt: skip
    if rows:
        table(invocation, ("release", "state", "what", "who", "made", "failure"), rows)
    else:
        say("no releases yet: pinode deploy URL")
    return ExitCode.OK


@click.command()
@app_option
@click.argument("version", metavar="[vN]", required=False)
@click.pass_obj
def releases_info(invocation: Invocation, app: str | None, version: str | None) -> int:
    """One release: who made it, when, of what and why; the newest one unless you name one."""
    name = chosen_app(invocation, app)
    release = _release(ApiClient(invocation), name, _number(version))
    if invocation.json:
        show_json(release)
        return ExitCode.OK
    click.echo(f"{name} v{release['version']}")
    for fact, value in _facts(release):
        if value:
            click.echo(f"  {fact:<9}  {printable(str(value))}")
    for line in release["last_lines"]:
        click.echo(f"  {'said':<9}  {printable(line)}")
    return ExitCode.OK


@click.command()
@app_option
@click.argument("version", metavar="[vN]", required=False)
@click.option("--no-wait", is_flag=True, help="only ask for it")
@click.pass_obj
def rollback(invocation: Invocation, app: str | None, version: str | None, no_wait: bool) -> int:
    """Release the code, config vars and process types of an older release again, without a build.

    Without vN: those that served before the present ones.
    """
    name, number = chosen_app(invocation, app), _number(version)
    client, started = ApiClient(invocation), time.monotonic()
    made = client.post(app_path(name, "releases"), {"rollback_to": number})
    say(f"-----> {made['description']} is v{made['version']}")
    if not no_wait:
        made = follow_rollout(client, name, made["version"])
        say(f"-----> {name} v{made['version']} answers after {time.monotonic() - started:.1f} s")
    if invocation.json:
        show_json(made)
    else:
        click.echo(f"v{made['version']}" if no_wait else client.get(app_path(name))["url"])
    return ExitCode.OK


def _number(version: str | None) -> int | None:
    if version is None:
        return None
    if not re.fullmatch(r"v?[0-9]{1,9}", version):
        raise Failure(f"{version!r} is not a release", hint="for example: v3", code=ExitCode.USAGE)
    return int(version.removeprefix("v"))


def _release(client: ApiClient, app: str, number: int | None) -> dict[str, Any]:
    if number is not None:
        found: dict[str, Any] = client.get(app_path(app, "releases", str(number)))
        return found
    known = client.items(app_path(app, "releases"))
    if not known:
        raise Failure(f"{app} has no release yet", hint="pinode deploy URL", code=ExitCode.NOT_FOUND)
    newest: dict[str, Any] = known[0]
    return newest


def _kind(slug: dict[str, Any]) -> str:
    cpu = "any CPU" if slug["arch"] == ["any"] else " or ".join(slug["arch"])
    return f"{cpu} and {slug['interpreter']}" if slug["interpreter"] else cpu


def _facts(release: dict[str, Any]) -> list[tuple[str, object]]:
    kinds = sorted(release["process_types"].items())
    return [
        ("state", release["state"]),
        ("what", release["description"]),
        ("failure", release["failure"]),
        ("who", release["created_by"]),
        ("made", f"{ago(release['age_seconds'])} ago"),
        ("commit", release["commit"]),
        ("build", release["build"]),
        *(("slug", f"{slug['digest'][:12]} for {_kind(slug)}") for slug in release["slugs"]),
        ("command", release["command_state"]),
        *((kind, command) for kind, command in kinds),
    ]
