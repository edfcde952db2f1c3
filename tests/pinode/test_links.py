"""Links between nodes, over real TLS on loopback."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pinode.errors import Conflict, NotFound, PinodeError
from pinode.peers.certificates import new_web_authority
from pinode.peers.connection import FrameConnection
from pinode.peers.errors import MalformedFrame, PeerRefused, PeerUnreachable
from pinode.peers.frames import (
    HEADER,
    MAX_FRAME_BYTES,
    Chunk,
    FrameSplitter,
    Hello,
    Refusal,
    Reply,
    Request,
    decode,
    encode,
)
from pinode.peers.identity import load_web_credentials
from pinode.peers.links import PeerLinks
from pinode.peers.listener import MAX_UNPROVEN_PER_SOURCE
from pinode.peers.standing import ClusterMark
from pinode.peers.tls import PEER_NAME, QUEUE_PROTOCOL, peer_client_context
from pinode.settings import Address
from tests.pinode.peer_nodes import OTHER_KEY, PeerNode, cluster_of, identity_in, nobodys_standing, running
from tests.waiting import eventually

MESSAGES = [
    Hello(1, "votes", b"c", 3, 7, b"m"),
    Refusal("busy", "no"),
    Request(7, "m", b"\0\xff"),
    Reply(7, b""),
    Chunk(b"x" * 1000),
]


async def echo(peer: str, payload: bytes) -> bytes:
    return payload


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_comes_back_from_its_bytes_cut_anywhere(message: object) -> None:
    encoded = encode(message)  # type: ignore[arg-type]

    for cut in range(0, len(encoded), 7):
        splitter = FrameSplitter()
        frames = [*splitter.feed(encoded[:cut]), *splitter.feed(encoded[cut:])]

        assert [decode(frame) for frame in frames] == [message]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x90",
        b"\x91\x63",
        b"\x92\x03\x01",
        b"\xc1",
        b"\x94\x03\xa17\xa1m\xc4\0",
        b"\x81\x01\x02",
        b"\x91" * 3000,
    ],
)
def test_bytes_that_are_no_message_are_malformed(frame: bytes) -> None:
    with pytest.raises(MalformedFrame):
        decode(frame)


def test_unknown_fields_of_a_newer_version_are_skipped() -> None:
    assert decode(b"\x95\x03\x07\xa1m\xc4\x00\xa5later") == Request(7, "m", b"")


def test_a_frame_over_the_bound_ends_the_stream_before_it_is_read() -> None:
    with pytest.raises(MalformedFrame, match="over the bound"):
        FrameSplitter().feed(HEADER.pack(MAX_FRAME_BYTES + 1))


async def test_frames_arrive_in_order_on_both_lanes_with_the_sender_they_prove() -> None:
    one, two = cluster_of(2)
    sent = [str(number).encode() for number in range(500)]

    async with running(one, two):
        for frame in sent:
            one.links.send(two.node_id, "appends", frame)
        one.links.send(two.node_id, "votes", b"vote")
        await eventually(lambda: len(two.frames) == 501)

    assert [frame for peer, frame in two.frames if frame != b"vote"] == sent
    assert {peer for peer, _ in two.frames} == {one.node_id}


async def test_calls_run_side_by_side_and_errors_keep_their_code() -> None:
    one, two = cluster_of(2)
    gate = asyncio.Event()

    async def wait(peer: str, payload: bytes) -> bytes:
        await gate.wait()
        return b"waited"

    async def refuse(peer: str, payload: bytes) -> bytes:
        raise NotFound("there is no slug abc")

    async with running(one, two):
        for method, handler in {"wait": wait, "echo": echo, "refuse": refuse}.items():
            two.links.serve(method, handler)
        slow = asyncio.create_task(one.links.call(two.node_id, "wait", b"", timeout_seconds=5))
        quick = await one.links.call(two.node_id, "echo", b"hello", timeout_seconds=5)
        with pytest.raises(PeerRefused, match="no slug abc") as refused:
            await one.links.call(two.node_id, "refuse", b"", timeout_seconds=5)
        with pytest.raises(PeerRefused, match="does not know"):
            await one.links.call(two.node_id, "nothing", b"", timeout_seconds=5)
        gate.set()

        assert (quick, await slow, refused.value.code) == (b"hello", b"waited", "not_found")


def connections_to(node: PeerNode) -> int:
    """Established ones to the port it listens on, from within this process."""
    assert node.links.bound
    ends = [one.raddr for one in psutil.Process().net_connections("tcp") if one.status == "ESTABLISHED"]
    return ends.count((node.links.bound.host, node.links.bound.port))


async def test_a_connection_for_calls_that_nobody_uses_is_closed_and_nobody_is_thought_gone() -> None:
    one, other = cluster_of(2)
    one.renew_links(idle_seconds=0.02)
    released = asyncio.Event()

    async def wait(peer: str, payload: bytes) -> bytes:
        await released.wait()
        return payload

    other.links.serve("echo", echo)
    other.links.serve("wait", wait)
    async with running(one, other):
        loop = asyncio.get_running_loop()
        asked = [await one.links.call(other.node_id, "echo", b"1", timeout_seconds=5)]
        slow = asyncio.ensure_future(one.links.call(other.node_id, "wait", b"2", timeout_seconds=5))
        until = loop.time() + 4 * 0.02
        while loop.time() < until:
            await one.links.call(other.node_id, "echo", b"", timeout_seconds=5)
        while_asking = connections_to(other)
        released.set()
        asked.append(await slow)
        await eventually(lambda: connections_to(other) == 0)
        again = await one.links.call(other.node_id, "echo", b"3", timeout_seconds=5)

        assert (asked, while_asking, again) == ([b"1", b"2"], 1, b"3")
        assert (one.resets, other.resets) == ([], [])


async def test_a_call_to_oneself_needs_no_connection() -> None:
    (alone,) = cluster_of(1)
    alone.links.serve("echo", echo)

    assert await alone.links.call(alone.node_id, "echo", b"me", timeout_seconds=1) == b"me"


async def test_who_no_longer_waits_for_an_answer_ends_the_work_for_it() -> None:
    one, two = cluster_of(2)
    ended: list[str] = []

    async def forever(peer: str, payload: bytes) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(peer)
        return b""

    async with running(one, two):
        two.links.serve("forever", forever)
        with pytest.raises(TimeoutError, match="gave no answer to forever"):
            await one.links.call(two.node_id, "forever", b"", timeout_seconds=0.2)

        await eventually(lambda: ended == [one.node_id])


async def test_a_stream_brings_all_chunks_and_holds_back_a_sender_that_is_faster_than_its_reader() -> None:
    one, two = cluster_of(2)
    made = 0

    async def chunks(peer: str, payload: bytes) -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(400):
            made += 1
            yield payload * 100_000

    async with running(one, two):
        two.links.serve_stream("slug", chunks)
        stream = one.links.stream(two.node_id, "slug", b"s", timeout_seconds=5)
        first = await anext(stream)
        seen: list[int] = []
        await eventually(lambda: seen.append(made) or (len(seen) > 10 and len(set(seen[-10:])) == 1))
        ahead = made
        rest = [len(chunk) async for chunk in stream]

    assert first == b"s" * 100_000
    assert ahead < 300
    assert len(rest) == 399


async def test_streams_are_marked_as_background_at_both_ends_and_calls_are_not() -> None:
    one, two = cluster_of(2)

    async def marks(peer: str, payload: bytes) -> AsyncIterator[bytes]:
        yield bytes(mark for node in (one, two) for mark in marks_of(node))

    async with running(one, two):
        two.links.serve("echo", echo)
        two.links.serve_stream("marks", marks)
        await one.links.call(two.node_id, "echo", b"", timeout_seconds=5)
        (seen,) = [part async for part in one.links.stream(two.node_id, "marks", b"", timeout_seconds=5)]

    assert sorted(seen) == [0, 0, 0x20, 0x20]


def marks_of(node: PeerNode) -> Iterator[int]:
    for connection in node.links._connections:
        link = connection.transport.get_extra_info("socket")
        yield link.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)


async def test_a_stream_cut_off_is_not_taken_for_a_complete_one() -> None:
    one, two = cluster_of(2)
    asked = asyncio.Event()

    async def half(peer: str, payload: bytes) -> AsyncIterator[bytes]:
        yield b"half"
        asked.set()
        await asyncio.Event().wait()

    two.links.serve_stream("slug", half)
    async with running(one):
        async with running(two):
            stream = one.links.stream(two.node_id, "slug", b"", timeout_seconds=5)
            assert await anext(stream) == b"half"

        with pytest.raises(PeerUnreachable, match="in the middle"):
            await anext(stream)


async def test_a_peer_that_ends_is_noticed_at_once_and_found_again_when_it_is_back() -> None:
    one, two = cluster_of(2)
    async with running(one):
        async with running(two):
            one.links.send(two.node_id, "votes", b"before")
            await eventually(lambda: two.frames)

        await eventually(lambda: two.node_id in one.resets, within_seconds=1)
        one.resets.clear()
        await eventually(
            lambda: one.links.send(two.node_id, "votes", b"gone") or one.resets, saying="refused"
        )
        again = PeerNode("127.0.0.2", one.members)
        again.identity, again.node_id = two.identity, two.node_id
        again.links = PeerLinks(
            two.identity,
            listen=two.links.bound or Address("127.0.0.2", 0),
            standing=again.standing(),
            address_of=again.address_of,
        )
        again.links.on_frame(lambda peer, frame: again.frames.append((peer, frame)))
        one.members[two.node_id] = again
        async with running(again):
            await eventually(lambda: one.links.send(two.node_id, "votes", b"after") or again.frames)

            assert again.frames[0][0] == one.node_id


async def test_a_node_that_is_no_member_is_refused_but_may_call_what_is_open_to_holders_of_the_key() -> None:
    one, two = cluster_of(2)
    guest = PeerNode("127.0.0.9", {two.node_id: two})
    two.links.serve("founding", echo, open_to_holders=True)
    two.links.serve("secret", echo)
    async with running(one, two, guest):
        bound = two.links.bound or Address("", 0)
        guest.links.send(two.node_id, "votes", b"let me in")
        answer = await guest.links.exchange(bound.host, bound.port, "founding", b"hello", timeout_seconds=5)
        for question in (
            guest.links.exchange(bound.host, bound.port, "secret", b"", timeout_seconds=5),
            guest.links.call(two.node_id, "secret", b"", timeout_seconds=5),
        ):
            with pytest.raises(PeerRefused, match="not a member") as refused:
                await question

    assert (answer, refused.value.code, two.frames) == (b"hello", "not_member", [])


async def test_a_member_of_a_cluster_with_another_id_is_refused() -> None:
    one, two = cluster_of(2)
    two.links.serve("echo", echo)
    one.cluster = ClusterMark(b"another cluster!", 0)
    async with running(one, two):
        one.links.send(two.node_id, "appends", b"mine")
        with pytest.raises(PeerRefused, match="another cluster, founded apart") as refused:
            await one.links.call(two.node_id, "echo", b"", timeout_seconds=5)

    assert (two.frames, refused.value.code) == ([], "other_cluster")


async def test_holders_of_another_cluster_key_are_strangers_in_both_directions() -> None:
    one, two = cluster_of(2)
    stranger = PeerNode("127.0.0.9", {}, key=OTHER_KEY)
    stranger.members.update({two.node_id: two})
    one.members[stranger.node_id] = stranger
    two.links.serve("founding", echo, open_to_holders=True)
    stranger.links.serve("founding", echo, open_to_holders=True)
    async with running(one, two, stranger):
        for asker, asked in ((stranger, two), (one, stranger)):
            bound = asked.links.bound or Address("", 0)
            with pytest.raises(PeerUnreachable):
                await asker.links.exchange(bound.host, bound.port, "founding", b"", timeout_seconds=5)


async def test_an_address_where_another_node_answers_is_not_the_peer() -> None:
    one, two, three = cluster_of(3)
    three.links.serve("echo", echo)
    one.members = {two.node_id: three}
    async with running(one, two, three):
        with pytest.raises(PeerUnreachable, match=f"node {three.node_id} answers there"):
            await one.links.call(two.node_id, "echo", b"", timeout_seconds=5)


async def test_nobody_there_is_said_at_once() -> None:
    one, two = cluster_of(2)
    async with running(one):
        with pytest.raises(PeerUnreachable, match="no address"):
            await one.links.call(two.node_id, "echo", b"", timeout_seconds=5)
        with pytest.raises(PeerUnreachable, match="not reached"):
            await one.links.exchange("127.0.0.2", 1, "echo", b"", timeout_seconds=5)


async def raw_tls(node: PeerNode, context: ssl.SSLContext, name: str = PEER_NAME) -> bytes:
    """Say something that is no frame of a peer, and return all that comes back."""
    bound = node.links.bound or Address("", 0)
    try:
        reader, writer = await asyncio.open_connection(
            bound.host, bound.port, ssl=context, server_hostname=name
        )
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        return await asyncio.wait_for(reader.read(), 3)
    except (ssl.SSLError, ConnectionError):
        return b""


async def test_strangers_are_closed_without_an_answer_and_change_nothing(tmp_path: Path) -> None:
    (node,) = cluster_of(1)
    no_certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    no_certificate.check_hostname, no_certificate.verify_mode = False, ssl.CERT_NONE
    no_certificate.set_alpn_protocols(["pinode-peer/1"])
    foreign = peer_client_context(identity_in(tmp_path, OTHER_KEY).files)
    foreign.verify_mode = ssl.CERT_NONE
    member = peer_client_context(node.identity.files)
    async with running(node):
        bound = node.links.bound or Address("", 0)
        answers = [await raw_tls(node, context) for context in (no_certificate, foreign, member)]
        reader, writer = await asyncio.open_connection(bound.host, bound.port)
        writer.write(b"\0" * 1000)
        with contextlib.suppress(ConnectionError):
            answers.append(await asyncio.wait_for(reader.read(), 3))
        writer.close()

    assert b"".join(answers[:3]) == b""
    assert node.frames == []


async def test_a_flood_of_silent_connections_is_bounded_and_shuts_nobody_else_out() -> None:
    one, two = cluster_of(2)
    two.links.serve("echo", echo)
    async with running(one, two):
        bound = two.links.bound or Address("", 0)
        before = open_files()
        flood = []
        for _ in range(60):
            stranger = socket.socket()
            stranger.bind(("127.0.0.66", 0))
            stranger.setblocking(False)
            await asyncio.get_running_loop().sock_connect(stranger, (bound.host, bound.port))
            flood.append(stranger)

        answer = await one.links.call(two.node_id, "echo", b"still here", timeout_seconds=5)
        await eventually(lambda: open_files() - before - len(flood) <= MAX_UNPROVEN_PER_SOURCE + 10)
        for stranger in flood:
            stranger.close()

    assert answer == b"still here"


class Greeter(asyncio.Protocol):
    """Stands for the queue's server: it greets and hangs up."""

    def __init__(self, *, on_judged: Callable[[], None]) -> None:
        self._on_judged = on_judged

    def connection_lost(self, error: Exception | None) -> None:
        self._on_judged()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"queue here")
        transport.close()


