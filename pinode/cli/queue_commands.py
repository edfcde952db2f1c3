"""Commands about the queue."""

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Invocation
from pinode.cli.output import say, show_json, table


@click.command()
@click.pass_obj
def queue(invocation: Invocation) -> int:
    """The topics and how many jobs each has."""
    document = ApiClient(invocation).get("/api/v1/queue/topics")
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    rows = [
        (topic["name"], topic["ready"], topic["delayed"], topic["leased"], topic["buried"])
        for topic in document["items"]
    ]
    if rows:
        table(invocation, ("topic", "ready", "delayed", "leased", "buried"), rows)
    else:
        say("no topics yet: the first put makes one")
    return ExitCode.OK
