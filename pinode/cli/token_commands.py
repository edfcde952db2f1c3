"""Commands about tokens: what programs, and git, log in with."""

import socket

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Invocation
from pinode.cli.output import ago, say, show_json, table

DAYS = 365


@click.command()
@click.pass_obj
def tokens(invocation: Invocation) -> int:
    """Your tokens. What proves them was shown once, when they were made."""
    found = ApiClient(invocation).items("/api/v1/tokens")
    if invocation.json:
        show_json({"items": found, "next": None})
        return ExitCode.OK
    rows = [
        (one["id"], one["label"], f"{ago(one['age_seconds'])} ago", f"in {ago(one['expires_in_seconds'])}")
        for one in found
    ]
    if rows:
        table(invocation, ("token", "for", "made", "expires"), rows)
    else:
        say("no tokens yet: pinode tokens:create LABEL")
    return ExitCode.OK


@click.command()
@click.argument("label", required=False)
@click.option("--days", type=click.IntRange(1, 400), default=DAYS, help="until it expires")
@click.pass_obj
def tokens_create(invocation: Invocation, label: str | None, days: int) -> int:
    """Make a token, for a program or as git's password; it is shown this once."""
    wanted = {"label": label or f"by hand on {socket.gethostname()}", "expires_days": days}
    made = ApiClient(invocation).post("/api/v1/tokens", wanted)
    if invocation.json:
        show_json(made)
        return ExitCode.OK
    say(f"token {made['id']}, for {days} days; it is not shown again:")
    click.echo(made["token"])
    return ExitCode.OK


@click.command()
@click.argument("token_id", metavar="TOKEN")
@click.pass_obj
def tokens_revoke(invocation: Invocation, token_id: str) -> int:
    """Make a token worthless; TOKEN is what `pinode tokens` shows in its first column."""
    import urllib.parse

    ApiClient(invocation).request("DELETE", f"/api/v1/tokens/{urllib.parse.quote(token_id, safe='')}")
    say(f"revoked {token_id}")
    return ExitCode.OK
