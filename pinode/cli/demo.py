"""`pinode demo`: three nodes on this machine, an app deployed from a real git repository, until Ctrl-C."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import click

from pinode.cli.build_commands import follow_build, wait_for_release
from pinode.cli.demo_nodes import DemoNode, make_nodes, stop_nodes
from pinode.cli.demo_source import make_repository, served
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import say
from pinode.cli.target import app_path

Answer = TypeVar("Answer")
APP = "hello"
POLL_SECONDS = 0.1


@click.command()
@click.option("--nodes", "count", type=click.IntRange(1, 9), default=3, show_default=True)
@click.option(
    "--dir", "directory", type=click.Path(file_okay=False, path_type=Path), help="kept; else a temporary one"
)
@click.option("--app", "git_url", metavar="GIT_URL", help="deploy this instead of the example")
@click.option("--exit-after-deploy", is_flag=True, help="stop everything once the app answers")
@click.pass_obj
def demo(
    invocation: Invocation, count: int, directory: Path | None, git_url: str | None, exit_after_deploy: bool
) -> int:
    """A cluster of three nodes on this machine that builds and runs an app."""
    started = time.monotonic()
    # Ignored by who is started in the background of a script; a closed terminal is an end too.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    sandboxed = _sandboxed()
    with contextlib.ExitStack() as stack:
        folder = directory.absolute() if directory else Path(stack.enter_context(_temporary_folder()))
        nodes = stack.enter_context(_running(make_nodes(folder, count, sandboxed=sandboxed)))
        password = _found(nodes, folder / "admin-password")
        say(f"       {count} nodes agreed on a cluster after {time.monotonic() - started:.1f} s")
        url = git_url or stack.enter_context(_example(folder))
        version = _deploy(nodes[0], url)
        _wait_until_all_answer(nodes)
        _say_where(nodes, version, password, seconds=time.monotonic() - started)
        if not exit_after_deploy:
            say("\nCtrl-C stops everything.")
            _wait_for_end(nodes)
    return ExitCode.OK


def _sandboxed() -> bool:
    """Whether bubblewrap is here, installed now if we may; without it the demo is unisolated and says so."""
    if shutil.which("bwrap"):
        return True
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("-----> Installing bubblewrap, which isolates builds and apps")
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "bubblewrap"]):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(
                ["apt-get", *words], check=False, timeout=300, stdout=subprocess.DEVNULL, env=environment
            )
    if shutil.which("bwrap"):
        return True
    say("!      no bubblewrap: builds and apps run WITHOUT isolation, as you. Deploy only what you trust.")
    say("!      To isolate them: sudo apt-get install bubblewrap")
    return False


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pinode-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(nodes: list[DemoNode]) -> Iterator[list[DemoNode]]:
    say(f"-----> Starting {len(nodes)} nodes: {', '.join(f'{node.name} on {node.host}' for node in nodes)}")
    try:
        for node in nodes:
            node.start()
        yield nodes
    finally:
        # A second Ctrl-C must not leave processes behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(OSError):  # the terminal may be gone
            say("\n-----> Stopping")
        stop_nodes(nodes)


@contextlib.contextmanager
def _example(folder: Path) -> Iterator[str]:
    repositories = folder / "git"
    if not (repositories / "hello-flask").exists():
        repositories.mkdir(exist_ok=True)
        make_repository(repositories / "hello-flask")
    with served(repositories) as base:
        yield f"{base}/hello-flask"


def _until(
    nodes: Sequence[DemoNode], ask: Callable[[], Answer | None], *, seconds: float, what: str
) -> Answer:
    """The first answer of `ask`; fails when a node's process ends or the time is up."""
    deadline = time.monotonic() + seconds
    reason = ""
    while time.monotonic() < deadline:
        for node in nodes:
            if node.process and node.process.poll() is not None:
                raise Failure(f"{node.name} ended while {what}:\n{node.last_words()}")
        try:
            answer = ask()
            if answer is not None:
                return answer
        except (Failure, OSError) as error:
            reason = f": {error}"
        time.sleep(POLL_SECONDS)
    raise Failure(
        f"not within {seconds:.0f} s: {what}{reason}\n{nodes[0].last_words()}",
        hint="with --dir DIR the logs are kept: DIR/n*/node.log",
    )


