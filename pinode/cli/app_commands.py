"""Commands about apps: which there are, one of them, creating and removing one."""

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.confirmation import confirm_name
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import ago, printable, say, show_json, table
from pinode.cli.target import app_option, app_path, chosen_app, follow_rename


@click.command()
@click.pass_obj
def apps(invocation: Invocation) -> int:
    """All apps you may see."""
    found = ApiClient(invocation).items("/api/v1/apps")
    if invocation.json:
        show_json({"items": found, "next": None})
        return ExitCode.OK
    rows = [
        (app["name"], app["state"], _version(app["live_version"]), app["owner"], app["url"]) for app in found
    ]
    if rows:
        table(invocation, ("app", "state", "release", "owner", "url"), rows)
    else:
        say("no apps yet: pinode apps:create NAME --git URL, then pinode deploy -a NAME")
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
        return ExitCode.OK
    url = "" if git_url else " URL"
    say(f"created {app['name']}; next: pinode deploy{url} -a {app['name']}")
    say(f"or, in its repository: pinode git:remote -a {app['name']}, then git push pinode main")
    click.echo(app["url"])
    return ExitCode.OK


@click.command()
@app_option
@click.argument("name", required=False)
@click.pass_obj
def apps_info(invocation: Invocation, name: str | None, app: str | None) -> int:
    """One app: its URLs, release and formation."""
    document = ApiClient(invocation).get(app_path(chosen_app(invocation, _one_of(name, app))))
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    formation = "  ".join(f"{kind}={count}" for kind, count in sorted(document["formation"].items()))
    facts = [
        ("state", document["state"]),
        ("release", _version(document["live_version"]) or "none yet"),
        ("building", f"build {document['building']}" if document["building"] else None),
        ("formation", formation or "nothing scaled yet"),
        ("source", document["git_url"] or "none yet"),
        ("owner", document["owner"]),
        ("created", f"{ago(document['age_seconds'])} ago"),
        *(("url" if place == 0 else "", url) for place, url in enumerate(document["urls"])),
    ]
    click.echo(document["name"])
    for fact, value in facts:
        if value:
            click.echo(f"  {fact:<9}  {printable(value)}")
    return ExitCode.OK


@click.command()
@click.argument("old")
@click.argument("new")
@click.pass_obj
def apps_rename(invocation: Invocation, old: str, new: str) -> int:
    """Call an app otherwise: its port, releases, config and dynos stay; its old host name ends.

    Where the remote `pinode` of this folder pushes to the app, it does so under the new name.
    """
    document = ApiClient(invocation).request(
        "PATCH", app_path(chosen_app(invocation, old)), body={"name": new}
    )
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    say(f"{old} is called {document['name']} now; its dynos see that in PINODE_APP when they start next")
    follow_rename(old, document["name"])
    click.echo(document["url"])
    return ExitCode.OK


@click.command()
@app_option
@click.argument("name", required=False)
@click.option("--confirm", metavar="NAME", help="the app's name again")
@click.pass_obj
def apps_destroy(invocation: Invocation, name: str | None, app: str | None, confirm: str | None) -> int:
    """Remove an app, its releases and its dynos, for good."""
    chosen = chosen_app(invocation, _one_of(name, app))
    confirm_name(invocation, chosen, confirm, what=f"ends {chosen}", undone=f"{chosen} is not destroyed")
    ApiClient(invocation).request("DELETE", app_path(chosen))
    say(f"destroyed {chosen}")
    return ExitCode.OK


def _one_of(name: str | None, app: str | None) -> str | None:
    """The app that was named, as an argument or by `-a`."""
    if name is not None and app is not None and name != app:
        raise Failure(f"which one, {name!r} or {app!r}?", hint="name it once", code=ExitCode.USAGE)
    return app if name is None else name


def _version(number: int | None) -> str:
    return f"v{number}" if number else ""
