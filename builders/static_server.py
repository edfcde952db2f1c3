"""The web process of a static site: the files below one folder, over HTTP/1.1. It is copied into the slug and
needs nothing but Python: `python server.py [FOLDER]`, listening on 127.0.0.1:$PORT.

Types, one byte range a request, entity tags of the content (the same on every node), `index.html` in folders,
`about` for `about.html`, the site's own `404.html`. Names that begin with a dot are not served (but
`.well-known`), and nothing outside the folder, wherever a link leads. At SIGTERM it takes no more, gives the
answers that it has begun, and ends.
"""

import hashlib
import mimetypes
import os
import re
import signal
import stat
import sys
import threading
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote_to_bytes, urlsplit

IDLE_SECONDS = 75
BLOCK_BYTES = 256 * 1024
PATH_BYTES = 4_096
RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})")
TYPES = {
    ".html": "text/html", ".htm": "text/html", ".css": "text/css", ".js": "text/javascript",
    ".mjs": "text/javascript", ".json": "application/json", ".map": "application/json", ".txt": "text/plain",
    ".md": "text/markdown", ".xml": "application/xml", ".svg": "image/svg+xml", ".png": "image/png",
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
    ".avif": "image/avif",
    ".ico": "image/vnd.microsoft.icon", ".woff": "font/woff", ".woff2": "font/woff2", ".ttf": "font/ttf",
    ".otf": "font/otf", ".wasm": "application/wasm", ".webmanifest": "application/manifest+json",
    ".pdf": "application/pdf", ".mp4": "video/mp4", ".webm": "video/webm", ".mp3": "audio/mpeg",
    ".csv": "text/csv",
}  # fmt: skip


class Site:
    """The files below a folder, and which of them a path of a URL names."""

    def __init__(self, folder: Path) -> None:
        self._root = folder.resolve()

    def find(self, path: str) -> tuple[Path | None, str | None]:
        """The file, or where the browser should look instead, or neither."""
        names = self._names(path)
        if names is None:
            return None, None
        place = self._root.joinpath(*names)
        if self._is_folder(place):
            if not path.endswith("/"):
                return None, "/" + "".join(f"{quote(name)}/" for name in names)
            return self._file(place / "index.html"), None
        if path.endswith("/"):
            return None, None
        return self._file(place) or self._file(place.with_name(place.name + ".html")), None

    def not_found(self) -> Path | None:
        """The site's own page for what is not there."""
        return self._file(self._root / "404.html")

    def _names(self, path: str) -> list[str] | None:
        raw = unquote_to_bytes(path)
        if len(raw) > PATH_BYTES or b"\0" in raw:
            return None
        names = [name for name in os.fsdecode(raw).split("/") if name]
        hidden = [name for name in names if name.startswith(".") and name != ".well-known"]
        return None if hidden or any(len(os.fsencode(name)) > 255 for name in names) else names

    def _is_folder(self, place: Path) -> bool:
        return place.is_dir() and self._is_inside(place)

    def _file(self, place: Path) -> Path | None:
        try:
            found = place.stat()
        except OSError:
            return None
        return place if stat.S_ISREG(found.st_mode) and self._is_inside(place) else None

    def _is_inside(self, place: Path) -> bool:
        return place.resolve().is_relative_to(self._root)


@lru_cache(maxsize=4_096)
def entity_tag(path: Path, size: int, changed_at: int) -> str:
    """A strong tag of the file's content; the file is read once."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return f'"{digest.hexdigest()[:32]}"'


def content_type(path: Path) -> str:
    """By the name's ending; texts are UTF-8."""
    kind = TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    is_text = kind.startswith("text/") or kind in ("application/json", "application/xml", "image/svg+xml")
    return f"{kind}; charset=utf-8" if is_text else kind


