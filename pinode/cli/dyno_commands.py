"""Commands about what runs: an app's dynos, how many there are, and what they print."""

import re
from dataclasses import asdict
from urllib.parse import quote

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.log_line import MOST_LINES, parse_log_line
from pinode.cli.output import ago, printable, say, show_json, show_json_line, table
from pinode.cli.span import span
from pinode.cli.target import app_option, app_path, chosen_app

LINES_SHOWN = 100  # unless somebody says how many, or since when
# By the state of the app, what to do.
WITHOUT_DYNOS = {
    "new": "nothing is deployed yet: pinode deploy -a {app}",
    "building": "its first build is on the way: pinode builds -a {app}",
    "starting": "its release is about to be placed: pinode releases -a {app}",
    "failed": "its last deploy failed. Why: pinode ps:why web.1 -a {app}",
    "live": "they are about to be placed: pinode status",
    "down": "they are about to be placed: pinode status",
    "stopped": "somebody stopped it, or scaled it to nothing: pinode ps:restart, or ps:scale web=1, -a {app}",
}


@click.command()
@app_option
@click.pass_obj
def ps(invocation: Invocation, app: str | None) -> int:
    """An app's dynos: where they run and how they are."""
    name, client = chosen_app(invocation, app), ApiClient(invocation)
    found = client.items(app_path(name, "dynos"))
    if invocation.json:
        show_json({"items": found, "next": None})
        return ExitCode.OK
    rows = [
        (
            dyno["name"],
            dyno["state"],
            f"v{dyno['version']}",
            dyno["node"],
            ago(dyno["for_seconds"]),
            dyno["restarts"] or "",
            dyno["detail"] or "",
        )
        for dyno in found
    ]
    shown = client.get(app_path(name))
    if rows:
        table(invocation, ("dyno", "state", "release", "node", "for", "restarts", "detail"), rows)
    else:
        say(f"no dynos: {WITHOUT_DYNOS[shown['state']].format(app=name)}")
    for line in shown["missing_slugs"]:
        say(line)
    return ExitCode.OK


@click.command()
@app_option
@click.argument("quantities", nargs=-1, metavar="TYPE=COUNT …")
@click.pass_obj
def ps_scale(invocation: Invocation, quantities: tuple[str, ...], app: str | None) -> int:
    """Say how many dynos of each type run; without arguments, show it."""
    wanted = dict(map(_quantity, quantities))
    path = app_path(chosen_app(invocation, app), "formation")
    client = ApiClient(invocation)
    document = client.request("PATCH", path, body=wanted) if wanted else client.get(path)
    if invocation.json:
        show_json(document)
    elif document:
        click.echo("  ".join(f"{kind}={count}" for kind, count in sorted(document.items())))
    else:
        say("nothing scaled yet: the first release starts one web dyno")
    return ExitCode.OK


def _quantity(word: str) -> tuple[str, int]:
    kind, _, count = word.partition("=")
    if not kind or not re.fullmatch("[0-9]{1,9}", count):
        raise Failure(f"{word!r} is not TYPE=COUNT", hint="for example: web=2", code=ExitCode.USAGE)
    return kind, int(count)


@click.command()
@app_option
@click.option("-t", "--tail", "follow", is_flag=True, help="go on as new lines come")
@click.option(
    "-n", "--lines", type=click.IntRange(0, MOST_LINES), help="how many; 100, or with --since all there are"
)
@click.option(
    "-p", "--process", "--dyno", "process", metavar="TYPE", help="only this process type, or this dyno"
)
@click.option("--since", type=span, metavar="SPAN", help="nothing older, for example 90, 5m or 1h")
@click.option("--node", metavar="NODE", help="only what was printed on this node")
@click.pass_obj
def logs(
    invocation: Invocation,
    app: str | None,
    follow: bool,
    lines: int | None,
    process: str | None,
    since: int | None,
    node: str | None,
) -> int:
    """What the app's dynos print. With --json: a document a line, {time, source, dyno, text}."""
    path = app_path(chosen_app(invocation, app), "logs")
    client, following = ApiClient(invocation), 1 if follow else None
    if lines is None:
        lines = MOST_LINES if since else LINES_SHOWN
    for line in client.lines(path, lines=lines, follow=following, process=process, since=since, node=node):
        if invocation.json:
            show_json_line(asdict(parse_log_line(line)))
        else:
            click.echo(printable(line))
    return ExitCode.OK


@click.command()
@app_option
@click.argument("dyno", metavar="[DYNO]", required=False)
@click.pass_obj
def ps_restart(invocation: Invocation, app: str | None, dyno: str | None) -> int:
    """Start dynos again, one after another: one (web.1), those of a type (web), or all."""
    name = chosen_app(invocation, app)
    done = ApiClient(invocation).post(app_path(name, "dynos", "restart"), {"dyno": dyno})
    say(f"restarting {done['restarting'] or 'what the formation wants'} of {name}: pinode ps -a {name}")
    return ExitCode.OK


@click.command()
@app_option
@click.pass_obj
def ps_stop(invocation: Invocation, app: str | None) -> int:
    """Stop all dynos of the app, until ps:restart or a deploy."""
    name = chosen_app(invocation, app)
    ApiClient(invocation).post(app_path(name, "dynos", "stop"))
    say(f"stopping {name}; to start it again: pinode ps:restart -a {name}")
    return ExitCode.OK


@click.command()
@app_option
@click.argument("dyno")
@click.pass_obj
def ps_why(invocation: Invocation, app: str | None, dyno: str) -> int:
    """Why a dyno is where it is, and as it is; or why there is none."""
    name = chosen_app(invocation, app)
    document = ApiClient(invocation).get(app_path(name, "dynos", quote(dyno, safe="")))
    if invocation.json:
        show_json(document)
    else:
        for line in document["why"]:
            click.echo(printable(line))
    return ExitCode.OK


@click.command()
@app_option
@click.pass_obj
def maintenance_on(invocation: Invocation, app: str | None) -> int:
    """Answer for the app with a page that says it is being worked on; its dynos go on."""
    return _maintenance(invocation, app, on=True)


@click.command()
@app_option
@click.pass_obj
def maintenance_off(invocation: Invocation, app: str | None) -> int:
    """Let visitors through to the app again."""
    return _maintenance(invocation, app, on=False)


def _maintenance(invocation: Invocation, app: str | None, *, on: bool) -> int:
    name = chosen_app(invocation, app)
    document = ApiClient(invocation).request("PUT", app_path(name, "maintenance"), body={"on": on})
    if invocation.json:
        show_json(document)
    if on:
        say(f"{name} is in maintenance; to end it: pinode maintenance:off -a {name}")
    else:
        say(f"{name} answers again")
    return ExitCode.OK
