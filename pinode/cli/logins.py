"""What `pinode auth:login` learnt, and where it is kept: servers, tokens, the authorities to trust."""

import hashlib
import json
import os
import ssl
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pinode.cli.invocation import ExitCode, Failure

VERSION = 1
WEB_PORT = 8000
FILE = "logins.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One server one has logged in to."""

    server: str  # https://host:port
    user: str
    token: str = field(repr=False)
    authority: str = field(repr=False)  # the cluster's, in PEM


class Logins:
    """The file `~/.config/pinode/logins.json`, for its owner's eyes only; the newest login stands first."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        configured = environment.get("XDG_CONFIG_HOME") or ""
        home = Path(environment.get("HOME") or "/")
        self.folder = (Path(configured) if configured.startswith("/") else home / ".config") / "pinode"

    def all(self) -> Sequence[Login]:
        """Raises `Failure` when the file is none of ours."""
        path = self.folder / FILE
        try:
            document = json.loads(path.read_bytes())
            if document["version"] != VERSION:
                raise ValueError(f"version {document['version']}")
            names = Login.__dataclass_fields__
            return [
                Login(**{name: str(value) for name, value in one.items() if name in names})
                for one in document["logins"]
            ]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Failure(
                f"{path} cannot be read ({error})", hint="remove it, then: pinode auth:login"
            ) from error

    def of(self, server: str) -> Login | None:
        """The login to this server, however it is written."""
        return next((one for one in self.all() if address(one.server) == address(server)), None)

    def keep(self, login: Login) -> None:
        """Remember it, in place of the one before."""
        self._write([login, *(one for one in self.all() if address(one.server) != address(login.server))])

    def forget(self, server: str) -> None:
        """As if one had never logged in there."""
        self._write([one for one in self.all() if address(one.server) != address(server)])

    def authority_file(self, login: Login) -> Path:
        """The authority as a file, for git."""
        path = self.folder / f"ca-{hashlib.sha256(login.authority.encode()).hexdigest()[:16]}.pem"
        self._replace(path, login.authority.encode())
        return path

    def _write(self, logins: Sequence[Login]) -> None:
        document = {"version": VERSION, "logins": [asdict(one) for one in logins]}
        self._replace(self.folder / FILE, json.dumps(document, indent=2).encode())

    def _replace(self, path: Path, data: bytes) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            os.replace(partial, path)
        except OSError as error:
            raise Failure(f"cannot write {path} ({error.strerror or error})", code=ExitCode.FAILED) from error


def address(server: str) -> tuple[str, int]:
    """Host and port of a server as people write it; both empty when it is none."""
    try:
        url = urllib.parse.urlsplit(server if "//" in server else f"https://{server}")
        return (url.hostname or "").lower(), WEB_PORT if url.port is None else url.port
    except ValueError:
        return "", 0


def fingerprint(pem: str) -> str:
    """SHA-256 of a certificate, as browsers and `pinode start` show it. Raises `ValueError`."""
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