async def test_queue_clients_need_no_certificate_and_see_the_one_of_the_web(tmp_path: Path) -> None:
    (node,) = cluster_of(1)
    authority, key = new_web_authority("home")
    web = load_web_credentials(
        tmp_path,
        authority_pem=authority,
        authority_key_pem=key,
        cluster_name="home",
        host="pi1",
        addresses=["10.0.0.5"],
    )
    client = ssl.create_default_context(cadata=authority)
    client.set_alpn_protocols([QUEUE_PROTOCOL])
    async with running(node):
        before = await raw_tls(node, client, "queue.pinode")
        node.links.on_queue_client(Greeter, web.context(QUEUE_PROTOCOL))
        after = await raw_tls(node, client, "queue.pinode")
        client.set_alpn_protocols(["pinode-peer/1"])
        as_peer = await raw_tls(node, client, "queue.pinode")

    assert (before, after, as_peer) == (b"", b"queue here", b"")


class Unsure(asyncio.Protocol):
    """A queue's server that does not know yet whom it serves."""

    def __init__(self, *, on_judged: Callable[[], None]) -> None:
        pass


async def test_queue_clients_count_as_strangers_until_they_have_proved_who_they_are(tmp_path: Path) -> None:
    (node,) = cluster_of(1)
    authority, key = new_web_authority("home")
    web = load_web_credentials(
        tmp_path,
        authority_pem=authority,
        authority_key_pem=key,
        cluster_name="home",
        host="pi1",
        addresses=["10.0.0.5"],
    )
    client = ssl.create_default_context(cadata=authority)
    client.set_alpn_protocols([QUEUE_PROTOCOL])
    async with running(node):
        node.links.on_queue_client(Unsure, web.context(QUEUE_PROTOCOL))
        bound = node.links.bound or Address("", 0)
        strangers = [
            (
                await asyncio.open_connection(
                    bound.host, bound.port, ssl=client, server_hostname="queue.pinode"
                )
            )[1]
            for _ in range(MAX_UNPROVEN_PER_SOURCE)
        ]

        with pytest.raises(OSError):
            await asyncio.open_connection(bound.host, bound.port, ssl=client, server_hostname="queue.pinode")
        for stranger in strangers:
            stranger.transport.abort()