def _found(nodes: Sequence[DemoNode], password_file: Path) -> str:
    """Wait for the cluster and register its administrator; the password, which a kept folder keeps."""
    client = nodes[0].client()
    _until(
        nodes,
        lambda: client.get("/api/v1/status")["cluster"]["has_quorum"] or None,
        seconds=60,
        what="founding a cluster and electing a leader",
    )
    answer = _until(
        nodes,
        lambda: client.get("/api/v1/local/setup-code"),
        seconds=60,
        what="hearing whether there is an administrator",
    )
    code = answer["setup_code"]
    password = secrets.token_urlsafe(9)
    try:
        client.post("/api/v1/users", {"username": "admin", "password": password, "setup_code": code or ""})
    except Failure as failure:
        # A folder that was kept has its administrator already, which this node may be about to learn.
        if failure.code not in (ExitCode.CONFLICT, ExitCode.NOT_ALLOWED):
            raise
        return password_file.read_text() if password_file.exists() else "(as you chose it)"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    return password


def _deploy(node: DemoNode, url: str) -> int:
    say(f"-----> Deploying {url} as {APP!r}")
    client = node.client()
    known = [app["name"] for app in client.get("/api/v1/apps")["items"]]
    if APP not in known:
        client.post("/api/v1/apps", {"name": APP, "git_url": url})
    build = client.post(app_path(APP, "builds"), {"git_url": url})
    follow_build(client, APP, build["id"], indent="       ")
    version: int = wait_for_release(client, APP, build["id"])["version"]
    return version


def _wait_until_all_answer(nodes: Sequence[DemoNode]) -> None:
    for node in nodes:
        url = _app_url(node)
        _until(nodes, partial(_answered, url), seconds=60, what=f"waiting for an answer at {url}")


def _answered(url: str) -> int | None:
    """The status of an answer that came from the app."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return None if error.code in (502, 503, 504) else error.code


def _app_url(node: DemoNode) -> str:
    port = int(str(node.client().get(app_path(APP))["url"]).rstrip("/").rpartition(":")[2])
    return f"http://{node.host}:{port}/"


def _say_where(nodes: Sequence[DemoNode], version: int, password: str, *, seconds: float) -> None:
    say(f"\n-----> {APP} v{version} answers on all {len(nodes)} nodes, {seconds:.1f} s after the start\n")
    for node in nodes:
        click.echo(f"  {node.name}   app {_app_url(node)}   web {node.web_url}")
    click.echo(f"\n  log in as admin with the password {password}")
    click.echo("  the browser warns of the certificate once: it is of the demo's own authority")
    click.echo(f"  in another terminal: {_command()} --config {nodes[0].folder}/cluster.toml status")


def _command() -> str:
    return sys.argv[0] if sys.argv[0].endswith("/pinode") else "pinode"


def _wait_for_end(nodes: Sequence[DemoNode]) -> None:
    """Until Ctrl-C, or until no node runs; one that ended may be started again by hand."""
    gone: set[str] = set()
    with contextlib.suppress(KeyboardInterrupt):
        while len(gone) < len(nodes):
            for node in nodes:
                runs = node.runs()
                if not runs and node.name not in gone:
                    gone.add(node.name)
                    say(f"!      {node.name} ended; the others go on")
                    say(f"       start it again: {_command()} --config {node.folder}/cluster.toml start")
                elif runs and node.name in gone:
                    gone.remove(node.name)
                    say(f"       {node.name} is back")
            time.sleep(0.5)
