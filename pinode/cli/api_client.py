"""HTTP to a node: over its socket, as administrator, on the node itself; else to `--server` with a token."""

import http.client
import json
import os
import socket
import ssl
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.settings import load_settings

TIMEOUT_SECONDS = 20.0
SYSTEM_SOCKET = Path("/run/pinode/pinode.sock")
CODE_OF_STATUS = {
    400: ExitCode.USAGE,
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    413: ExitCode.USAGE,
    422: ExitCode.USAGE,
    503: ExitCode.NO_LEADER,
    504: ExitCode.TIMED_OUT,
}


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a node's unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class ApiClient:
    """Asks the API. Raises `Failure` with the server's own words and the right exit code."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._token = invocation.environment.get("PINODE_TOKEN")

    def get(self, path: str, **query: object) -> Any:
        """The decoded answer of a GET."""
        return self.request("GET", path, query=query)

    def post(self, path: str, body: object = None, *, idempotency_key: str | None = None) -> Any:
        """The decoded answer of a POST."""
        return self.request("POST", path, body=body, idempotency_key=idempotency_key)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, object] | None = None,
        body: object = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """One request, decoded."""
        response = self._send(method, path, query or {}, body, idempotency_key, TIMEOUT_SECONDS)
        with response:
            data = response.read()
        if not data:
            return None
        kind = response.headers.get_content_type()
        return json.loads(data) if kind == "application/json" else data.decode(errors="replace")

    def lines(self, path: str, *, quiet_seconds: float = 3600, **query: object) -> Iterator[str]:
        """The lines of a streamed answer, as they come."""
        response = self._send("GET", path, query, None, None, quiet_seconds)
        with response:
            try:
                for line in response:
                    yield line.decode(errors="replace").rstrip("\n")
            except (OSError, http.client.HTTPException) as error:
                raise Failure(
                    f"the stream {path} broke off ({error})", hint="run the command again"
                ) from error

    def _send(
        self, method: str, path: str, query: dict[str, object], body: object, key: str | None, timeout: float
    ) -> http.client.HTTPResponse:
        words = {name: str(value) for name, value in query.items() if value is not None}
        target = path + ("?" + urllib.parse.urlencode(words) if words else "")
        headers = {"Accept": "application/json", "Host": "localhost"}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        if key:
            headers["Idempotency-Key"] = key
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        tried = []
        for name, connection in self._doors(timeout):
            try:
                connection.request(method, target, body=data, headers=headers)
                response = connection.getresponse()
            except TimeoutError as error:
                raise Failure(
                    f"{name} did not answer within {timeout:.0f} s", code=ExitCode.TIMED_OUT
                ) from error
            except PermissionError as error:
                raise Failure(
                    f"may not use {name} (it belongs to the administrator of this node)",
                    hint="try: sudo pinode …", code=ExitCode.NOT_ALLOWED,
                ) from error  # fmt: skip
            except (OSError, http.client.HTTPException) as error:
                tried.append(f"{name} ({error.strerror if isinstance(error, OSError) else error})")
                continue
            if response.status >= 400:
                raise _failure(response)
            return response
        raise Failure(
            f"no node answers: tried {', '.join(tried)}",
            hint="is `pinode start` running here? Elsewhere name a node: --server https://pi1.local:8000",
            code=ExitCode.NO_NODE,
        )

    def _doors(self, timeout: float) -> Iterator[tuple[str, http.client.HTTPConnection]]:
        if self._invocation.servers:
            for server in self._invocation.servers:
                url = urllib.parse.urlsplit(server if "//" in server else f"https://{server}")
                ca = self._invocation.environment.get("PINODE_CA")
                context = ssl.create_default_context(cafile=ca)
                yield (
                    server,
                    http.client.HTTPSConnection(
                        url.hostname or "", url.port or 8000, timeout=timeout, context=context
                    ),
                )
            return
        for path in socket_paths(self._invocation):
            yield f"the node's socket {path}", _SocketConnection(path, timeout)


def socket_paths(invocation: Invocation) -> list[Path]:
    """Where this machine's node may listen; the one in its data directory, then the system unit's."""
    settings = load_settings(invocation.config, invocation.environment, data_dir_override(invocation))
    return [Path(settings.node.data_dir) / "pinode.sock"] + (
        [SYSTEM_SOCKET] if os.path.exists(SYSTEM_SOCKET) else []
    )


def data_dir_override(invocation: Invocation) -> dict[str, object]:
    """`--data-dir` as an override of `[node] data_dir`."""
    return {"node.data_dir": str(invocation.data_dir)} if invocation.data_dir else {}


def _failure(response: http.client.HTTPResponse) -> Failure:
    """The server's error, as a person should read it."""
    text = response.read(65536).decode(errors="replace")
    code = CODE_OF_STATUS.get(response.status, ExitCode.FAILED)
    try:
        error = json.loads(text)["error"]
        if error["code"] not in ("no_leader", "no_quorum") and response.status == 503:
            code = ExitCode.FAILED
        return Failure(error["message"], hint=error.get("hint"), code=code)
    except (ValueError, KeyError, TypeError):
        return Failure(f"HTTP {response.status}: {text[:300]}", code=code)