async def test_a_port_that_is_taken_is_named() -> None:
    one, two = cluster_of(2)
    async with running(one):
        two.links = PeerLinks(
            two.identity,
            listen=one.links.bound or Address("", 0),
            standing=nobodys_standing(),
            address_of=lambda node_id: None,
        )
        with pytest.raises(ExceptionGroup) as failed:
            await two.links.run()

    assert failed.value.subgroup(PinodeError)
    assert not failed.value.subgroup(Conflict), "another try may find the address free, or there"


async def test_a_member_that_sends_an_oversize_frame_is_cut_off_and_the_next_connection_works() -> None:
    one, two = cluster_of(2)
    two.links.serve("echo", echo)
    context = peer_client_context(one.identity.files)
    async with running(one, two):
        bound = two.links.bound or Address("", 0)
        rogue = FrameConnection(lambda frame: None)
        await asyncio.get_running_loop().create_connection(
            lambda: rogue, bound.host, bound.port, ssl=context, server_hostname=PEER_NAME
        )
        rogue.write(one.standing().hello("appends"))
        await eventually(lambda: rogue.buffered_bytes == 0)
        rogue.transport.write(HEADER.pack(MAX_FRAME_BYTES + 1))

        await eventually(lambda: not rogue.is_open)
        assert await one.links.call(two.node_id, "echo", b"fine", timeout_seconds=5) == b"fine"
