"""Fetching cluster keys over real links: who holds another key, or none that opens, and who is refused."""

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pinode.peers import key_door
from pinode.peers.certificates import node_id_of
from pinode.peers.cluster_key import ClusterKey
from pinode.peers.errors import MalformedFrame, PeerUnreachable
from pinode.peers.held_keys import HeldKeys
from pinode.peers.identity import hold_keys, node_key
from pinode.peers.key_door import KeysAnswer, NoKeys, ask_for_keys
from pinode.peers.key_store import KeyStore
from pinode.settings import Address
from tests.pinode.peer_nodes import CLUSTER_KEY, OTHER_KEY, PeerNode, cluster_of, running
from tests.waiting import eventually

NEW_KEY = ClusterKey(b"n" * 32)


def installed(entitled: frozenset[str] = frozenset()) -> HeldKeys:
    return HeldKeys(in_use=CLUSTER_KEY).with_successor(NEW_KEY, entitled=entitled)


def used() -> HeldKeys:
    return installed().using_successor(generation=1)


class Asked:
    """A node that answers, and what it was asked."""

    def __init__(self, key: ClusterKey = CLUSTER_KEY) -> None:
        self.node = PeerNode("127.0.0.1", {}, key=key)
        self.heard: list[tuple[str, tuple[str, ...], int]] = []
        self.answer: KeysAnswer = installed()
        self.node.links.on_keyless(self.judge)

    def judge(self, peer: str, marks: tuple[str, ...], generation: int) -> KeysAnswer:
        self.heard.append((peer, marks, generation))
        return self.answer

    @property
    def where(self) -> Address:
        assert self.node.links.bound
        return self.node.links.bound


async def test_a_node_whose_key_the_other_no_longer_holds_proves_itself_by_its_own_and_is_given_the_new_one() -> (
    None
):
    asked, asking = Asked(NEW_KEY), PeerNode("127.0.0.2", {}, key=OTHER_KEY)
    held = asking.identity.secrets.held
    async with running(asked.node):
        answer = await asking.links.ask_for_keys(asked.node.node_id, asked.where, held.marks, 0)

    assert answer == asked.answer
    assert asked.heard == [(asking.node_id, held.marks, 0)]


async def test_keys_are_taken_from_the_node_that_was_meant_alone() -> None:
    asked, asking = Asked(), PeerNode("127.0.0.2", {})
    async with running(asked.node):
        with pytest.raises(PeerUnreachable, match="not 9999"):
            await asking.links.ask_for_keys("9" * 16, asked.where, (), 0)
        with pytest.raises(MalformedFrame):
            await asking.links.ask_for_keys(None, asked.where, (), 0)

    assert asked.heard == [(asking.node_id, (), 0)], "who asks another than it meant says nothing"


async def test_the_reason_for_none_is_told_also_to_who_knows_nobody() -> None:
    asked, asking = Asked(), PeerNode("127.0.0.2", {})
    asked.answer = NoKeys("key_rotated", "it is an old one", "use a token")
    async with running(asked.node):
        assert await asking.links.ask_for_keys(None, asked.where, (), 0) == asked.answer


@pytest.mark.parametrize("what", ["another key", "another node", "another challenge", "other marks"])
async def test_a_proof_that_was_made_for_something_else_proves_nothing(
    what: str,
) -> None:
    """As somebody would need it who was told it by the node itself, and hands it on."""
    asked, key = Asked(), Ed25519PrivateKey.generate()
    to, marks = asked.node.node_id, ("m" * 16,)
    async with running(asked.node):
        connection, frames = await dialled(asked.where)
        challenge = await frames.get()
        question = key_door._question(
            key,
            "9" * 16 if what == "another node" else to,
            bytes(32) if what == "another challenge" else challenge,
            marks,
            0,
        )
        if what == "another key":
            other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
            question = question.replace(key.public_key().public_bytes_raw(), other)
        elif what == "other marks":
            question = question.replace(b"m" * 16, b"x" * 16)
        connection.write_frame(question)

        assert await frames.get() == b"", "it is closed without a word"
    assert asked.heard == []


