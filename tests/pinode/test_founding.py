"""Founding of real nodes on loopback: real links, real files."""

import asyncio
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random, SystemRandom

import pytest

from pinode.errors import Conflict, PinodeError, SettingsError
from pinode.peers.agreement import Accept, AcceptorState, Ballot, Outbid, Prepare, Promised, Value
from pinode.peers.certificates import fingerprint
from pinode.peers.cluster_key import ClusterKey, load_or_make_cluster_key
from pinode.peers.errors import MalformedFrame
from pinode.peers.founding import found
from pinode.peers.founding_codec import (
    Founded,
    Look,
    Seen,
    decode,
    decode_record,
    decode_state,
    encode,
    encode_record,
    encode_state,
)
from pinode.peers.founding_record import FoundingMember, FoundingRecord, new_founding_record
from pinode.peers.founding_store import FoundingStore
from pinode.peers.identity import load_identity
from pinode.peers.keys import ClusterSecrets, SealBroken
from pinode.peers.links import PeerLinks
from pinode.settings import Address, Settings, load_settings
from tests.pinode.peer_nodes import CLUSTER_KEY, nobodys_standing
from tests.waiting import eventually

SECRETS = ClusterSecrets.derived_from(CLUSTER_KEY)
MEMBERS = [
    FoundingMember(node_id=f"{number:016x}", name=f"pi{number}", host=f"10.0.0.{number}", peer_port=7300)
    for number in (1, 2, 3)
]


def a_record(seed: int = 0) -> FoundingRecord:
    return new_founding_record(
        name="home", members=MEMBERS, secrets=SECRETS, random=Random(seed), created_at_unix=1.5
    )


def free_port(host: str) -> int:
    with socket.socket() as door:
        door.bind((host, 0))
        return int(door.getsockname()[1])


@dataclass
class FreshNode:
    """A node that is about to be founded."""

    folder: Path
    number: int
    expect: int = 3
    join: list[str] = field(default_factory=list)
    name: str = ""
    key: ClusterKey = CLUSTER_KEY
    port: int = 0

    def __post_init__(self) -> None:
        self.host = f"127.0.0.{self.number}"
        self.port = self.port or free_port(self.host)
        self.identity = load_identity(self.folder, ClusterSecrets.derived_from(self.key))

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def settings(self) -> Settings:
        settings = load_settings(
            None,
            {},
            {
                "cluster.expect": self.expect,
                "cluster.discovery": "off",
                "cluster.join": self.join,
                "node.data_dir": str(self.folder),
            },
        )
        listen = replace(settings.listen, peer=Address(self.host, self.port))
        return replace(settings, listen=listen)

    async def found(self) -> FoundingRecord:
        """Run links and founding until there is a record, and keep answering the others."""
        settings = self.settings()
        links = PeerLinks(
            self.identity,
            listen=settings.listen.peer,
            standing=nobodys_standing(),
            address_of=lambda node_id: None,
        )
        self.task = asyncio.create_task(links.run())
        return await found(
            settings,
            identity=self.identity,
            name=self.name or f"pi{self.number}",
            host=self.host,
            links=links,
            random=SystemRandom(),
        )

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def fresh_nodes(folder: Path, count: int = 3, expect: int = 3) -> list[FreshNode]:
    """Nodes that are told one address each: the first one's."""
    nodes = [FreshNode(folder / str(number), number, expect) for number in range(1, count + 1)]
    for node in nodes[1:]:
        node.join = [nodes[0].address]
    return nodes


async def test_three_nodes_that_know_one_address_found_one_cluster(tmp_path: Path) -> None:
    nodes = fresh_nodes(tmp_path)

    records = await asyncio.gather(*(node.found() for node in nodes))
    for node in nodes:
        await node.stop()

    assert records[0] == records[1] == records[2]
    assert {member.node_id for member in records[0].members} == {node.identity.node_id for node in nodes}
    assert [FoundingStore(node.folder).record() for node in nodes] == records


async def test_a_founded_node_that_starts_again_reads_its_record_and_asks_nobody(tmp_path: Path) -> None:
    (alone,) = fresh_nodes(tmp_path, 1, expect=1)
    first = await alone.found()
    await alone.stop()

    alone.expect, alone.join = 3, ["127.0.0.99:1"]
    second = await alone.found()
    await alone.stop()

    assert second == first


async def test_nodes_killed_in_the_middle_of_founding_still_found_one_cluster(tmp_path: Path) -> None:
    for attempt in range(6):
        nodes = fresh_nodes(tmp_path / str(attempt))
        runs = [asyncio.create_task(node.found()) for node in nodes]
        random = Random(attempt)
        victim = random.choice([0, 1, 2])
        touched = nodes[victim].folder / random.choice(["founding", "cluster.record"])
        await eventually(touched.exists, within_seconds=30)
        runs[victim].cancel()
        await nodes[victim].stop()
        await asyncio.gather(runs[victim], return_exceptions=True)

        again = asyncio.create_task(nodes[victim].found())
        records = await asyncio.gather(*(runs[at] if at != victim else again for at in range(3)))
        for node in nodes:
            await node.stop()

        assert records[0] == records[1] == records[2]


async def test_a_node_that_knew_nobody_and_promised_finds_the_founded_others_again(tmp_path: Path) -> None:
    nodes = fresh_nodes(tmp_path)  # the first one is told no address: the others came to it
    founded = await asyncio.gather(*(node.found() for node in nodes))
    await nodes[0].stop()
    (
        nodes[0].folder / "cluster.record"
    ).unlink()  # as if killed after its promise, before it learned the outcome

    async with asyncio.timeout(15):
        again = await nodes[0].found()
    for node in nodes:
        await node.stop()

    assert [again, again, again] == founded


