"""Commands about who is in the cluster."""

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Invocation
from pinode.cli.output import ago, say, show_json
from pinode.cli.span import span

TOKENS = "/api/v1/join-tokens"


@click.command("join-token")
@click.option("--expires", "seconds", type=span, default="1h", metavar="SPAN", help="90, 5m, 2d (1h)")
@click.option("--revoke", is_flag=True, help="make all tokens worthless that were given out so far")
@click.pass_obj
def join_token(invocation: Invocation, seconds: int, revoke: bool) -> int:
    """Make a token that lets further Pis join, until it expires."""
    client = ApiClient(invocation)
    if revoke:
        document = client.request("DELETE", TOKENS)
        count = document["revoked"]
        if invocation.json:
            show_json(document)
        else:
            say(f"revoked {count} join token{'' if count == 1 else 's'}; who has joined stays")
        return ExitCode.OK
    document = client.post(TOKENS, {"expires_seconds": seconds})
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    say(f"On each new Pi, within {ago(document['expires_in_seconds'])}:  pinode start --join TOKEN")
    say("(or put the token into a file there: pinode start --join @FILE)")
    click.echo(document["token"])
    return ExitCode.OK
