"""Commands about this node and the cluster: init, start, stop, status, nodes, setup-code, version."""

import base64
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any

import click

from pinode import __version__
from pinode.cli.api_client import ApiClient, data_dir_override
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import ago, say, show_json, size, table
from pinode.settings import load_settings

STATE_ORDER = {"dead": 0, "suspect": 1, "left": 2, "alive": 3}
CLUSTER_TOML = """\
# The same file on every Pi. Every key has a default; the documented ones are in pinode's own cluster.toml.
[cluster]
name = "{name}"
expect = {expect}            # the cluster is founded when so many Pis see each other
join = {join}               # "host" or "host:port" of other Pis; empty: they find each other on the LAN
key_file = "cluster.key"  # beside this file; who has it is a member
"""


@click.command()
@click.option(
    "--expect", type=click.IntRange(1, 20), default=1, show_default=True, help="how many Pis you begin with"
)
@click.option("--name", default="home", show_default=True, help="shown to people")
@click.option("--join", "join", multiple=True, metavar="HOST", help="address of a Pi; give one for each")
@click.option("--dir", "directory", type=click.Path(file_okay=False, path_type=Path), default=Path("."))
@click.pass_obj
def init(invocation: Invocation, expect: int, name: str, join: tuple[str, ...], directory: Path) -> int:
    """Write cluster.toml and cluster.key; copy both to every other Pi."""
    settings_file, key_file = directory / "cluster.toml", directory / "cluster.key"
    for path in (settings_file, key_file):
        if path.exists():
            raise Failure(
                f"{path} exists already",
                hint="`pinode start` uses it; remove it to begin anew",
                code=ExitCode.CONFLICT,
            )
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(key_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "wb") as key:
        key.write(base64.b64encode(secrets.token_bytes(32)) + b"\n")
    quoted = ", ".join(f'"{host}"' for host in join)
    settings_file.write_text(CLUSTER_TOML.format(name=name, expect=expect, join=f"[{quoted}]"))
    load_settings(settings_file, {}, {})
    say(f"wrote {settings_file} and {key_file}")
    if expect > 1:
        say(
            f"copy both to the other {expect - 1} Pis (the key is secret: scp, not mail); then, in any order:"
        )
    say(f"  pinode start --config {settings_file}")
    return ExitCode.OK


@click.command()
@click.pass_obj
def start(invocation: Invocation) -> int:
    """Run this node in the foreground. SIGTERM ends it and leaves its dynos running."""
    from pinode.node_process import run_node  # aiohttp and cryptography are imported only by a node

    return run_node(invocation.config, invocation.environment, data_dir_override(invocation))


@click.command()
@click.option("--all", "everything", is_flag=True, help="end dynos at once, hand nothing over")
@click.option("--wait", "wait_seconds", type=float, default=60, show_default=True)
@click.pass_obj
def stop(invocation: Invocation, everything: bool, wait_seconds: float) -> int:
    """Hand over leadership, end this node's dynos, then the node."""
    client = ApiClient(invocation)
    pid = client.post("/api/v1/local/stop", {"all": everything})["pid"]
    deadline = time.monotonic() + wait_seconds
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            raise Failure(
                f"the node (pid {pid}) is still stopping after {wait_seconds:.0f} s", code=ExitCode.TIMED_OUT
            )
        time.sleep(0.05)
    say("stopped")
    return ExitCode.OK


@click.command()
@click.pass_obj
def status(invocation: Invocation) -> int:
    """The cluster as this node sees it; what is wrong stands first."""
    document = ApiClient(invocation).get("/api/v1/status")
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    _show_status(invocation, document)
    return ExitCode.OK


def _show_status(invocation: Invocation, document: dict[str, Any]) -> None:
    cluster = document["cluster"]
    if cluster["has_quorum"]:
        click.echo(
            f"{cluster['name']}: leader {cluster['leader']}, term {cluster['term']}, "
            f"{cluster['commit_index']} entries agreed"
        )
    else:
        click.echo(
            f"{cluster['name']}: NO QUORUM for {ago(cluster['view_age_seconds'])}: running apps go on, "
            "changes are refused until more than half of the nodes are back"
        )
    for warning in document["warnings"]:
        click.echo(f"! {warning}")
    click.echo("")
    rows = []
    for node in sorted(document["nodes"], key=lambda node: (STATE_ORDER[node["state"]], node["name"])):
        stats = node["stats"]
        known = stats["age_seconds"] is not None
        heat = stats["temperature_celsius"]
        rows.append(
            (
                node["name"],
                node["state"],
                node["role"],
                node["address"],
                node["dynos"],
                node["builds"],
                f"{stats['cpu_percent']:.0f} %" if known else "",
                f"{stats['memory_percent']:.0f} %" if known else "",
                f"{size(stats['disk_free_bytes'])} free" if known else "",
                f"{heat:.0f} °C" if heat is not None else "",
                ago(node["uptime_seconds"]) if node["state"] == "alive" else "",
            )
        )
    heads = ("node", "state", "role", "address", "dynos", "builds", "cpu", "memory", "disk", "heat", "up")
    table(invocation, heads, rows)
    topics = {name: counts for name, counts in document["queue"].items() if any(counts.values())}
    if topics:
        click.echo("")
        table(invocation, ("topic", "ready", "delayed", "leased", "buried"), _topic_rows(topics))


def _topic_rows(topics: dict[str, dict[str, int]]) -> list[tuple[object, ...]]:
    return [
        (name, counts["ready"], counts["delayed"], counts["leased"], counts["buried"])
        for name, counts in sorted(topics.items())
    ]


@click.command()
@click.pass_obj
def nodes(invocation: Invocation) -> int:
    """The nodes, one a line."""
    document = ApiClient(invocation).get("/api/v1/nodes")
    if invocation.json:
        show_json(document)
        return ExitCode.OK
    rows = [
        (
            node["name"],
            node["state"],
            node["role"],
            node["address"],
            ",".join(node["roles"]),
            node["version"],
            node["arch"],
        )
        for node in document["items"]
    ]
    table(invocation, ("node", "state", "role", "address", "does", "version", "arch"), rows)
    return ExitCode.OK


@click.command()
@click.pass_obj
def setup_code(invocation: Invocation) -> int:
    """Show the code with which the first user registers, until it is used."""
    document = ApiClient(invocation).get("/api/v1/local/setup-code")
    if document["setup_code"] is None:
        raise Failure(
            "the setup code has been used: there is an administrator already",
            hint="log in, or ask them",
            code=ExitCode.CONFLICT,
        )
    click.echo(document["setup_code"])
    return ExitCode.OK


@click.command()
@click.pass_obj
def version(invocation: Invocation) -> int:
    """Show the version."""
    if invocation.json:
        show_json({"version": __version__, "python": sys.version.split()[0]})
    else:
        click.echo(f"pinode {__version__}")
    return ExitCode.OK
