"""The ways to a node, in the order they are tried: sockets on the machine itself, else the servers named."""

import http.client
import socket
import ssl
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.logins import WEB_PORT, Logins
from pinode.local_door import SOCKET, SYSTEM_FOLDER, SYSTEM_GROUP

SYSTEM_FOLDERS = (SYSTEM_FOLDER, Path("/var/lib/pinode"))  # of the system unit, of a node run as root
KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Shut(Failure):
    """Nobody opened at this door; `tried` is the door and the reason in a few words."""

    def __init__(self, tried: str, what: str, *, hint: str, code: ExitCode) -> None:
        super().__init__(what, hint=hint, code=code)
        self.tried = tried


@dataclass(frozen=True, slots=True)
class SocketDoor:
    """A node's unix socket: whoever can open it is its administrator."""

    path: Path
    takes_token = False

    def __str__(self) -> str:
        return f"the node's socket {self.path}"

    def connected(self, *, within_seconds: float) -> http.client.HTTPConnection:
        """A connection. Raises `Shut`."""
        connection = http.client.HTTPConnection("localhost", timeout=within_seconds)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(within_seconds)
        try:
            connection.sock.connect(str(self.path))
        except PermissionError as error:
            connection.close()
            raise Shut(
                f"{self} (permission denied)",
                f"may not use {self}: it belongs to the administrator of this node",
                hint=f"try: sudo pinode …{self._how_without_sudo}",
                code=ExitCode.NOT_ALLOWED,
            ) from error
        except OSError as error:
            connection.close()
            raise _no_answer(
                self,
                error,
                hint="is `pinode start` running here? Elsewhere name a node: --server https://pi1.local:8000",
            ) from error
        return connection

    @property
    def _how_without_sudo(self) -> str:
        is_of_unit = self.path.parent == SYSTEM_FOLDER
        return f" (or join its group: sudo usermod -aG {SYSTEM_GROUP} $USER)" if is_of_unit else ""


@dataclass(frozen=True, slots=True)
class ServerDoor:
    """A node's HTTPS address."""

    server: str  # as it was named
    host: str
    port: int
    context: ssl.SSLContext
    token: str = field(default="", repr=False)  # of a login there
    takes_token = True

    def __str__(self) -> str:
        return self.server

    def connected(self, *, within_seconds: float) -> http.client.HTTPConnection:
        """A connection. Raises `Shut`."""
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=within_seconds, context=self.context
        )
        try:
            connection.connect()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEP_ALIVE:  # so that a node that vanishes ends what follows its log
                connection.sock.setsockopt(socket.IPPROTO_TCP, option, value)
        except ssl.SSLCertVerificationError as error:
            raise Shut(
                f"{self} (its certificate is not trusted)",
                f"the certificate of {self} is not trusted: {error.verify_message}",
                hint=f"pinode auth:login {self.address} pins it; PINODE_CA names a copy of its /ca.pem",
                code=ExitCode.NO_NODE,
            ) from error
        except OSError as error:
            raise _no_answer(self, error, hint="is a node running there, and the address right?") from error
        return connection

    @property
    def address(self) -> str:
        """The whole address."""
        return f"https://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


Door = SocketDoor | ServerDoor


def doors(invocation: Invocation) -> list[Door]:
    """All ways to try. Raises `Failure` or `SettingsError` for what cannot be one."""
    if invocation.servers:
        return _server_doors(invocation, invocation.servers)
    sockets = [SocketDoor(path) for path in socket_paths(invocation)]
    if not (invocation.data_dir or invocation.config or any(_may_be_there(door.path) for door in sockets)):
        newest = next(iter(Logins(invocation.environment).all()), None)
        if newest is not None:  # there is no node here: the one that was logged in to
            return _server_doors(invocation, [newest.server])
    return [*sockets]


def _may_be_there(path: Path) -> bool:
    """Whether there is such a file, or something that only its owner may look into."""
    try:
        return path.exists()
    except PermissionError:
        return True


def _server_doors(invocation: Invocation, servers: Sequence[str]) -> list[Door]:
    """Each under the authority that `PINODE_CA` names, else under the one its login pinned."""
    named = invocation.environment.get("PINODE_CA")
    context = _context(named)
    found: list[Door] = []
    for server in servers:
        door = server_door(server, context)
        login = Logins(invocation.environment).of(door.address)
        if login is not None:
            pinned = context if named else ssl.create_default_context(cadata=login.authority)
            door = replace(door, context=pinned, token=login.token)
        found.append(door)
    return found


def socket_paths(invocation: Invocation) -> list[Path]:
    """Where this machine's node may listen; who names a data directory or a file means that node alone."""
    if invocation.data_dir:
        return [invocation.data_dir / SOCKET]
    from pinode.settings import load_settings  # costs a third of `pinode status`

    try:
        settings = load_settings(invocation.config, invocation.environment)
    except PermissionError as error:
        raise Failure(
            f"may not read {error.filename}", hint="try: sudo pinode …", code=ExitCode.NOT_ALLOWED
        ) from error
    own = settings.node.data_dir / SOCKET
    if invocation.config:
        return [own]
    others = [folder / SOCKET for folder in SYSTEM_FOLDERS if folder.exists()]
    return [own, *(path for path in others if path != own)]


def _no_answer(door: Door, error: OSError, *, hint: str) -> Shut:
    reason = error.strerror or str(error) or type(error).__name__
    return Shut(
        f"{door} ({reason})",
        f"no node answers: tried {door} ({reason})",
        hint=hint,
        code=ExitCode.NO_NODE,
    )


def _context(authority: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise Failure(
            f"PINODE_CA={authority} is not a file of certificates ({error.strerror or error})",
            hint="it is what https://<a node>:8000/ca.pem gives",
            code=ExitCode.USAGE,
        ) from error


def server_door(server: str, context: ssl.SSLContext) -> ServerDoor:
    """The door of a server as people write it. Raises `Failure` for what cannot be one."""
    try:
        url = urllib.parse.urlsplit(server if "//" in server else f"https://{server}")
        host, port = url.hostname, url.port
        host = host.encode("ascii").decode() if host else None
    except ValueError:
        host, port = None, None
    rest = not host or url.scheme != "https" or url.username is not None or url.path.strip("/") or url.query
    if rest or not host or not server.isprintable():
        raise Failure(
            f"the server {server!r} is not the address of a node",
            hint="for example: --server https://pi1.local:8000 (several with commas between)",
            code=ExitCode.USAGE,
        )
    return ServerDoor(server, host, WEB_PORT if port is None else port, context)
