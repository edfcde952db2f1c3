"""Commands about webhooks: addresses that a git server calls after a push."""

import urllib.parse

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Invocation
from pinode.cli.output import ago, say, show_json, table
from pinode.cli.target import app_option, app_path, chosen_app


@click.command()
@app_option
@click.pass_obj
def hooks(invocation: Invocation, app: str | None) -> int:
    """The app's webhooks. Their secrets were shown once, when they were made."""
    found = ApiClient(invocation).items(app_path(chosen_app(invocation, app), "hooks"))
    if invocation.json:
        show_json({"items": found, "next": None})
        return ExitCode.OK
    rows = [
        (
            one["id"],
            one["branch"] or "(default)",
            one["created_by"],
            f"{ago(one['age_seconds'])} ago",
            one["url"],
        )
        for one in found
    ]
    if rows:
        table(invocation, ("hook", "branch", "who", "made", "address"), rows)
    else:
        say("no webhooks yet: pinode hooks:create")
    return ExitCode.OK


@click.command()
@app_option
@click.option("--branch", help="deploy pushes to this branch; else to the repository's default branch")
@click.pass_obj
def hooks_create(invocation: Invocation, app: str | None, branch: str | None) -> int:
    """Make an address that GitHub, Gitea, Forgejo or GitLab calls after each push, and its secret."""
    path = app_path(chosen_app(invocation, app), "hooks")
    made = ApiClient(invocation).post(path, {"branch": branch})
    if invocation.json:
        show_json(made)
        return ExitCode.OK
    say("give the git server this address (any node will do), JSON as the content type, and this secret,")
    say("which is not shown again:")
    click.echo(made["url"])
    click.echo(made["secret"])
    return ExitCode.OK


@click.command()
@app_option
@click.argument("hook")
@click.pass_obj
def hooks_revoke(invocation: Invocation, app: str | None, hook: str) -> int:
    """Make a webhook worthless; HOOK is what `pinode hooks` shows in its first column."""
    path = app_path(chosen_app(invocation, app), "hooks", urllib.parse.quote(hook, safe=""))
    ApiClient(invocation).request("DELETE", path)
    say(f"revoked {hook}")
    return ExitCode.OK
