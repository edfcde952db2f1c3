"""What git needs: to push an app to the cluster, and, in builds, to fetch from a private repository."""

import shlex
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.logins import Login, Logins
from pinode.cli.output import say
from pinode.cli.target import app_option, app_path, chosen_app

REMOTE = "pinode"
GIT_SECONDS = 10
KEY_BYTES = 16 * 1024


@click.command()
@app_option
@click.pass_obj
def git_remote(invocation: Invocation, app: str | None) -> int:
    """Let `git push pinode main` deploy the app from the repository in this folder.

    Adds the remote `pinode` with the address of the cluster, and for that address alone its authority and a
    helper that gives git the token of your login; no token is written into the repository.
    """
    name = chosen_app(invocation, app)
    client = ApiClient(invocation)
    document = client.get(app_path(name))
    _git("rev-parse", "--git-dir")
    login = _login(invocation, client, urllib.parse.urlsplit(document["url"]).hostname)
    url = f"{login.server}/git/{name}.git"
    authority = Logins(invocation.environment).authority_file(login)
    remotes = _git("remote").split()
    _git("remote", "set-url" if REMOTE in remotes else "add", REMOTE, url)
    _git("config", f"http.{login.server}/.sslCAInfo", str(authority))
    helper = f"credential.{login.server}.helper"
    _git("config", "--replace-all", helper, "")  # no other helper is asked, or keeps the token
    _git("config", "--add", helper, f"!{_this_program()} auth:token --git")
    say(f"the remote {REMOTE} is {url}")
    if "GIT_SSL_CAINFO" in invocation.environment:
        say("!      GIT_SSL_CAINFO is set here, and git believes it rather than the cluster's authority;")
        say(f"!      so push without it: env -u GIT_SSL_CAINFO git push {REMOTE} main")
    click.echo(f"git push {REMOTE} main")
    return ExitCode.OK


@click.command()
@app_option
@click.option("--generate", is_flag=True, help="make a new key; the old one is forgotten")
@click.option(
    "--file", "path", metavar="FILE", help="use this private key of OpenSSH; - reads standard input"
)
@click.option("--remove", is_flag=True, help="use none any more")
@click.pass_obj
def git_key(invocation: Invocation, app: str | None, generate: bool, path: str | None, remove: bool) -> int:
    """The deploy key by which the app's private repository is fetched over ssh; shows its public part.

    Give the public part to the git server as a key that may read. The private part is never shown.
    """
    if generate + remove + (path is not None) > 1:
        raise Failure("one of --generate, --file and --remove", code=ExitCode.USAGE)
    client, where = ApiClient(invocation), app_path(chosen_app(invocation, app), "deploy-key")
    if remove:
        client.request("DELETE", where)
        say("the deploy key is forgotten")
        return ExitCode.OK
    if generate or path is not None:
        document = client.post(where, {"private_key": None if path is None else _read_key(path)})
    else:
        document = client.get(where)
    if document["public_key"] is None:
        raise Failure("the app has no deploy key", hint="pinode git:key --generate", code=ExitCode.NOT_FOUND)
    click.echo(document["public_key"])
    return ExitCode.OK


def _read_key(path: str) -> str:
    try:
        return sys.stdin.read(KEY_BYTES) if path == "-" else Path(path).read_text()[:KEY_BYTES]
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {path} ({error})", code=ExitCode.USAGE) from error


def _login(invocation: Invocation, client: ApiClient, host: str | None) -> Login:
    """The login that git is to use. On a node, whose administrator needs none, a token is made for it."""
    logins = Logins(invocation.environment)
    if client.server is not None:
        login = logins.of(client.server)
        if login is None:
            raise Failure(
                f"there is no login for {client.server} that git could use",
                hint=f"pinode auth:login {client.server}",
                code=ExitCode.NOT_ALLOWED,
            )
        return login
    nodes = [node for node in client.items("/api/v1/nodes") if node["state"] == "alive"]
    node = min(nodes, key=lambda node: urllib.parse.urlsplit(node["web"]).hostname != host)  # this one
    login = logins.of(node["web"])
    if login is not None:
        return login
    made = client.post("/api/v1/tokens", {"label": f"git on {node['name']}"})
    user = client.get("/api/v1/me")["username"]
    authority = client.text("/ca.pem")
    login = Login(server=node["web"].rstrip("/"), user=user, token=made["token"], authority=authority)
    logins.keep(login)
    return login


def _this_program() -> str:
    found = shutil.which("pinode")
    return shlex.quote(found) if found else f"{shlex.quote(sys.executable)} -P -m pinode"


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"git did not run ({error})", hint="is git installed?") from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it did not say why"])[0]
        where = Path.cwd()
        hint = f"is {where} a git repository? `git init` makes one" if words[0] == "rev-parse" else None
        raise Failure(f"git {words[0]}: {said}", hint=hint)
    return done.stdout
