"""A cluster changes its key while it runs: install, use, remove; no member is lost, and the old key opens nothing."""

import asyncio
import base64
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from gossip.__main__ import read_keys
from gossip.events import Event, MemberDied, MemberSuspected
from gossip.keys import MAX_KEYS, KeyRing, derive_from
from gossip.member import Address, MemberState, NodeId
from gossip.sealing import EchoSeal
from gossip.service import Gossip
from gossip.streams import SealedStreams
from tests.gossip.factories import node_id
from tests.gossip.test_alone import free_port, start_program
from tests.gossip.test_service import FAST
from tests.waiting import eventually

OLD, NEW, OTHER = derive_from(b"o" * 32), derive_from(b"n" * 32), derive_from(b"x" * 32)
HERE: Address = ("10.0.0.1", 7300)


def seal_of(name: str, keys: KeyRing) -> EchoSeal:
    return EchoSeal(node_id(name), keys=keys, cluster_id=b"home", random=Random(name))


def acquainted() -> tuple[EchoSeal, EchoSeal, KeyRing, KeyRing]:
    """Two seals under the old key, the second of which knows the first."""
    keys = KeyRing(OLD), KeyRing(OLD)
    one, two = seal_of("a", keys[0]), seal_of("b", keys[1])
    challenge = two.open(one.seal(b"hello", to=HERE), source=HERE).replies[0]
    assert two.open(one.open(challenge, source=HERE).replies[0], source=HERE).payload == b"hello"
    return one, two, *keys


@pytest.mark.parametrize("seed", range(20))
def test_whichever_order_two_members_rotate_in_nothing_said_between_them_is_lost(seed: int) -> None:
    one, two, keys_of_one, keys_of_two = acquainted()
    old, random, heard = keys_of_one.in_use, Random(seed), []
    rings = [keys_of_one, keys_of_two]

    for step in ("install", "use", "remove"):
        random.shuffle(rings)
        for ring in rings:
            if step == "install":
                new = ring.install(NEW)
            elif step == "use":
                ring.use(new)
            else:
                ring.remove(old)
            opened = two.open(one.seal(b"word", to=HERE), source=HERE)
            heard.append((opened.payload, opened.replies))

    assert heard == [(b"word", ())] * 6, "believed at once, without a new echo"


def test_a_key_that_was_removed_opens_nothing_and_neither_do_its_recordings() -> None:
    one, two, keys_of_one, keys_of_two = acquainted()
    late = one.seal(b"said under the old key, and held back", to=HERE)
    old, new = keys_of_one.in_use, keys_of_one.install(NEW)
    keys_of_two.install(NEW)
    for ring in (keys_of_one, keys_of_two):
        ring.use(new)
        ring.remove(old)

    removed = seal_of("c", KeyRing(OLD))
    opened = [two.open(datagram, source=HERE) for datagram in (late, removed.seal(b"me too", to=HERE))]
    back = removed.open(one.seal(b"news", to=HERE), source=HERE)

    assert [(one.payload, one.replies) for one in (*opened, back)] == [(None, ())] * 3
    assert (two.counters.strangers, removed.counters.strangers) == (2, 1)


def test_a_seal_says_who_still_uses_another_key() -> None:
    one, two, keys_of_one, keys_of_two = acquainted()
    new = keys_of_two.install(NEW)
    keys_of_one.install(NEW)
    keys_of_two.use(new)

    two.open(one.seal(b"by the old key", to=HERE), source=HERE)
    before = dict(two.keys_of_members()), two.counters.by_other_keys
    keys_of_one.use(new)
    two.open(one.seal(b"by the new key", to=HERE), source=HERE)

    assert before == ({node_id("a"): keys_of_one.install(OLD)}, 1)
    assert (two.keys_of_members(), two.counters.by_other_keys) == ({node_id("a"): new}, 1)


def test_what_overtook_a_rotation_is_heard_and_does_not_turn_it_back() -> None:
    one, two, keys_of_one, keys_of_two = acquainted()
    new = keys_of_one.install(NEW)
    keys_of_two.install(NEW)
    before = one.seal(b"before", to=HERE)
    keys_of_one.use(new)
    after = one.seal(b"after", to=HERE)

    heard = [two.open(datagram, source=HERE).payload for datagram in (after, before, before)]

    assert heard == [b"after", b"before", None]
    assert two.keys_of_members() == {node_id("a"): new}
    assert two.counters.replayed == 1