def wanted_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None: all of it. Raises `ValueError` where no byte is meant
    (RFC 9110 §14.2). Several ranges in one request are answered with all of it, as the RFC allows.
    """
    match = RANGE.fullmatch(header or "")
    if match is None or not (match["first"] or match["last"]):
        return None
    if not match["first"]:
        length = int(match["last"])
        if length == 0 or size == 0:
            raise ValueError
        return max(0, size - length), size
    first = int(match["first"])
    last = int(match["last"]) if match["last"] else size - 1
    if match["last"] and last < first:
        return None
    if first >= size:
        raise ValueError
    return first, min(last + 1, size)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "pinode-static"
    sys_version = ""
    timeout = IDLE_SECONDS
    site: Site
    server: "SiteServer"

    def handle(self) -> None:
        """All requests of the connection; one that is being answered counts as such until its last byte."""
        self._is_counted = False
        try:
            super().handle()
        finally:
            self._count(False)

    def handle_one_request(self) -> None:
        """The next one, once it comes."""
        self._count(False)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Its head has begun."""
        self._count(True)
        is_good = super().parse_request()
        self.close_connection = self.close_connection or self.server.is_ending
        return is_good

    def _count(self, is_answering: bool) -> None:
        if is_answering != self._is_counted:
            self._is_counted = is_answering
            self.server.count(1 if is_answering else -1)

    def do_GET(self) -> None:
        """Answer with the file."""
        self._answer()

    def do_HEAD(self) -> None:
        """The same without its content."""
        self._answer()

    def _refuse(self) -> None:
        self._plain(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD", "Connection": "close"})

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse

    def _answer(self) -> None:
        # A path that begins with // is a path, and no host.
        path = self.path.partition("?")[0] if self.path.startswith("/") else urlsplit(self.path).path
        file, elsewhere = self.site.find("/" + path.lstrip("/"))
        if elsewhere is not None:
            self._plain(HTTPStatus.MOVED_PERMANENTLY, {"Location": elsewhere})
        elif file is not None:
            self._send(file, HTTPStatus.OK)
        elif (page := self.site.not_found()) is not None:
            self._send(page, HTTPStatus.NOT_FOUND)
        else:
            self._plain(HTTPStatus.NOT_FOUND, {})

    def _send(self, path: Path, status: HTTPStatus) -> None:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            tag = entity_tag(path, found.st_size, found.st_mtime_ns)
            headers = {"ETag": tag, "Cache-Control": "no-cache"}
            start, end = 0, found.st_size
            if status is HTTPStatus.OK:
                headers["Accept-Ranges"] = "bytes"
                if tag in [
                    name.strip().removeprefix("W/") for name in self._header("If-None-Match").split(",")
                ]:
                    self._head(HTTPStatus.NOT_MODIFIED, headers)
                    return
                try:
                    part = wanted_range(self._range(tag), found.st_size)
                except ValueError:
                    self._plain(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                                {"Content-Range": f"bytes */{found.st_size}"})  # fmt: skip
                    return
                if part is not None:
                    (start, end), status = part, HTTPStatus.PARTIAL_CONTENT
                    headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.st_size}"
            headers |= {"Content-Type": content_type(path), "Content-Length": str(end - start)}
            self._head(status, headers)
            if self.command != "HEAD":
                file.seek(start)
                self._copy(file, end - start)

    def _copy(self, file: BinaryIO, remaining: int) -> None:
        while remaining > 0 and (block := file.read(min(remaining, BLOCK_BYTES))):
            self.wfile.write(block)
            remaining -= len(block)
        if remaining:
            self.close_connection = True  # the file has shrunk: the browser must not wait for the rest

    def _range(self, tag: str) -> str | None:
        """The range that is asked for, if it is one of this very content."""
        condition = self._header("If-Range")
        return self._header("Range") if condition in ("", tag) else None

    def _header(self, name: str) -> str:
        return str(self.headers.get(name, "")).strip()

    def _plain(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        body = f"{status.value} {status.phrase}\n".encode()
        self.close_connection = self.close_connection or headers.get("Connection") == "close"
        self._head(
            status, {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body)), **headers}
        )
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The router logs requests."""


class SiteServer(ThreadingHTTPServer):
    """A thread for each connection; knows how many of them are answering."""

    daemon_threads = True
    is_ending = False

    def __init__(self, port: int, handler: type[Handler]) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self._answering = 0
        self._changed = threading.Condition()

    def count(self, more: int) -> None:
        """So many more connections are answering."""
        with self._changed:
            self._answering += more
            self._changed.notify_all()

    def end(self, *_: object) -> None:
        """Take no more connections; a handler of signals. `serve_forever` returns soon."""
        self.is_ending = True
        # `shutdown` waits for `serve_forever`, which this thread is in.
        threading.Thread(target=self.shutdown, daemon=True).start()

    def wait_until_answered(self) -> None:
        """Until nothing is being answered; who only keeps a connection open is not waited for."""
        self.server_close()
        with self._changed:
            self._changed.wait_for(lambda: self._answering == 0)


def main() -> int:
    """Serve until ended."""
    handler = type("SiteHandler", (Handler,), {"site": Site(Path(sys.argv[1] if len(sys.argv) > 1 else "."))})
    server = SiteServer(int(os.environ["PORT"]), handler)
    signal.signal(signal.SIGTERM, server.end)
    server.serve_forever()
    server.wait_until_answered()
    return 0


if __name__ == "__main__":
    sys.exit(main())
