"""Commands about apps and their processes: apps, ps, logs, config."""

import sys
from pathlib import Path

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import ago, say, show_json, table
from pinode.cli.target import app_option, app_path, chosen_app


@click.command()
@click.pass_obj
def apps(invocation: Invocation) -> int:
    """All apps you may see."""
    document = ApiClient(invocation).get("/api/v1/apps")
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    rows = [
        (
            app["name"],
            app["state"],
            f"v{app['live_version']}" if app["live_version"] else "",
            app["owner"],
            app["url"],
        )
        for app in document["items"]
    ]
    if not rows:
        say("no apps yet: pinode apps:create NAME --git URL, then pinode deploy -a NAME")
    else:
        table(invocation, ("app", "state", "release", "owner", "url"), rows)
    return ExitCode.OK


@click.command()
@click.argument("name")
@click.option("--git", "git_url", metavar="URL", help="where its source is")
@click.pass_obj
def apps_create(invocation: Invocation, name: str, git_url: str | None) -> int:
    """Create an app."""
    app = ApiClient(invocation).post("/api/v1/apps", {"name": name, "git_url": git_url})
    if invocation.json:
        show_json(app)
    else:
        click.echo(f"created {app['name']}; it will answer at {app['url']}")
    return ExitCode.OK


@click.command()
@app_option
@click.argument("name", required=False)
@click.pass_obj
def apps_info(invocation: Invocation, name: str | None, app: str | None) -> int:
    """One app: its URLs, release and formation."""
    document = ApiClient(invocation).get(app_path(chosen_app(invocation, name or app)))
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    click.echo(f"{document['name']}  {document['state']}")
    click.echo(f"  owner      {document['owner']}")
    click.echo(f"  source     {document['git_url'] or '-'}")
    click.echo(
        f"  release    {'v' + str(document['live_version']) if document['live_version'] else 'none yet'}"
    )
    formation = "  ".join(f"{kind}={count}" for kind, count in sorted(document["formation"].items()))
    click.echo(f"  formation  {formation or '-'}")
    for url in document["urls"]:
        click.echo(f"  url        {url}")
    return ExitCode.OK


@click.command()
@app_option
@click.argument("name", required=False)
@click.option("--confirm", metavar="NAME", help="the app's name again")
@click.pass_obj
def apps_destroy(invocation: Invocation, name: str | None, app: str | None, confirm: str | None) -> int:
    """Remove an app, its releases and its dynos, for good."""
    chosen = chosen_app(invocation, name or app)
    if confirm is None and not invocation.no_input and sys.stdin.isatty():
        confirm = click.prompt(f"This ends {chosen} for good. Type its name to go on", err=True)
    if confirm != chosen:
        raise Failure(f"{chosen} is not destroyed", hint=f"to do it: --confirm {chosen}", code=ExitCode.USAGE)
    ApiClient(invocation).request("DELETE", app_path(chosen))
    say(f"destroyed {chosen}")
    return ExitCode.OK


@click.command()
@app_option
@click.pass_obj
def ps(invocation: Invocation, app: str | None) -> int:
    """An app's dynos: where they run and how they are."""
    document = ApiClient(invocation).get(app_path(chosen_app(invocation, app), "dynos"))
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    rows = [
        (
            dyno["name"],
            dyno["state"],
            f"v{dyno['version']}",
            dyno["node"],
            ago(dyno.get("for_seconds")),
            dyno.get("detail") or "",
        )
        for dyno in document["items"]
    ]
    if rows:
        table(invocation, ("dyno", "state", "release", "node", "for", ""), rows)
    else:
        say("no dynos: deploy the app, or scale it: pinode ps:scale web=1")
    return ExitCode.OK


@click.command()
@app_option
@click.argument("quantities", nargs=-1, metavar="TYPE=COUNT …")
@click.pass_obj
def ps_scale(invocation: Invocation, quantities: tuple[str, ...], app: str | None) -> int:
    """Say how many dynos of each type run; without arguments, show it."""
    path = app_path(chosen_app(invocation, app), "formation")
    wanted = {}
    for word in quantities:
        kind, equals, count = word.partition("=")
        if not equals or not count.isdigit():
            raise Failure(f"{word!r} is not TYPE=COUNT", hint="for example: web=2", code=ExitCode.USAGE)
        wanted[kind] = int(count)
    client = ApiClient(invocation)
    document = client.request("PATCH", path, body=wanted) if wanted else client.get(path)
    if invocation.json:
        show_json(document)
    else:
        click.echo(
            "  ".join(f"{kind}={count}" for kind, count in sorted(document.items())) or "nothing scaled yet"
        )
    return ExitCode.OK


@click.command()
@app_option
@click.option("-t", "--tail", "follow", is_flag=True, help="go on as new lines come")
@click.option("-n", "--lines", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("-p", "--process", metavar="TYPE", help="only this process type")
@click.pass_obj
def logs(invocation: Invocation, app: str | None, follow: bool, lines: int, process: str | None) -> int:
    """What the app's dynos print."""
    path = app_path(chosen_app(invocation, app), "logs")
    for line in ApiClient(invocation).lines(path, lines=lines, follow=1 if follow else None, process=process):
        click.echo(line)
    return ExitCode.OK


@click.command()
@app_option
@click.option("--reveal", is_flag=True, help="show the values; this is recorded")
@click.pass_obj
def config(invocation: Invocation, app: str | None, reveal: bool) -> int:
    """The names of the config vars; the values only with --reveal."""
    path = app_path(chosen_app(invocation, app), "config")
    document = ApiClient(invocation).get(path, reveal=1 if reveal else None)
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    for name, value in sorted(document.items()):
        click.echo(f"{name}={value}" if reveal else name)
    return ExitCode.OK


@click.command()
@app_option
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE …")
@click.pass_obj
def config_set(invocation: Invocation, pairs: tuple[str, ...], app: str | None) -> int:
    """Set config vars and release them. `KEY=-` reads the value from stdin, `KEY=@FILE` from a file."""
    values = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Failure(
                f"{pair!r} is not KEY=VALUE", hint="for example: SECRET_KEY=@secret.txt", code=ExitCode.USAGE
            )
        values[name] = _value(value)
    ApiClient(invocation).request("PATCH", app_path(chosen_app(invocation, app), "config"), body=values)
    say(f"set {', '.join(sorted(values))}")
    return ExitCode.OK


def _value(word: str) -> str:
    if word == "-":
        return sys.stdin.read()
    if word.startswith("@"):
        try:
            return Path(word[1:]).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"cannot read {word[1:]}: {error}", code=ExitCode.USAGE) from error
    return word


@click.command()
@app_option
@click.argument("names", nargs=-1, required=True, metavar="KEY …")
@click.pass_obj
def config_unset(invocation: Invocation, names: tuple[str, ...], app: str | None) -> int:
    """Remove config vars and release that."""
    path = app_path(chosen_app(invocation, app), "config")
    ApiClient(invocation).request("PATCH", path, body=dict.fromkeys(names))
    say(f"unset {', '.join(names)}")
    return ExitCode.OK