def test_the_key_in_use_cannot_be_removed_nor_one_be_used_that_is_not_installed() -> None:
    keys = KeyRing(OLD)

    with pytest.raises(ValueError, match="in use"):
        keys.remove(keys.in_use)
    with pytest.raises(ValueError, match="not installed"):
        keys.use(KeyRing(NEW).in_use)

    assert list(keys) == [KeyRing(OLD).in_use]


def test_keys_are_bounded_and_installing_one_twice_is_installing_it_once() -> None:
    keys = KeyRing(OLD)
    for number in range(1, MAX_KEYS):
        keys.install(derive_from(bytes([number]) * 32))

    keys.install(OLD)
    with pytest.raises(ValueError, match="remove"):
        keys.install(NEW)

    assert len(list(keys)) == MAX_KEYS


async def test_a_stream_is_opened_by_any_installed_key_and_answered_under_the_same() -> None:
    async with serving(KeyRing(NEW)) as (keys, where):
        keys.install(OLD)
        old_caller = SealedStreams(keys=KeyRing(OLD), random=Random(1))

        while_installed = await old_caller.exchange(*where, b"state")
        by_the_new = await SealedStreams(keys=KeyRing(NEW), random=Random(2)).exchange(*where, b"state")
        keys.remove(KeyRing(OLD).in_use)
        with pytest.raises((EOFError, ConnectionError)):
            await old_caller.exchange(*where, b"state")

    assert (while_installed, by_the_new) == (b"STATE", b"STATE")


@contextlib.asynccontextmanager
async def serving(keys: KeyRing) -> AsyncIterator[tuple[KeyRing, Address]]:
    port = free_port()
    server = SealedStreams(keys=keys, random=Random(0))
    task = asyncio.create_task(server.serve(("127.0.0.1", port), bytes.upper))

    async def is_open() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await eventually(is_open)
        yield keys, ("127.0.0.1", port)
    finally:
        task.cancel()


@dataclass
class Peer:
    """A member with keys of its own, on real sockets."""

    keys: KeyRing
    seal: EchoSeal
    gossip: Gossip
    events: list[Event]
    task: asyncio.Task[None]


class Cluster:
    """Some members that start and end."""

    def __init__(self) -> None:
        self.addresses: dict[str, Address] = {}
        self.peers: dict[str, Peer] = {}

    def start(self, name: str, keys: KeyRing, *, run_id: int = 1) -> Peer:
        address = self.addresses.setdefault(name, ("127.0.0.1", free_port()))
        random = Random(f"{name} {run_id}")
        streams = SealedStreams(keys=keys, random=random)
        seal = EchoSeal(node_id(name), keys=keys, cluster_id=b"home", random=random)
        gossip = Gossip(
            node_id=node_id(name),
            name=name,
            address=address,
            bind=address,
            run_id=run_id,
            cluster_id=b"home",
            seal=seal,
            exchange=streams.exchange,
            settings=FAST,
            seeds=[where for other, where in self.addresses.items() if other != name],
        )
        events: list[Event] = []
        gossip.subscribe(events.append)

        async def live() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(gossip.run())
                tasks.create_task(streams.serve(address, gossip.answer_exchange))

        peer = self.peers[name] = Peer(keys, seal, gossip, events, asyncio.create_task(live()))
        return peer

    async def stop(self, name: str) -> None:
        task = self.peers.pop(name).task
        task.cancel()
        await asyncio.wait({task})

    def all_see(self, state: MemberState, name: str) -> bool:
        return all(self.state(peer, name) is state for other, peer in self.peers.items() if other != name)

    def are_one(self) -> bool:
        return all(self.all_see(MemberState.ALIVE, name) for name in self.peers)

    @staticmethod
    def state(peer: Peer, name: str) -> MemberState | None:
        return next((one.state for one in peer.gossip.members() if one.name == name), None)

    def lost(self, *, since: dict[str, int]) -> list[Event]:
        """Suspicions and deaths after so many events of each member."""
        later = [event for name, count in since.items() for event in self.peers[name].events[count:]]
        return [event for event in later if isinstance(event, MemberSuspected | MemberDied)]

    def heard_from_all_by(self, mark: str) -> bool:
        """Whether everyone has heard everyone by this key last."""
        ids: set[NodeId] = {node_id(name) for name in self.peers}
        return all(
            {peer.seal.keys_of_members().get(one) for one in ids - {node_id(name)}} == {mark}
            for name, peer in self.peers.items()
        )


