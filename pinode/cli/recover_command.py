"""`pinode recover`: go on with what one node holds when a majority is lost for good."""

import asyncio
import os
from random import SystemRandom
from typing import TYPE_CHECKING, Any

import click

from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import ago, printable, say, show_json

if TYPE_CHECKING:
    from pinode.card.recovery import Outlook
    from pinode.peers.held_keys import HeldKeys
    from pinode.settings import Settings


@click.command()
@click.option("--confirm", metavar="NAME", help="the cluster's name: do it")
@click.pass_obj
def recover(invocation: Invocation, confirm: str | None) -> int:
    """Make what this node holds the whole cluster, when so many others are gone for good that nothing can be
    changed any more. Run it on a node that is stopped; without --confirm it only says what would be lost.
    """
    from pinode.card.lock import lock_data_dir  # cryptography is imported only here
    from pinode.card.log_folder import finish_recovery
    from pinode.card.recovery import look_ahead
    from pinode.card.recovery import recover as recover_card
    from pinode.settings import load_settings
    from replicated_queue.errors import QueueError

    settings = load_settings(invocation.config, invocation.environment, invocation.overrides)
    data_dir = settings.node.data_dir
    if not data_dir.is_dir():
        raise Failure(
            f"there is no data directory {data_dir}", hint="name it: --data-dir DIR", code=ExitCode.NOT_FOUND
        )
    lock = lock_data_dir(data_dir)
    try:
        finish_recovery(data_dir)
        outlook = asyncio.run(look_ahead(data_dir))
        if invocation.json:
            show_json(_document(outlook))
        else:
            click.echo(outlook_in_words(outlook))
        _refuse_unconfirmed(outlook, confirm)
        last = recover_card(data_dir, outlook, random=SystemRandom(), keys=_keys_held(settings))
    except QueueError as error:
        raise Failure(str(error), hint="nothing was changed") from error
    finally:
        os.close(lock)
    say(f"recovered: the cluster is this node alone, up to entry {last.index}.")
    say(f"The log as it was is in {data_dir}/set-aside. Now: pinode start")
    say("Others that you start come back as new nodes by themselves, or say that they need a join token.")
    return ExitCode.OK


def _keys_held(settings: "Settings") -> "HeldKeys | None":
    from pinode.peers.cluster_key import read_cluster_key
    from pinode.peers.key_store import KeyStore

    try:
        return KeyStore.of(settings).load(read_cluster_key(settings.cluster.key_file))
    except FileNotFoundError:
        return None


def _refuse_unconfirmed(outlook: "Outlook", confirm: str | None) -> None:
    name = outlook.record.name
    if confirm != name:
        said = "" if confirm is None else f": {printable(confirm)!r} is not the cluster's name"
        raise Failure(
            f"nothing was changed{said}",
            hint=f"to go on with what this node holds: pinode recover --confirm {name}",
            code=ExitCode.USAGE,
        )


def outlook_in_words(outlook: "Outlook") -> str:
    """What people are told before they decide."""
    remains = outlook.remains
    others = [f"{voter.name} ({'answers' if voter.answers else 'no answer'})" for voter in outlook.voters]
    lines = [
        f"cluster {outlook.record.name}, as this node ({outlook.node_id}) knows it",
        f"  newest entry     {remains.last.index} of term {remains.last.term}, "
        f"at cluster time {ago(remains.cluster_time / 1000)}",
        f"  other voters     {', '.join(others) or 'none'}",
        f"  damage           {remains.damage or 'none'}",
        "",
        f"Kept is all up to entry {remains.last.index}, also what was not agreed on yet. Lost is what others",
        "agreed on after that: jobs, releases, users, config. Nobody can tell how much that is.",
        "Another node may hold more: run this there too. The higher term counts, then the higher entry.",
    ]
    return "\n".join(map(printable, lines))


def _document(outlook: "Outlook") -> dict[str, Any]:
    remains = outlook.remains
    return {
        "cluster": {"name": outlook.record.name, "id": outlook.record.cluster_id.hex()},
        "node_id": outlook.node_id,
        "last_index": remains.last.index,
        "last_term": remains.last.term,
        "cluster_time_ms": remains.cluster_time,
        "damage": remains.damage,
        "other_voters": [
            {"name": voter.name, "id": voter.node_id, "answers": voter.answers} for voter in outlook.voters
        ],
        "has_majority": outlook.has_majority,
    }
