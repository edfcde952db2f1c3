"""Requests through the router: what reaches the dyno, what comes back, and what is refused."""

import asyncio
from dataclasses import replace

import pytest

from pinode.router.door import Door
from pinode.router.route_table import RouteTable
from pinode.router.timings import RouterTimings
from tests.pinode.router_world import APP, OK, dyno, get, local, post, router, table
from tests.waiting import eventually

HEAD = b"GET / HTTP/1.1\r\nHost: blog.local\r\n"
POST = b"POST / HTTP/1.1\r\nHost: blog.local\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: blog.local\r\n\r\n"
REFUSED = {
    "length and chunks": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 6\r\nContent-Length: 7\r\n\r\nabcdef",
    "the same length twice": POST + b"Content-Length: 6\r\nContent-Length: 6\r\n\r\nabcdef",
    "a list of lengths": POST + b"Content-Length: 6, 6\r\n\r\nabcdef",
    "a signed length": POST + b"Content-Length: +6\r\n\r\nabcdef",
    "a hexadecimal length": POST + b"Content-Length: 0x6\r\n\r\nabcdef",
    "a huge length": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a coding before chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab before chunked": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": HEAD + b"X-A: b\r\n c\r\n\r\n",
    "a bare LF": HEAD + b"X-A: b\nX-C: d\r\n\r\n",
    "only bare LF": b"GET / HTTP/1.1\nHost: blog.local\n\n",
    "a bare CR": HEAD + b"X-A: b\rX-C: d\r\n\r\n",
    "a NUL in a value": HEAD + b"X-A: b\x00c\r\n\r\n",
    "a NUL in a name": HEAD + b"X\x00A: b\r\n\r\n",
    "a blank before the colon": HEAD + b"X-A : b\r\n\r\n",
    "no name": HEAD + b": b\r\n\r\n",
    "a blank before the first name": b"GET / HTTP/1.1\r\n Host: blog.local\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": HEAD + b"Host: other.local\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: blog.local/x\r\n\r\n",
    "a host with a user": b"GET / HTTP/1.1\r\nHost: me@blog.local\r\n\r\n",
    "an unknown method": b"FOO / HTTP/1.1\r\nHost: blog.local\r\n\r\n",
    "CONNECT": b"CONNECT blog.local:80 HTTP/1.1\r\nHost: blog.local\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "a target without slash": b"GET blog HTTP/1.1\r\nHost: blog.local\r\n\r\n",
    "a blank in the target": b"GET /a b HTTP/1.1\r\nHost: blog.local\r\n\r\n",
    "too many headers": HEAD + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n",
    "a huge head": HEAD + b"X-A: " + b"b" * 160_000 + b"\r\n\r\n",
    "a long target": b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: blog.local\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
}
BAD_CHUNKS = {
    "a size that is no number": b"xyz\r\nabc\r\n0\r\n\r\n",
    "a negative size": b"-1\r\nabc\r\n0\r\n\r\n",
    "a blank before the size": b" 3\r\nabc\r\n0\r\n\r\n",
    "a huge size": b"f" * 20 + b"\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than its size": b"2\r\nabc\r\n0\r\n\r\n",
    "a bare LF after the size": b"3\nabc\r\n0\r\n\r\n",
    "a bare LF after the chunk": b"3\r\nabc\n0\r\n\r\n",
    "a trailer": b"3\r\nabc\r\n0\r\nX-Admin: 1\r\n\r\n",
    "an endless extension": b"3;" + b"a" * 10_000 + b"\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_request_that_could_be_read_in_two_ways_is_refused_and_reaches_no_dyno(what: str) -> None:
    async with dyno() as app, router(table(local(app.port))) as running:
        answer = await running.ask(REFUSED[what] + SMUGGLED)

        assert answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5"), answer
        assert answer.count(b"HTTP/1.1") == 1
        assert app.heads == []


@pytest.mark.parametrize("what", BAD_CHUNKS)
async def test_a_body_with_broken_chunks_ends_the_connection_before_anything_else_is_read(what: str) -> None:
    async def read_all(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with dyno(read_all) as app, router(table(local(app.port))) as running:
        answer = await running.ask(POST + b"Transfer-Encoding: chunked\r\n\r\n" + BAD_CHUNKS[what] + SMUGGLED)

        assert answer.startswith(b"HTTP/1.1 400"), answer
        assert not any(b"smuggled" in head for head in app.heads)


async def test_two_requests_sent_at_once_are_answered_one_after_the_other() -> None:
    async with dyno() as app, router(table(local(app.port))) as running:
        answer = await running.ask(get("/one", close=False) + get("/two"))

        assert answer.count(b"200 OK") == 2
        assert [head.split(b" ")[1] for head in app.heads] == [b"/one", b"/two"]


async def test_connections_are_kept_on_both_sides() -> None:
    async with dyno() as app, router(table(local(app.port))) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        for _ in range(3):
            writer.write(get(close=False))
            assert await reader.readexactly(len(OK)) == OK
        writer.close()

        assert app.connections == 1


async def test_a_dyno_sees_where_the_request_came_from_and_nothing_the_client_made_up() -> None:
    forged = (
        "X-Forwarded-Proto: https",
        "X_Forwarded_Proto: https",
        "X-Forwarded-For: 10.1.1.1",
        "Pinode-Placement: 7",
        "Forwarded: for=me",
        "Keep-Alive: 5",
        "TE: trailers",
        "X-Secret: 1",
    )
    async with dyno() as app, router(table(local(app.port))) as running:
        await running.ask(
            get("/", *forged, "X-Request-Id: abcdef-12345").replace(b"close", b"close, X-Secret")
        )

    head = app.heads[0].lower()
    assert b"x-forwarded-proto: http\r\n" in head
    assert b"x-forwarded-for: 10.1.1.1, 127.0.0.1\r\n" in head
    assert b"x-forwarded-port: 8080\r\n" in head
    assert b"x-request-id: abcdef-12345\r\n" in head
    assert b"host: blog.local\r\n" in head
    for gone in (
        b"x_forwarded",
        b"pinode",
        b"\r\nforwarded",
        b"keep-alive",
        b"\r\nte:",
        b"x-secret",
        b"https",
    ):
        assert gone not in head


async def test_a_connection_header_cannot_take_away_what_says_where_a_message_ends() -> None:
    async def swallow(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"Content-Length" in head:
            await reader.readexactly(len(SMUGGLED))
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: content-length\r\n\r\n"))

    async with dyno(swallow) as app, router(table(local(app.port))) as running:
        request = POST + b"Connection: content-length, host, close\r\nContent-Length: %d\r\n\r\n"
        answer = await running.ask(request % len(SMUGGLED) + SMUGGLED)

    assert len(app.heads) == 1 and b"Host: blog.local" in app.heads[0]
    assert b"Content-Length: 2\r\n" in answer


async def test_cookies_of_pinode_itself_never_reach_a_dyno() -> None:
    async with dyno() as app, router(table(local(app.port))) as running:
        await running.ask(get("/", "Cookie: a=1; __Host-pinode-session=secret; b=2"))
        await running.ask(get("/", "Cookie: __Host-pinode=secret"))

    assert b"Cookie: a=1; b=2\r\n" in app.heads[0]
    assert b"cookie" not in app.heads[1].lower()


async def test_an_absolute_target_names_the_host() -> None:
    async with dyno() as app, router(table(local(app.port))) as running:
        answer = await running.ask(
            b"GET http://blog.local/x?y=1 HTTP/1.1\r\nHost: other.local\r\nConnection: close\r\n\r\n"
        )

    assert b"200 OK" in answer
    assert app.heads[0].startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: blog.local\r\n")


async def test_an_unknown_host_is_told_so_and_a_known_app_without_dynos_says_its_name() -> None:
    async with router(table(expected=0)) as running:
        unknown = await running.ask(get(host="nothing.local"))
        nothing_up = await running.ask(get(host="BLOG.local:8080"))

    assert unknown.startswith(b"HTTP/1.1 404") and b"nothing.local" in unknown
    assert nothing_up.startswith(b"HTTP/1.1 503") and b"blog: no dyno" in nothing_up


async def test_an_app_port_serves_its_app_whatever_the_host() -> None:
    door = Door(port=9000, is_app_port=True)
    async with dyno() as app, router(table(local(app.port)), door=door) as running:
        answer = await running.ask(get(host="192.168.1.20:9000"))

    assert b"200 OK" in answer
    assert b"Host: 192.168.1.20:9000\r\n" in app.heads[0]


@pytest.mark.parametrize(
    "host", ["blog.local/x", "me@blog.local", "blog local", "blog.local:80:80", "<script>"]
)
async def test_what_is_no_host_reaches_no_dyno_at_an_app_port_either(host: str) -> None:
    door = Door(port=9000, is_app_port=True)
    async with dyno() as app, router(table(local(app.port)), door=door) as running:
        answer = await running.ask(get(host=host))

        assert answer.startswith(b"HTTP/1.1 400"), answer
        assert app.heads == []


async def test_a_large_body_arrives_whole_and_a_slow_dyno_slows_the_client() -> None:
    body = bytes(range(256)) * 160_000
    got = bytearray()
    may_read = asyncio.Event()

    async def swallow(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await may_read.wait()
        got.extend(await reader.readexactly(len(body)))
        writer.write(OK)

    async with dyno(swallow) as app, router(table(local(app.port))) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(post(body))
        await eventually(lambda: app.heads)
        held_back = writer.transport.get_write_buffer_size()
        may_read.set()
        answer = await reader.read(-1)
        writer.close()

    assert answer == OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert bytes(got) == body
    assert held_back > len(body) // 8


async def test_a_large_answer_reaches_a_slow_client_whole() -> None:
    body = b"x" * 8_000_000

    async def tell(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()

    async with dyno(tell) as app, router(table(local(app.port))) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
        writer.write(get())
        answer = await reader.read(-1)
        writer.close()

    assert answer.endswith(body) and len(answer) < len(body) + 200


async def test_chunks_pass_both_ways() -> None:
    got = bytearray()

    async def swallow(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")

    async with dyno(swallow) as app, router(table(local(app.port))) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        for byte in b"5;a=b\r\nhello\r\n0\r\n\r\n":
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        answer = await reader.read(-1)
        writer.close()

    assert answer.endswith(b"2\r\nok\r\n0\r\n\r\n")
    assert bytes(got) == b"5;a=b\r\nhello\r\n0\r\n\r\n"


async def test_interim_answers_are_passed_on_before_the_body_is_sent() -> None:
    async def expect(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(5)
        writer.write(OK)

    async with dyno(expect) as app, router(table(local(app.port))) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"hello")
        answer = await reader.read(-1)
        writer.close()

    assert answer.endswith(b"ok")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_body_end_at_their_head(status: bytes) -> None:
    async def tell(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")

    async with dyno(tell) as app, router(table(local(app.port))) as running:
        answer = await running.ask(get(close=False) + get())

    assert answer.count(status) == 2


async def test_head_is_answered_without_a_body() -> None:
    async def tell(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")

    async with dyno(tell) as app, router(table(local(app.port))) as running:
        answer = await running.ask(get().replace(b"GET", b"HEAD"))

    assert b"Content-Length: 100" in answer and answer.endswith(b"\r\n\r\n")


async def test_an_answer_that_ends_with_its_connection_is_whole_and_a_cut_one_looks_cut() -> None:
    async def endless(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        short = b"/cut" in head
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 9\r\n" if short else b"") + b"\r\nhello")
        writer.close()

    async with dyno(endless) as app, router(table(local(app.port))) as running:
        whole = await running.ask(get(close=False))
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(get("/cut", close=False))
        cut = await reader.read(-1)
        writer.close()

    assert whole.endswith(b"Connection: close\r\n\r\nhello")
    assert b"Content-Length: 9" in cut and cut.endswith(b"\r\n\r\nhello")


async def test_a_websocket_is_tunnelled_both_ways() -> None:
    async def switch(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi"
        )
        while data := await reader.read(100):
            writer.write(data.upper())

    async with dyno(switch) as app, router(table(local(app.port))) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(get("/ws", "Connection: Upgrade", "Upgrade: websocket", close=False) + b"early")
        head = await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(7) == b"hiEARLY"
        running.proxy.routing.use_routes(table())
        writer.write(b"late")
        assert await reader.readexactly(4) == b"LATE"
        writer.close()

    assert head.startswith(b"HTTP/1.1 101 ") and b"Upgrade: websocket" in head
    assert b"Upgrade: websocket" in app.heads[0]


async def test_an_upgrade_to_anything_else_is_an_ordinary_request() -> None:
    async with dyno() as app, router(table(local(app.port))) as running:
        answer = await running.ask(
            get("/", "Upgrade: h2c", "HTTP2-Settings: x", "Connection: Upgrade, close", close=False)
        )

    assert b"200 OK" in answer
    assert b"upgrade" not in app.heads[0].lower() and b"http2" not in app.heads[0].lower()


async def test_a_dyno_that_does_not_speak_http_is_a_bad_gateway() -> None:
    async def garbage(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")

    async with dyno(garbage) as app, router(table(local(app.port))) as running:
        answer = await running.ask(get())

    assert answer.startswith(b"HTTP/1.1 502") and APP.encode() in answer


async def test_slow_heads_and_silent_dynos_are_given_up() -> None:
    async def silent(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    timings = RouterTimings(head_seconds=0.1, answer_seconds=0.1, linger_seconds=0.1)
    async with dyno(silent) as app, router(table(local(app.port)), timings=timings) as running:
        slow_head, silence = await asyncio.gather(running.ask(HEAD), running.ask(get()))

    assert slow_head.startswith(b"HTTP/1.1 408")
    assert silence.startswith(b"HTTP/1.1 504")


async def test_a_client_may_close_its_half_and_still_gets_the_answer() -> None:
    async with dyno() as app, router(table(local(app.port))) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(get(close=False))
        writer.write_eof()
        answer = await reader.read(-1)
        writer.close()

    assert answer.endswith(b"ok")


async def test_a_client_that_goes_away_frees_the_dyno() -> None:
    gone = asyncio.Event()

    async def wait(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(-1)
        except ConnectionError:
            pass
        gone.set()

    async with dyno(wait) as app, router(table(local(app.port))) as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(post(b"hello")[:-2])
        await eventually(lambda: app.heads)
        writer.transport.abort()
        async with asyncio.timeout(2):
            await gone.wait()


async def test_an_app_in_maintenance_is_answered_with_a_page_and_none_of_its_dynos_is_asked() -> None:
    async with dyno() as serving:
        routes = table(local(serving.port))
        closed = RouteTable(tuple(replace(app, in_maintenance=True) for app in routes.apps))
        async with router(closed) as running:
            answer = await running.ask(get())
            head = await running.ask(get().replace(b"GET", b"HEAD"))
            running.proxy.routing.use_routes(routes)
            again = await running.ask(get())

    assert answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 60" in answer
    assert b"<h1>blog is being worked on</h1>" in answer
    assert head.startswith(b"HTTP/1.1 503 ") and b"<h1>" not in head
    assert again.startswith(b"HTTP/1.1 200 ") and len(serving.heads) == 1
