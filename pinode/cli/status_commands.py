"""Commands that show the cluster: status, nodes, queue."""

import shutil
import sys
import textwrap
from typing import Any

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Invocation
from pinode.cli.output import ago, printable, show_json, size, table

WIDEST = 100
TOPIC_HEADINGS = ("topic", "ready", "delayed", "leased", "buried")


@click.command()
@click.pass_obj
def status(invocation: Invocation) -> int:
    """The cluster as this node sees it; what is wrong stands first."""
    document = ApiClient(invocation).get("/api/v1/status")
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    click.echo(_summary(document))
    for warning in document["warnings"]:
        click.echo(_wrapped(f"! {printable(warning)}"))
    click.echo("")
    _show_nodes(invocation, document["nodes"])
    topics = [{"name": name, **counts} for name, counts in document["queue"].items() if any(counts.values())]
    if topics:
        click.echo("")
        show_topics(invocation, topics)
    return ExitCode.OK


def _summary(document: dict[str, Any]) -> str:
    cluster, members = document["cluster"], document["nodes"]
    alive = sum(node["state"] == "alive" for node in members)
    leader = f"leader {cluster['leader']}" if cluster["leader"] else "no leader"
    heard = "" if cluster["has_quorum"] else f" (last heard {ago(cluster['view_age_seconds'])} ago)"
    return (
        f"{cluster['name']}: {alive} of {len(members)} nodes alive, {leader}{heard}, "
        f"term {cluster['term']}, {cluster['commit_index']} entries agreed"
    )


def _wrapped(text: str) -> str:
    """The text in lines of the terminal's width; in a file each warning stays on a line of its own."""
    if not sys.stdout.isatty():
        return text
    width = min(shutil.get_terminal_size().columns, WIDEST)
    return textwrap.fill(text, width=width, subsequent_indent="  ", break_on_hyphens=False)


def _show_nodes(invocation: Invocation, members: list[dict[str, Any]]) -> None:
    """The server has put the sick ones first."""
    heads = ("node", "state", "role", "address", "dynos", "builds", "cpu", "mem", "free", "heat", "up")
    table(invocation, heads, [_row(node) for node in members])


def _row(node: dict[str, Any]) -> tuple[object, ...]:
    stats = node["stats"]
    host = node["address"].rpartition(":")[0]
    begin = (node["name"], _state(node), node["role"], host)
    if stats["age_seconds"] is None or node["state"] in ("dead", "left"):
        return (*begin, *[""] * 7)  # old numbers mislead
    heat = stats["temperature_celsius"]
    return (
        *begin,
        node["dynos"],
        node["builds"] or "",
        f"{stats['cpu_percent']:.0f} %",
        f"{stats['memory_percent']:.0f} %",
        size(stats["disk_free_bytes"]),
        "" if heat is None else f"{heat:.0f} °C",
        ago(node["uptime_seconds"]),
    )


def _state(node: dict[str, Any]) -> str:
    """Whether it lives, and what it is told to do."""
    availability = node.get("availability", "active")  # an older node does not say
    return str(node["state"]) if availability == "active" else f"{node['state']}, {availability}"


@click.command()
@click.pass_obj
def nodes(invocation: Invocation) -> int:
    """The nodes, one a line."""
    found = ApiClient(invocation).items("/api/v1/nodes")
    if invocation.json:
        show_json({"items": found, "next": None})
        return ExitCode.OK
    rows = [
        (
            node["name"],
            _state(node),
            node["role"],
            node["web"],
            ",".join(node["roles"]),
            node["version"],
            node["arch"],
            node["python"],
        )
        for node in found
    ]
    table(invocation, ("node", "state", "role", "web", "does", "version", "arch", "python"), rows)
    return ExitCode.OK


def show_topics(invocation: Invocation, topics: list[dict[str, Any]]) -> None:
    """A table of how many jobs each topic has."""
    rows = [
        (topic["name"], topic["ready"], topic["delayed"], topic["leased"], topic["buried"])
        for topic in sorted(topics, key=lambda topic: str(topic["name"]))
    ]
    table(invocation, TOPIC_HEADINGS, rows)
