"""HTTP to a node: over its socket, as administrator, on the node itself; else to `--server` with a token."""

import http.client
import json
import os
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinode.cli.doors import Door, ServerDoor, Shut, doors
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import say

TIMEOUT_SECONDS = 20.0
UPLOAD_SECONDS = 600.0  # an archive is read, copied to a second node, and only then answered
CONNECT_SECONDS = 3.0  # TCP and TLS together, when there is another node to ask
LAST_SECONDS = 10.0  # when there is none
ERROR_BYTES = 65_536
CHUNK_BYTES = 65_536
NEEDS_TOKEN = "log in: pinode auth:login; or set PINODE_TOKEN to a token"
CODE_OF_STATUS = {
    400: ExitCode.USAGE,
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    413: ExitCode.USAGE,
    422: ExitCode.USAGE,
    502: ExitCode.NO_NODE,
    504: ExitCode.TIMED_OUT,
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request."""

    method: str
    target: str
    body: bytes | Path | None = None
    key: str | None = None
    content_type: str = "application/json"

    @property
    def may_be_repeated(self) -> bool:
        """Whether it is no harm when a node that did not answer has done it all the same."""
        return self.method == "GET" or self.key is not None


class ApiClient:
    """Asks the API. Raises `Failure` with the server's own words and the right exit code."""

    def __init__(self, invocation: Invocation, ways: Sequence[Door] = ()) -> None:
        """`ways` are tried instead of those that the invocation names."""
        self._invocation = invocation
        self._doors: list[Door] = [*ways]
        self._said_stale = False

    def get(self, path: str, **query: object) -> Any:
        """The decoded answer of a GET."""
        return self.request("GET", path, query=query)

    def items(self, path: str) -> list[Any]:
        """A whole list, all of its pages."""
        found: list[Any] = []
        cursor = None
        while True:
            page = self.get(path, cursor=cursor)
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found

    def post(self, path: str, body: object = None, *, idempotency_key: str | None = None) -> Any:
        """The decoded answer of a POST, which is done once however often it has to be sent."""
        return self.request("POST", path, body=body, key=idempotency_key or os.urandom(16).hex())

    @property
    def server(self) -> str | None:
        """The address that is asked first; None for the socket of a node."""
        self._doors = self._doors or doors(self._invocation)
        first = self._doors[0]
        return first.address if isinstance(first, ServerDoor) else None

    def text(self, path: str) -> str:
        """The answer of a GET that is no JSON."""
        return "".join(f"{line}\n" for line in self.lines(path, quiet_seconds=TIMEOUT_SECONDS))

    def upload(self, path: str, file: Path, *, query: dict[str, object]) -> Any:
        """The decoded answer of a POST of an archive, which is done once however often it has to be sent."""
        key = os.urandom(16).hex()
        asked = _Asked("POST", _target(path, query), file, key, "application/gzip")
        return self._decoded(path, self._send(asked, quiet_seconds=UPLOAD_SECONDS))

    def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, object] | None = None,
        body: object = None,
        key: str | None = None,
    ) -> Any:
        """One request, decoded; `key` makes a repeated one the same one."""
        data = None if body is None else json.dumps(body).encode()
        return self._decoded(path, self._send(_Asked(method, _target(path, query or {}), data, key)))

    def _decoded(self, path: str, response: http.client.HTTPResponse) -> Any:
        try:
            with response:
                answer = response.read()
        except TimeoutError as error:
            raise Failure(
                f"{path} did not answer within {TIMEOUT_SECONDS:.0f} s", code=ExitCode.TIMED_OUT
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise _broken(path, error) from error
        if not answer:
            return None
        try:
            return json.loads(answer)
        except ValueError as error:
            raise Failure(
                f"what answers {path} is not pinode: {answer[:60]!r}",
                hint="is the address right? A node's web port is 8000 unless [listen] web says otherwise",
            ) from error

    def lines(self, path: str, *, quiet_seconds: float | None = None, **query: object) -> Iterator[str]:
        """The lines of a streamed answer, as they come; a silence longer than `quiet_seconds` breaks it off.

        Raises `Failure`; a stream that broke off is a failure too, so that half a log is not taken for all.
        """
        return self._lines(path, _Asked("GET", _target(path, query)), quiet_seconds)

    def post_lines(self, path: str, body: object, *, quiet_seconds: float) -> Iterator[str]:
        """The lines of the streamed answer of a POST, which is sent once."""
        return self._lines(path, _Asked("POST", path, json.dumps(body).encode()), quiet_seconds)

    def _lines(self, path: str, asked: _Asked, quiet_seconds: float | None) -> Iterator[str]:
        response = self._send(asked, quiet_seconds=quiet_seconds)
        rest = b""
        with response:
            for chunk in _chunks(path, response):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
        if rest:
            yield rest.decode(errors="replace")

    def _send(
        self, asked: _Asked, *, quiet_seconds: float | None = TIMEOUT_SECONDS
    ) -> http.client.HTTPResponse:
        """The answer of the first node that gives one; reading it may be silent for `quiet_seconds`."""
        self._doors = self._doors or doors(self._invocation)
        shut: list[Failure] = []
        for door in self._doors:
            is_last = door is self._doors[-1]
            try:
                connection = door.connected(within_seconds=LAST_SECONDS if is_last else CONNECT_SECONDS)
                wire = connection.sock
                wire.settimeout(UPLOAD_SECONDS if isinstance(asked.body, Path) else TIMEOUT_SECONDS)
                response = self._exchange(door, connection, asked)
            except Shut as failure:
                shut.append(failure)
                continue
            if response.status < 400:
                wire.settimeout(quiet_seconds)
                self._say_if_stale(asked, response)
                return response
            refusal = _failure(response)
            # A node that is cut off has changed nothing; another one may belong to the majority.
            if refusal.code != ExitCode.NO_LEADER:
                raise refusal
            shut.append(refusal)
        raise _of_all(shut)

    def _exchange(
        self, door: Door, connection: http.client.HTTPConnection, asked: _Asked
    ) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json"}
        if asked.body is not None:
            headers["Content-Type"] = asked.content_type
        if asked.key:
            headers["Idempotency-Key"] = asked.key
        token = self._token() or (door.token if isinstance(door, ServerDoor) else "")
        if token and door.takes_token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            if isinstance(asked.body, Path):
                headers["Content-Length"] = str(asked.body.stat().st_size)
                with asked.body.open("rb") as file:
                    connection.request(asked.method, asked.target, body=file, headers=headers)
            else:
                connection.request(asked.method, asked.target, body=asked.body, headers=headers)
            return connection.getresponse()
        except TimeoutError as error:
            raise Failure(
                f"{door} did not answer within {TIMEOUT_SECONDS:.0f} s",
                hint=None if asked.method == "GET" else "what you asked for may or may not be done",
                code=ExitCode.TIMED_OUT,
            ) from error
        except (OSError, http.client.HTTPException) as error:
            what = f"{door} broke off the connection ({error or type(error).__name__})"
            hint = "it ended just now; what you asked for may or may not be done"
            if asked.may_be_repeated:
                raise Shut(f"{door} (broke off)", what, hint=hint, code=ExitCode.NO_NODE) from error
            raise Failure(what, hint=hint, code=ExitCode.NO_NODE) from error

    def _token(self) -> str:
        token = self._invocation.environment.get("PINODE_TOKEN", "").strip()
        if not token.isascii() or any(not character.isprintable() for character in token):
            raise Failure(
                "PINODE_TOKEN is not a token: it has other characters than a token has",
                code=ExitCode.NOT_ALLOWED,
            )
        return token

    def _say_if_stale(self, asked: _Asked, response: http.client.HTTPResponse) -> None:
        if not self._invocation.talks or self._said_stale or asked.target == "/api/v1/status":
            return  # the status says so itself
        if response.headers.get("Pinode-Stale") and asked.method == "GET":
            self._said_stale = True
            say("!      this node has no quorum: what it shows may be old (`pinode status` says more)")


def _target(path: str, query: dict[str, object]) -> str:
    words = {name: str(value) for name, value in query.items() if value is not None}
    return path + ("?" + urllib.parse.urlencode(words) if words else "")


def _chunks(path: str, response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it comes. Raises `Failure` when it ends early, which reading it by lines would not tell."""
    expected, received = response.headers.get("Content-Length"), 0
    while True:
        try:
            chunk = response.read1(CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _broken(path, error) from error
        if not chunk:
            break
        received += len(chunk)
        yield chunk
    if expected is not None and received != int(expected):
        raise _broken(path, EOFError(f"{received} of {expected} bytes came"))


def _broken(path: str, error: Exception) -> Failure:
    reason = str(error) or type(error).__name__
    return Failure(f"the answer of {path} broke off ({reason})", hint="run the command again")


def _of_all(failures: Sequence[Failure]) -> Failure:
    """One failure for all doors: what can be mended stands before what is merely away."""
    for code in (ExitCode.NO_LEADER, ExitCode.NOT_ALLOWED):
        for failure in failures:
            if failure.code == code:
                return failure
    if len(failures) == 1:
        return failures[0]
    tried = ", ".join(failure.tried if isinstance(failure, Shut) else str(failure) for failure in failures)
    return Failure(f"no node answers: tried {tried}", hint=failures[0].hint, code=ExitCode.NO_NODE)


def _failure(response: http.client.HTTPResponse) -> Failure:
    """The server's error, as a person should read it."""
    try:
        with response:
            text = response.read(ERROR_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        text = ""
    code = CODE_OF_STATUS.get(response.status, ExitCode.FAILED)
    try:
        error = json.loads(text)["error"]
        if error["code"] == "no_leader":
            code = ExitCode.NO_LEADER
        hint = NEEDS_TOKEN if response.status == 401 else error.get("hint")
        return Failure(str(error["message"]), hint=hint or None, code=code)
    except (ValueError, KeyError, TypeError):
        return Failure(f"HTTP {response.status}: {text[:300]}", code=code)
