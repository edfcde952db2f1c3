"""Commands about this machine's node: init, stop, setup-code, version."""

import sys
import time
from pathlib import Path

import click

from pinode import __version__
from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import say, show_json
from pinode.errors import SettingsError

POLL_SECONDS = 0.05
CLUSTER_TOML = """\
# The settings of this cluster: one file, the same on every Pi. Every key has a default; the cluster.toml that
# comes with pinode documents them all.
[cluster]
name = "{name}"
expect = {expect}  # the cluster is founded when so many Pis see each other
join = [{join}]  # "host" or "host:port" of any of them; empty: they find each other on the LAN
key_file = "cluster.key"  # beside this file; who has it is a member
"""


@click.command()
@click.option(
    "--expect", type=click.IntRange(1, 64), default=1, show_default=True, help="how many Pis you begin with"
)
@click.option("--name", default="home", show_default=True, help="shown to people")
@click.option("--join", "join", multiple=True, metavar="HOST", help="address of a Pi; give one for each")
@click.option("--dir", "directory", type=click.Path(file_okay=False, path_type=Path), default=Path("."))
@click.pass_obj
def init(invocation: Invocation, expect: int, name: str, join: tuple[str, ...], directory: Path) -> int:
    """Write cluster.toml and cluster.key; copy both to every other Pi."""
    settings_file, key_file = directory / "cluster.toml", directory / "cluster.key"
    for path in (settings_file, key_file):
        if path.exists() or path.is_symlink():
            raise Failure(
                f"{path} exists already, nothing was changed",
                hint="`pinode start` uses it; to begin anew, move it away first",
                code=ExitCode.CONFLICT,
            )
    text = CLUSTER_TOML.format(name=name, expect=expect, join=", ".join(f'"{host}"' for host in join))
    try:
        _write_both(settings_file, text, key_file)
    except OSError as error:
        raise Failure(f"cannot write into {directory}: {error.strerror or error}") from error
    say(f"wrote {settings_file} and {key_file}")
    if expect > 1:
        others = "Pi" if expect == 2 else f"{expect - 1} Pis"
        say(f"Copy both files to the other {others} (the key is secret: scp, not mail).")
        say("Then, on each of them and here, in any order, with the two files in the same folder:")
    say(f"  {next_step(settings_file)}")
    return ExitCode.OK


def next_step(settings_file: Path) -> str:
    """The command that runs a node with these settings."""
    from pinode.settings.loading import SYSTEM_FILE

    if settings_file.absolute() == SYSTEM_FILE:
        return "sudo pinode install"
    return "pinode start" + (f" --config {settings_file}" if settings_file.parent != Path(".") else "")


def _write_both(settings_file: Path, text: str, key_file: Path) -> None:
    """Both files, or neither. Raises `SettingsError` when a node would not start with them."""
    from pinode.peers.cluster_key import new_cluster_key, write_cluster_key
    from pinode.peers.durable_files import write_durably
    from pinode.settings import load_settings

    write_durably(settings_file, text.encode(), mode=0o644, replace=False)
    try:
        load_settings(settings_file, {})
        write_cluster_key(key_file, new_cluster_key())
    except (SettingsError, OSError):
        settings_file.unlink()
        raise


@click.command()
@click.option("--all", "everything", is_flag=True, help="end all at once, hand nothing over")
@click.option("--wait", "wait_seconds", type=click.FloatRange(0), default=60, show_default=True)
@click.pass_obj
def stop(invocation: Invocation, everything: bool, wait_seconds: float) -> int:
    """Hand over leadership, end this node's dynos, then the node."""
    stop_node(invocation, everything=everything, wait_seconds=wait_seconds)
    say("stopped")
    return ExitCode.OK


def stop_node(invocation: Invocation, *, everything: bool, wait_seconds: float) -> None:
    """Have the node end with its dynos; returns when it has. Raises `Failure`."""
    pid = ApiClient(invocation).request("POST", "/api/v1/local/stop", body={"all": everything})["pid"]
    deadline = time.monotonic() + wait_seconds
    while is_running(int(pid)):
        if time.monotonic() > deadline:
            raise Failure(
                f"the node (pid {pid}) is still stopping after {wait_seconds:g} s",
                hint="its log says what it waits for; --all ends it at once",
                code=ExitCode.TIMED_OUT,
            )
        time.sleep(POLL_SECONDS)


def is_running(pid: int) -> bool:
    """Whether there is such a process, other than one that ended and waits for its parent to notice."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


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
    if invocation.json:
        show_json(document)
    else:
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
