"""`pinode start`: this process becomes the node, so nothing is imported here that a node does not need."""

import click

from pinode.cli.invocation import Invocation
from pinode.cli.join_flags import hide_tokens, what_to_join


@click.command()
@click.option(
    "--join",
    "join",
    multiple=True,
    metavar="TOKEN|@FILE|HOST",
    help="join the cluster of this token, or, with its cluster.key copied here, that of this node",
)
@click.option("--moved", is_flag=True, help="this card was moved here on purpose, its old machine is off")
@click.pass_obj
def start(invocation: Invocation, join: tuple[str, ...], moved: bool) -> int:
    """Run this node in the foreground. SIGTERM ends it and leaves its dynos running."""
    hide_tokens(join)
    from pinode.node_process import run_node  # cryptography is imported only by a node

    asked = what_to_join(join)
    overrides = invocation.overrides
    if asked.hosts:
        overrides["cluster.join"] = ",".join(asked.hosts)
    return run_node(
        invocation.config, invocation.environment, overrides, asked.joining, is_moved_on_purpose=moved
    )