@contextlib.asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    try:
        yield made
    finally:
        for name in list(made.peers):
            await made.stop(name)


async def test_a_running_cluster_rotates_and_nobody_is_even_suspected() -> None:
    async with cluster() as nodes:
        for name in "abc":
            nodes.start(name, KeyRing(OLD))
        await eventually(nodes.are_one)
        began = {name: len(peer.events) for name, peer in nodes.peers.items()}
        old = nodes.peers["a"].keys.in_use

        for peer in nodes.peers.values():
            new = peer.keys.install(NEW)
        for peer in nodes.peers.values():
            peer.keys.use(new)
        await eventually(lambda: nodes.heard_from_all_by(new), within_seconds=10)
        for peer in nodes.peers.values():
            peer.keys.remove(old)
        heard = {name: peer.seal.counters.strangers for name, peer in nodes.peers.items()}

        assert nodes.are_one()
        assert heard == dict.fromkeys("abc", 0)
        assert nodes.lost(since=began) == []


async def test_a_member_that_was_off_during_a_rotation_is_a_stranger_until_it_has_the_new_key() -> None:
    async with cluster() as nodes:
        for name in "ab":
            nodes.start(name, KeyRing(NEW))
        await eventually(nodes.are_one)

        late = nodes.start("c", KeyRing(OLD))
        await eventually(lambda: late.gossip.counters.exchange_failures >= 2)
        seen_before = len(late.gossip.members()), nodes.all_see(MemberState.ALIVE, "c")
        late.keys.become(KeyRing(NEW))  # as whatever handed it in fetched it
        await eventually(nodes.are_one)

        assert seen_before == (1, False)


@pytest.mark.parametrize("text", ["", "no key at all", "c2hvcnQ="])
def test_a_file_without_keys_is_refused_and_says_how_to_make_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)

    with pytest.raises(ValueError, match="urandom"):
        read_keys(tmp_path / "key")


async def test_programs_rotate_when_told_to_read_their_key_files_again(tmp_path: Path) -> None:
    old, new = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
    ports = {"one": free_port(), "two": free_port()}
    folders = {name: tmp_path / name for name in ports}
    for folder in folders.values():
        folder.mkdir()
    programs = {
        name: start_program(folders[name], name, port=port, join=ports["one"], key=old)
        for name, port in ports.items()
    }

    def last_table(name: str) -> str:
        return (folders[name] / name).read_text().rpartition("member  ")[2]

    def both_show(*words: str) -> bool:
        return all(word in last_table(name) for name in ports for word in words)

    async def rotate(*keys: str, shown: str) -> None:
        for name, folder in folders.items():
            (folder / "key").write_text("\n".join(keys))
            programs[name].send_signal(signal.SIGHUP)
        await eventually(lambda: both_show(shown), within_seconds=20)

    try:
        await eventually(lambda: both_show("one ", "two "), within_seconds=20)
        await rotate(old, new, shown="1 more open; 0 live members seal by another")
        await rotate(new, old, shown=f"key {mark(new)} in use, 1 more open; 0 live members seal by another")
        await rotate(new, shown=f"key {mark(new)} in use, 0 more open; 0 live members seal by another")
        folders["one"].joinpath("key").write_text("rubbish")
        programs["one"].send_signal(signal.SIGHUP)
        await eventually(lambda: "stay as they are" in (folders["one"] / "errors").read_text())

        assert both_show("opened by none")
        assert "dead" not in "".join((folders[name] / name).read_text() for name in ports)
    finally:
        for program in programs.values():
            program.kill()
            program.wait()


def mark(key: str) -> str:
    return KeyRing(derive_from(base64.b64decode(key))).in_use
