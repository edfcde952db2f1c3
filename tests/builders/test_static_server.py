"""The file server of static sites, as browsers meet it."""

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from builders import static_server
from builders.static_server import wanted_range
from tests.waiting import until

CONTENT = bytes(range(256)) * 40
FILES: Mapping[str, bytes] = {
    "index.html": b"<p>front</p>",
    "about.html": b"<p>about</p>",
    "docs/index.html": b"<p>docs</p>",
    "empty/note.txt": b"x",
    "data.bin": CONTENT,
    "app.js": b"1",
    "style.css": b"a{}",
    "pic.svg": b"<svg/>",
    "code.wasm": b"\0asm",
    "no-ending": b"?",
    ".env": b"SECRET=1",
    ".git/config": b"secret",
    ".well-known/security.txt": b"contact",
    "sp ace \xc3\xa9.txt".encode("latin1").decode("utf-8"): b"spaced",
    "zero.txt": b"",
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("slug")
    site = folder / "public"
    for name, content in FILES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)
    (folder / "secret.txt").write_text("outside")
    (site / "way-out").symlink_to("../secret.txt")
    (site / "folder-out").symlink_to("..")
    (site / "way-in").symlink_to("app.js")
    number = 21_000 + os.getpid() % 5_000
    server = subprocess.Popen(
        [sys.executable, static_server.__file__, str(site)], env={"PORT": str(number)}, cwd=folder
    )
    try:
        until(lambda: ask(number, "/")[0] == 200, within_seconds=20, saying="the server answers")
        yield number
    finally:
        server.kill()
        server.wait(10)


def ask(
    port: int, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("/", b"<p>front</p>", "text/html; charset=utf-8"),
        ("/index.html?x=1", b"<p>front</p>", "text/html; charset=utf-8"),
        ("/about", b"<p>about</p>", "text/html; charset=utf-8"),
        ("/docs/", b"<p>docs</p>", "text/html; charset=utf-8"),
        ("/app.js", b"1", "text/javascript; charset=utf-8"),
        ("/way-in", b"1", "application/octet-stream"),
        ("/style.css", b"a{}", "text/css; charset=utf-8"),
        ("/pic.svg", b"<svg/>", "image/svg+xml; charset=utf-8"),
        ("/code.wasm", b"\0asm", "application/wasm"),
        ("/no-ending", b"?", "application/octet-stream"),
        ("/.well-known/security.txt", b"contact", "text/plain; charset=utf-8"),
        ("/sp%20ace%20%C3%A9.txt", b"spaced", "text/plain; charset=utf-8"),
        ("/zero.txt", b"", "text/plain; charset=utf-8"),
    ],
)
def test_files_are_served_with_their_types(port: int, path: str, content: bytes, kind: str) -> None:
    status, headers, body = ask(port, path)

    assert (status, body) == (200, content)
    assert headers["Content-Type"] == kind
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/nothing", "/.env", "/.git/config", "/%2egit/config", "/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt",
        "/docs/../../secret.txt", "/way-out", "/folder-out/secret.txt", "/folder-out/", "/%00", "/a%00.html", "/empty/",
        "/index.html/", "/" + "a" * 300, "/" + "a/" * 3_000, "//secret.txt", "/\\..\\secret.txt", "/%ff%fe", "http://x/..",
    ],
)  # fmt: skip
def test_nothing_but_the_sites_own_files_is_served(port: int, path: str) -> None:
    status, _, body = ask(port, path)

    assert status == 404
    assert b"outside" not in body
    assert b"SECRET" not in body


def test_a_folder_is_asked_with_its_slash_and_never_leads_to_another_host(port: int) -> None:
    assert ask(port, "/docs")[1]["Location"] == "/docs/"
    assert ask(port, "//docs")[1]["Location"] == "/docs/"
    assert ask(port, "///docs//")[0] in (200, 404)


def test_ranges_are_answered_with_exactly_their_bytes(port: int) -> None:
    size = len(CONTENT)
    for asked, part in {
        "bytes=0-9": CONTENT[:10],
        "bytes=100-": CONTENT[100:],
        "bytes=-7": CONTENT[-7:],
        f"bytes=5-{size * 9}": CONTENT[5:],
        f"bytes=-{size * 9}": CONTENT,
    }.items():
        status, headers, body = ask(port, "/data.bin", headers={"Range": asked})
        first = CONTENT.index(part) if asked == "bytes=0-9" else size - len(part)
        assert (status, body) == (206, part), asked
        assert headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{size}"
        assert headers["Content-Length"] == str(len(part))

    status, headers, _ = ask(port, "/data.bin", headers={"Range": f"bytes={size}-"})
    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")


@pytest.mark.parametrize(
    "asked", ["bytes=9-1", "bytes=-", "lines=1-2", "bytes=0-1,3-4", "bytes=a-b", "bytes=" + "9" * 40 + "-"]
)
def test_a_range_that_is_none_is_answered_with_all(port: int, asked: str) -> None:
    status, _, body = ask(port, "/data.bin", headers={"Range": asked})

    assert (status, body) == (200, CONTENT)


def test_what_the_browser_has_already_is_not_sent_again(port: int) -> None:
    tag = ask(port, "/data.bin")[1]["ETag"]

    assert ask(port, "/data.bin", headers={"If-None-Match": f'"other", W/{tag}'})[0] == 304
    assert ask(port, "/data.bin", headers={"If-None-Match": '"other"'})[0] == 200
    assert ask(port, "/data.bin", headers={"Range": "bytes=0-1", "If-Range": tag})[0] == 206
    assert ask(port, "/data.bin", headers={"Range": "bytes=0-1", "If-Range": '"other"'})[0] == 200


def test_head_has_no_body_and_other_methods_are_refused(port: int) -> None:
    status, headers, body = ask(port, "/data.bin", method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(CONTENT)))

    status, headers, _ = ask(port, "/", method="POST", headers={"Content-Length": "0"})
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_one_connection_carries_many_requests(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for path in ("/", "/nothing", "/docs", "/app.js"):
        connection.request("GET", path)
        connection.getresponse().read()
    connection.close()


def test_an_empty_file_has_no_range() -> None:
    assert wanted_range("bytes=-5", 10) == (5, 10)
    for header in ("bytes=0-", "bytes=-5"):
        with pytest.raises(ValueError):
            wanted_range(header, 0)


def test_at_sigterm_what_is_being_sent_is_sent_to_its_end_and_nothing_else_waited_for(tmp_path: Path) -> None:
    large = os.urandom(1024) * 20_000
    (tmp_path / "large.bin").write_bytes(large)
    number = 26_000 + os.getpid() % 5_000
    server = subprocess.Popen(
        [sys.executable, static_server.__file__, str(tmp_path)], env={"PORT": str(number)}
    )
    try:
        until(
            lambda: ask(number, "/large.bin", method="HEAD")[0] == 200, within_seconds=20, saying="it answers"
        )
        idle = http.client.HTTPConnection("127.0.0.1", number, timeout=20)
        idle.request("HEAD", "/large.bin")
        assert idle.getresponse().read() == b""
        download = http.client.HTTPConnection("127.0.0.1", number, timeout=20)
        download.request("GET", "/large.bin")
        answer = download.getresponse()
        first = answer.read(1024)

        server.terminate()

        def is_closed() -> bool:
            try:
                socket.create_connection(("127.0.0.1", number), 5).close()
            except ConnectionRefusedError:
                return True
            return False

        until(is_closed, within_seconds=20, saying="it takes no more connections")
        assert server.poll() is None
        assert first + answer.read() == large
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait(10)
