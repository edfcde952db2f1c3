"""Commands about who is in the cluster."""

import time
import urllib.parse

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.confirmation import confirm_name
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.node_commands import is_running
from pinode.cli.output import ago, printable, say, show_json
from pinode.cli.span import span

TOKENS = "/api/v1/join-tokens"
KEY_ROTATION = "/api/v1/key-rotation"
POLL_SECONDS = 0.5


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


@click.command()
@click.pass_obj
def leave(invocation: Invocation) -> int:
    """Take this node out of its cluster for good: its dynos move first."""
    client = ApiClient(invocation)
    progress = client.post("/api/v1/local/leave", {})
    said = ""
    while True:
        if progress["failure"] is not None:
            failure = progress["failure"]
            raise Failure(failure["message"], hint=failure["hint"], code=ExitCode.CONFLICT)
        if progress["waiting_for"] not in ("", said):
            said = progress["waiting_for"]
            say(f"waiting for {said}")
        time.sleep(POLL_SECONDS)
        if not is_running(int(progress["pid"])):
            break
        try:
            progress = client.get("/api/v1/local/leave")
        except Failure:
            if is_running(int(progress["pid"])):
                continue  # it is ending
            break
    say("this node has left; the next `pinode start` begins anew")
    if progress.get("starts_at_boot"):  # an older node does not say
        say("its system unit starts it at boot; so that it does not begin anew then: sudo pinode uninstall")
    return ExitCode.OK


@click.command("node:remove")
@click.argument("node")
@click.option("--confirm", metavar="NODE", help="its name once more")
@click.option("--force", is_flag=True, help="also when it is alive: its dynos stop without a successor")
@click.pass_obj
def node_remove(invocation: Invocation, node: str, confirm: str | None, force: bool) -> int:
    """Remove a node that is gone for good; its id never comes back."""
    confirm_name(invocation, node, confirm, what=f"removes {node}", undone=f"{node} is not removed")
    ApiClient(invocation).request("DELETE", _node(node) + ("?force=1" if force else ""))
    say(f"removed {printable(node)}")
    say("it still has the cluster key; if it is in somebody else's hands: pinode key:rotate")
    return ExitCode.OK


@click.command("key:rotate")
@click.pass_obj
def key_rotate(invocation: Invocation) -> int:
    """Replace the cluster key on every node: old copies of it open nothing any more."""
    client = ApiClient(invocation)
    document = client.post(KEY_ROTATION, {})
    generation, said, away = document["generation"], "", document["away"]
    while document["stage"] != "done" and document["generation"] == generation:
        waiting = ", ".join(map(printable, document["waiting_for"]))
        if waiting not in ("", said):
            said = waiting
            say(f"waiting for {waiting}")
        away = document["away"]
        time.sleep(POLL_SECONDS)
        document = client.get(KEY_ROTATION)
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    say("the cluster key is a new one on every node in reach; the old one opens nothing")
    if away:
        say(f"off, and given the new key when they are back: {', '.join(map(printable, away))}")
    say("join tokens given out before are worthless: pinode join-token")
    say("config vars set before can still be read by who kept it: give what is secret there new values now")
    return ExitCode.OK


@click.command("leader:step-down")
@click.pass_obj
def leader_step_down(invocation: Invocation) -> int:
    """Have the leader hand over to another voter: before work on it, or when its card is slow."""
    document = ApiClient(invocation).post("/api/v1/leader/step-down", {})
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    was, leader = printable(document["was"]), document["leader"]
    if leader is None:
        say(f"{was} leads no more; `pinode status` shows who does")
    else:
        say(f"{printable(leader)} leads now; it was {was}")
    return ExitCode.OK


@click.command("node:cordon")
@click.argument("node")
@click.pass_obj
def node_cordon(invocation: Invocation, node: str) -> int:
    """Give a node no new dynos and builds."""
    return _set(invocation, node, "cordon", "takes nothing new")


@click.command("node:drain")
@click.argument("node")
@click.pass_obj
def node_drain(invocation: Invocation, node: str) -> int:
    """Move a node's dynos elsewhere, one after the other, and give it no new ones."""
    return _set(invocation, node, "drain", "is being emptied; `pinode nodes` shows how far it is")


@click.command("node:uncordon")
@click.argument("node")
@click.pass_obj
def node_uncordon(invocation: Invocation, node: str) -> int:
    """Let a node take dynos and builds again."""
    return _set(invocation, node, "uncordon", "takes dynos and builds again")


def _set(invocation: Invocation, node: str, verb: str, outcome: str) -> int:
    document = ApiClient(invocation).post(f"{_node(node)}/{verb}", {})
    if invocation.json:
        show_json(document)
    else:
        say(f"{printable(document['name'])} {outcome}")
    return ExitCode.OK


def _node(name: str) -> str:
    return f"/api/v1/nodes/{urllib.parse.quote(name, safe='')}"