async def test_of_two_nodes_with_one_name_one_is_refused_with_the_address_of_the_other(
    tmp_path: Path,
) -> None:
    nodes = fresh_nodes(tmp_path, 2, expect=2)
    for node in nodes:
        node.name = "pi"
    first, second = sorted(nodes, key=lambda node: node.identity.node_id)
    keeps = asyncio.create_task(first.found())

    with pytest.raises(Conflict, match=first.address):
        await second.found()
    keeps.cancel()
    await asyncio.gather(keeps, return_exceptions=True)
    await first.stop()
    await second.stop()


async def test_nodes_with_different_keys_do_not_see_each_other(tmp_path: Path) -> None:
    nodes = fresh_nodes(tmp_path, 2, expect=2)
    stranger = FreshNode(tmp_path / "stranger", 9, 2, [nodes[0].address], key=ClusterKey(b"z" * 32))
    waiting = asyncio.create_task(stranger.found())

    records = await asyncio.gather(*(node.found() for node in nodes))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    for node in (*nodes, stranger):
        await node.stop()

    assert records[0] == records[1]
    assert len(records[0].members) == 2


async def test_a_data_directory_that_lost_its_node_key_is_not_taken_for_a_member(tmp_path: Path) -> None:
    (alone,) = fresh_nodes(tmp_path, 1, expect=1)
    await alone.found()
    await alone.stop()
    (alone.folder / "node.key").unlink()
    alone.identity = load_identity(alone.folder, SECRETS)

    with pytest.raises(Conflict, match="but not its key"):
        await alone.found()
    await alone.stop()


GROUP = frozenset(member.node_id for member in MEMBERS)
ACCEPT = Accept(Ballot(3, MEMBERS[0].node_id), Value(GROUP, b"record"))
SAID = [
    Look(MEMBERS[0], "home", (Address("10.0.0.9", 7300),)),
    Seen(MEMBERS[0], "home", (), None),
    Seen(MEMBERS[0], "home", (), a_record()),
    Founded(a_record()),
    Prepare(ACCEPT.ballot, GROUP),
    Promised(frozenset({GROUP}), ACCEPT),
    Promised(frozenset(), None),
    ACCEPT,
    Outbid(ACCEPT.ballot),
]


@pytest.mark.parametrize("message", SAID, ids=lambda message: type(message).__name__)
def test_what_founding_nodes_say_comes_back_from_its_bytes(message: object) -> None:
    assert decode(encode(message)) == message  # type: ignore[arg-type]


@pytest.mark.parametrize("message", SAID, ids=lambda message: type(message).__name__)
def test_damaged_founding_messages_are_malformed_or_another_message_but_never_a_crash(
    message: object,
) -> None:
    encoded = encode(message)  # type: ignore[arg-type]
    random = Random(1)

    for _ in range(300):
        damaged = bytearray(encoded)
        damaged[random.randrange(min(len(damaged), 120))] ^= 1 << random.randrange(8)
        try:
            decode(bytes(damaged[: random.choice([len(damaged), random.randrange(len(damaged))])]))
        except MalformedFrame:
            continue


def test_what_was_promised_and_agreed_comes_back_from_the_disk(tmp_path: Path) -> None:
    state = AcceptorState(Ballot(4, "x"), frozenset({GROUP}), ACCEPT)
    store = FoundingStore(tmp_path)
    empty = (store.record(), store.state())

    store.keep_state(state)
    store.keep_record(a_record())

    assert empty == (None, AcceptorState())
    assert (store.record(), store.state()) == (a_record_like(store), state)
    assert decode_state(encode_state(state)) == state
    assert (tmp_path / "cluster.record").stat().st_mode & 0o777 == 0o600


def a_record_like(store: FoundingStore) -> FoundingRecord:
    record = store.record()
    assert record is not None
    return decode_record(encode_record(record))


def test_the_record_keeps_its_secrets_sealed_and_opens_them_with_the_cluster_key() -> None:
    record = a_record()
    encoded = encode_record(record)

    code, key = record.setup_code(SECRETS), record.web_authority_key(SECRETS)

    assert len(code) == 14
    assert key.startswith(b"-----BEGIN PRIVATE KEY")
    assert code.encode() not in encoded
    assert key.splitlines()[1] not in encoded
    assert code not in repr(record)
    assert len(fingerprint(record.web_authority_pem)) == 95
    with pytest.raises(SealBroken):
        record.setup_code(ClusterSecrets.derived_from(ClusterKey(b"z" * 32)))


def test_a_lone_node_makes_its_key_and_one_of_several_asks_for_it(tmp_path: Path) -> None:
    alone = load_settings(None, {}, {"node.data_dir": str(tmp_path / "alone")})
    several = load_settings(None, {}, {"node.data_dir": str(tmp_path / "several"), "cluster.expect": 3})

    made = load_or_make_cluster_key(alone)

    assert load_or_make_cluster_key(alone) == made
    with pytest.raises(SettingsError, match="no cluster key") as refused:
        load_or_make_cluster_key(several)
    assert "pinode init" in refused.value.hint


@pytest.mark.parametrize(
    ("content", "mode"), [("short", 0o600), ("", 0o600), ("A" * 44, 0o644), ("\xff" * 44, 0o600)]
)
def test_a_file_that_is_no_key_or_is_open_to_others_is_refused(
    tmp_path: Path, content: str, mode: int
) -> None:
    settings = load_settings(None, {}, {"node.data_dir": str(tmp_path)})
    settings.cluster.key_file.write_text(content)
    settings.cluster.key_file.chmod(mode)

    with pytest.raises(PinodeError, match=str(settings.cluster.key_file)):
        load_or_make_cluster_key(settings)