async def test_a_true_proof_by_hand_is_believed() -> None:
    asked, key = Asked(), Ed25519PrivateKey.generate()
    async with running(asked.node):
        connection, frames = await dialled(asked.where)
        challenge = await frames.get()
        connection.write_frame(key_door._question(key, asked.node.node_id, challenge, (), 3))
        await frames.get()

    assert asked.heard == [(node_id_of(key.public_key()), (), 3)]


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x91\x01", b"x" * 3_000])
async def test_rubbish_and_what_is_too_large_is_cut_off(content: bytes) -> None:
    asked = Asked()
    async with running(asked.node):
        connection, frames = await dialled(asked.where)
        await frames.get()
        connection.write_frame(content)

        assert await frames.get() == b""
    assert asked.heard == []


async def test_who_asks_without_end_is_asked_for_patience() -> None:
    asked, asking = Asked(), PeerNode("127.0.0.2", {})
    asked.answer = NoKeys("unknown_node", "no")
    codes: list[str] = []
    async with running(asked.node):
        while "too_many_requests" not in codes and len(codes) < 5 * key_door.BURST:
            answer = await asking.links.ask_for_keys(None, asked.where, (), 0)
            assert isinstance(answer, NoKeys)
            codes.append(answer.code)

    # More than at once are answered when asking takes its time.
    assert len(codes) > key_door.BURST
    assert codes == ["unknown_node"] * (len(codes) - 1) + ["too_many_requests"]


async def dialled(where: Address) -> "tuple[key_door.FrameConnection, asyncio.Queue[bytes]]":
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    connection = key_door.FrameConnection(frames.put_nowait)
    connection.on_closed(lambda was_reset: frames.put_nowait(b""))
    await key_door._dial(connection, where, None)
    return connection, frames


# -- links during a rotation -------------------------------------------------------------------------------


async def hold(node: PeerNode, held: HeldKeys) -> None:
    folder = node.identity.files.key.parent
    await hold_keys(node.identity, KeyStore(folder / "cluster.key", folder), held)


async def asks(node: PeerNode, other: PeerNode) -> bytes:
    """By a connection of its own."""
    where = other.links.bound
    assert where is not None
    return await node.links.exchange(where.host, where.port, "echo", b"hello", timeout_seconds=3)


async def echo(_: str, payload: bytes) -> bytes:
    return payload


async def test_in_each_step_nodes_of_this_one_and_the_one_before_reach_each_other_both_ways() -> None:
    one, two = cluster_of(2)
    for node in (one, two):
        node.links.serve("echo", echo)
    steps = [installed(), used(), used().alone()]
    async with running(one, two):
        for step in steps:
            await hold(one, step)
            assert [await asks(one, two), await asks(two, one)] == [b"hello"] * 2
            await hold(two, step)
            assert [await asks(one, two), await asks(two, one)] == [b"hello"] * 2


async def test_who_holds_the_old_key_alone_is_not_let_in_and_what_it_holds_open_can_be_cut() -> None:
    member, stranger = cluster_of(2)
    member.links.serve("echo", echo)
    async with running(member, stranger):
        assert await stranger.links.call(member.node_id, "echo", b"early", timeout_seconds=3) == b"early"
        await hold(member, used().alone())

        member.links.cut_off(lambda peer: peer == stranger.node_id)
        await eventually(lambda: not member.links._callers)
        with pytest.raises(PeerUnreachable):
            await asks(stranger, member)
        with pytest.raises(PeerUnreachable):
            await asks(member, stranger)
        with pytest.raises(PeerUnreachable):
            await stranger.links.call(member.node_id, "echo", b"late", timeout_seconds=3)


async def test_a_node_may_ask_with_its_own_key_wherever_that_lies() -> None:
    asked, asking = Asked(), PeerNode("127.0.0.2", {})
    async with running(asked.node):
        answer = await ask_for_keys(
            asked.where, node_key(asking.identity.files), (), 0, expected=asked.node.node_id
        )

    assert isinstance(answer, HeldKeys) and asked.heard[0][0] == asking.node_id
