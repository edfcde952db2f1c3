"""Commands about who one is: log in to a cluster from elsewhere, trust its authority, and out again."""

import http.client
import socket
import ssl
import sys
from pathlib import Path

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.doors import ServerDoor, server_door
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.logins import Login, Logins, fingerprint
from pinode.cli.output import printable, say, show_json

SECONDS = 10.0
AUTHORITY_BYTES = 64 * 1024
SECRET_BYTES = 4096


@click.command()
@click.argument("server", required=False)
@click.option("--username", help="else it is asked for")
@click.option(
    "--password", metavar="-|@FILE", help="from standard input, or from a file; else it is asked for"
)
@click.option(
    "--fingerprint", "expected", metavar="SHA256", help="of the authority to trust; else you are asked"
)
@click.pass_obj
def auth_login(
    invocation: Invocation,
    server: str | None,
    username: str | None,
    password: str | None,
    expected: str | None,
) -> int:
    """Log in to the cluster behind a node's address, for this and all later commands.

    The first time you are shown the fingerprint of the cluster's authority and asked whether it is the one
    that `pinode start` shows on a node; from then on no other one is trusted for this address.
    """
    named = server or (invocation.servers[0] if invocation.servers else None)
    if named is None:
        raise Failure(
            "which cluster?",
            hint="name a node: pinode auth:login https://pi1.local:8000",
            code=ExitCode.USAGE,
        )
    logins = Logins(invocation.environment)
    door = server_door(named, ssl.create_default_context())
    authority = _trusted(invocation, logins, door, expected)
    door = server_door(named, ssl.create_default_context(cadata=authority))
    username = username or _asked(invocation, "User name", "--username NAME")
    secret = _secret(invocation, password)
    client = ApiClient(invocation, [door])
    wanted = {"username": username, "password": secret, "label": f"pinode on {socket.gethostname()}"}
    made = client.post("/api/v1/sessions", wanted)
    logins.keep(Login(server=door.address, user=made["username"], token=made["token"], authority=authority))
    say(f"logged in to {door.address} as {made['username']}")
    return ExitCode.OK


@click.command()
@click.pass_obj
def auth_logout(invocation: Invocation) -> int:
    """End the login here, and on the cluster."""
    login = _login(invocation)
    try:
        ApiClient(invocation).request("DELETE", "/api/v1/sessions")
    except Failure as failure:
        say(f"the cluster was not told: {printable(str(failure))}")
    Logins(invocation.environment).forget(login.server)
    say(f"logged out of {login.server}")
    return ExitCode.OK


@click.command()
@click.pass_obj
def auth_whoami(invocation: Invocation) -> int:
    """Who you are to the cluster."""
    me = ApiClient(invocation).get("/api/v1/me")
    if invocation.json:
        show_json(me)
    else:
        click.echo(me["username"])
        say(f"{me['role']}, known by a {me['by']}")
    return ExitCode.OK


@click.command()
@click.option("--git", is_flag=True, help="answer git, as a credential helper")
@click.argument("operation", required=False)
@click.pass_obj
def auth_token(invocation: Invocation, git: bool, operation: str | None) -> int:
    """Print the token of your login, for other programs."""
    if git:
        return _answer_git(invocation, operation)
    click.echo(_login(invocation).token)
    return ExitCode.OK


def _answer_git(invocation: Invocation, operation: str | None) -> int:
    """The protocol of gitcredentials(7): git says for what, we say the password; we store nothing."""
    if operation != "get":
        return ExitCode.OK
    asked = dict(line.rstrip("\n").partition("=")[::2] for line in sys.stdin)
    login = Logins(invocation.environment).of(f"{asked.get('protocol', '')}://{asked.get('host', '')}")
    if login is not None:
        click.echo(f"username={login.user}\npassword={login.token}")
    return ExitCode.OK


def _login(invocation: Invocation) -> Login:
    logins = Logins(invocation.environment)
    found = logins.of(invocation.servers[0]) if invocation.servers else next(iter(logins.all()), None)
    if found is None:
        raise Failure(
            "you are not logged in",
            hint="pinode auth:login https://pi1.local:8000",
            code=ExitCode.NOT_ALLOWED,
        )
    return found


def _trusted(invocation: Invocation, logins: Logins, door: ServerDoor, expected: str | None) -> str:
    """The authority of the cluster there, in PEM: pinned before, named by its fingerprint, or agreed to."""
    authority = _authority_of(door)
    found = fingerprint(authority)
    if expected is not None:
        if _bare(expected) != _bare(found):
            raise Failure(
                f"{door} shows another authority: {found}",
                hint="is the address right?",
                code=ExitCode.NOT_ALLOWED,
            )
        return authority
    known = logins.of(door.address)
    if known is not None:
        if known.authority == authority:
            return authority
        raise Failure(
            f"{door} shows another authority than before: {found}",
            hint="if the cluster was founded anew, say so: --fingerprint " + found,
            code=ExitCode.NOT_ALLOWED,
        )
    say(f"{door.address} shows this authority (SHA-256):\n  {found}")
    if not invocation.may_ask:
        raise Failure(
            "nobody is here to say whether it is the right one",
            hint=f"compare it with what `pinode start` shows, then: --fingerprint {found}",
            code=ExitCode.NOT_ALLOWED,
        )
    if not click.confirm(
        "Is it the one that `pinode start` and the login page show?", default=False, err=True
    ):
        raise Failure("not trusted, so not logged in", code=ExitCode.NOT_ALLOWED)
    return authority


def _authority_of(door: ServerDoor) -> str:
    """What the server says its authority is, if its own certificate is really of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # trusted after it was compared
    unverified = ServerDoor(door.server, door.host, door.port, context)
    connection = unverified.connected(within_seconds=SECONDS)
    try:
        connection.request("GET", "/ca.pem")
        pem = connection.getresponse().read(AUTHORITY_BYTES).decode("ascii")
        fingerprint(pem)
        context = ssl.create_default_context(cadata=pem)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Failure(f"{door} shows no authority ({error})", hint="is a node of pinode there?") from error
    finally:
        connection.close()
    ServerDoor(door.server, door.host, door.port, context).connected(within_seconds=SECONDS).close()
    return pem


def _asked(invocation: Invocation, what: str, flag: str) -> str:
    if not invocation.may_ask:
        raise Failure(f"{what.lower()}?", hint=flag, code=ExitCode.USAGE)
    return str(click.prompt(what, err=True))


def _secret(invocation: Invocation, given: str | None) -> str:
    """The password; never from the command line, where others can read it."""
    if given is None:
        if not invocation.may_ask:
            raise Failure("password?", hint="--password - reads it from standard input", code=ExitCode.USAGE)
        return str(click.prompt("Password", hide_input=True, err=True))
    if given == "-":
        return sys.stdin.read(SECRET_BYTES).rstrip("\r\n")
    if given.startswith("@"):
        try:
            return Path(given[1:]).read_text()[:SECRET_BYTES].rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"cannot read {given[1:]} ({error})", code=ExitCode.USAGE) from error
    raise Failure(
        "a password on the command line can be read by others",
        hint="--password - or --password @FILE",
        code=ExitCode.USAGE,
    )


def _bare(text: str) -> str:
    return text.replace(":", "").replace(" ", "").upper()
