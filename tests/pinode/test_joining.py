"""Joining a founded cluster over real links on loopback: by a token, by a copied key, and by force."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from pinode.admission import Admission
from pinode.errors import Conflict, InvalidInput, NotAllowed
from pinode.nodes.commands import AddNode, CreateJoinToken, RemoveNode, RevokeJoinTokens, RotateKey
from pinode.peers import join_door
from pinode.peers.certificates import public_key_hash
from pinode.peers.cluster_key import ClusterKey, read_cluster_key, write_cluster_key
from pinode.peers.derived_keys import derived
from pinode.peers.errors import MalformedFrame
from pinode.peers.founding import JOIN_METHOD, found
from pinode.peers.founding_codec import Look, Seen, decode, encode
from pinode.peers.founding_record import FoundingMember, FoundingRecord, new_founding_record
from pinode.peers.founding_store import FoundingStore
from pinode.peers.held_keys import HeldKeys
from pinode.peers.identity import load_identity, load_node_id, node_key, write_certificates
from pinode.peers.join_codec import (
    MAX_REQUEST_BYTES,
    Admitted,
    JoinRequest,
    Rejected,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from pinode.peers.join_token import JoinToken, decode_join_token, encode_join_token, is_join_token
from pinode.peers.joining import AnotherCluster, ask_to_join, join_with_token
from pinode.peers.key_door import NoKeys
from pinode.peers.key_store import KeyStore
from pinode.peers.keys import ClusterSecrets
from pinode.peers.listener import PROOF_SECONDS
from pinode.peers.old_key import complete_keys
from pinode.peers.tls import join_client_context
from pinode.settings import Address, Settings, load_settings
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.peer_nodes import CLUSTER_KEY, OTHER_KEY, PeerNode, running
from tests.waiting import eventually

SECRETS = ClusterSecrets.derived_from(CLUSTER_KEY)
SECRET = b"s" * 16
HOUR_MS = 3_600_000
FOUNDER = FoundingMember(node_id="1" * 16, name="pi1", host="10.0.0.1", peer_port=7300)


def a_record() -> FoundingRecord:
    return new_founding_record(
        name="school", members=[FOUNDER], secrets=SECRETS, random=Random(1), created_at_unix=1.0
    )


class Member:
    """A member of a founded cluster that lets others in."""

    def __init__(self, key: ClusterKey = CLUSTER_KEY) -> None:
        self.node = PeerNode("127.0.0.1", {}, key=key)
        self.cluster = FakeCluster(nodes=("host",))
        self.record = a_record()
        self.gone: set[str] = set()
        self.is_caught_up = True
        self.looks = 0
        self.cluster.apply(
            CreateJoinToken(token_hash=self.token(Address("x", 1)).secret_hash, lifetime_ms=HOUR_MS, by="ada")
        )
        self.cluster.apply(add(self.node.node_id, "pi1"))
        admission = Admission(
            self.cluster,
            record=self.record,
            secrets=self.node.identity.secrets,
            is_gone=lambda node_id: node_id in self.gone,
            is_caught_up=lambda: self.is_caught_up,
        )
        self.node.links.on_joiner(admission.by_token)
        self.node.links.serve(JOIN_METHOD, admission.by_key, open_to_holders=True)
        self.node.links.serve("founding", self._look, open_to_holders=True)

    def token(self, *addresses: Address, secret: bytes = SECRET) -> JoinToken:
        authority_hash = public_key_hash(self.node.identity.secrets.authority_pem)
        return JoinToken(addresses or (self.address,), authority_hash, secret)

    @property
    def address(self) -> Address:
        assert self.node.links.bound
        return self.node.links.bound

    @property
    def names(self) -> list[str]:
        return sorted(node.name for node in self.cluster.state.nodes.all() if node.name != "host")

    async def _look(self, _: str, payload: bytes) -> bytes:
        assert isinstance(decode(payload), Look)
        self.looks += 1
        return encode(Seen(FOUNDER, self.record.name, (), self.record))


def add(node_id: str, name: str) -> AddNode:
    return AddNode(node_id=node_id, name=name, host="10.0.0.9", peer_port=7300)


@pytest.fixture
async def member() -> AsyncIterator[Member]:
    made = Member()
    async with running(made.node):
        yield made


def settings_in(folder: Path, *join: Address, expect: int = 1) -> Settings:
    overrides = {
        "node.data_dir": str(folder),
        "cluster.discovery": "off",
        "cluster.join": [str(address) for address in join],
        "cluster.expect": expect,
    }
    settings = load_settings(None, {}, overrides)
    return replace(settings, listen=replace(settings.listen, peer=Address("127.0.0.2", 7300)))


async def join(folder: Path, token: JoinToken, *, name: str = "pi4") -> None:
    async with asyncio.timeout(10):
        await join_with_token(settings_in(folder), token, name=name, host="127.0.0.2", pause=0.01)


# -- tokens ------------------------------------------------------------------------------------------------


def test_a_token_is_one_word_and_comes_back_from_it() -> None:
    token = JoinToken((Address("pi1", 7300), Address("fe80::1", 7301)), b"a" * 32, SECRET)

    word = encode_join_token(token)

    assert is_join_token(word) and word.isprintable() and " " not in word and len(word) < 250
    assert decode_join_token(f" {word}\n") == token


def test_a_token_that_lost_a_letter_or_changed_one_is_not_taken() -> None:
    word = encode_join_token(JoinToken((Address("pi1", 7300),), b"a" * 32, SECRET))

    for at in range(len("pinode-join-"), len(word), 3):
        for broken in (
            word[:at] + word[at + 1 :],
            word[:at] + ("A" if word[at] != "A" else "B") + word[at + 1 :],
        ):
            with pytest.raises(InvalidInput):
                decode_join_token(broken)


@pytest.mark.parametrize(
    "word", ["", "pinode-join-", "pinode-join-AAAA", "pi1:7300", "pinode-join-é", "x" * 5000]
)
def test_what_is_no_token_is_named_and_not_repeated(word: str) -> None:
    with pytest.raises(InvalidInput, match="not a join token") as refused:
        decode_join_token(word)

    assert not word.removeprefix("pinode-join-") or word not in refused.value.message


def test_no_secret_shows_in_a_representation() -> None:
    token = JoinToken((Address("pi1", 7300),), b"a" * 32, SECRET)
    admitted = Admitted(a_record(), (), CLUSTER_KEY.secret)
    shown = repr([token, JoinRequest(FOUNDER, None, SECRET), admitted, SECRETS])

    assert "ssss" not in shown and "kkkk" not in shown


# -- joining by a token ------------------------------------------------------------------------------------


async def test_a_machine_with_nothing_but_a_token_gets_key_record_and_addresses(
    member: Member, tmp_path: Path
) -> None:
    await join(tmp_path, member.token())

    store = FoundingStore(tmp_path)
    assert read_cluster_key(tmp_path / "cluster.key") == CLUSTER_KEY
    assert (tmp_path / "cluster.key").stat().st_mode & 0o777 == 0o600
    assert store.record() == member.record
    assert store.joined_as() == load_node_id(tmp_path)
    assert Address("192.0.2.1", 7300) in store.addresses()
    assert member.names == ["pi1", "pi4"]


async def test_what_has_joined_starts_ever_after_without_asking(member: Member, tmp_path: Path) -> None:
    await join(tmp_path, member.token())
    member.cluster.apply(RevokeJoinTokens(by="ada"))

    await join(tmp_path, member.token())
    record = await found_in(tmp_path)

    assert record == member.record


async def test_a_node_says_that_it_has_no_use_for_a_token_and_louder_for_one_of_another_cluster(
    member: Member, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Both go on: the unit file of a node may name its token for ever, also after a rotation."""
    await join(tmp_path, member.token())
    caplog.set_level("INFO", logger="pinode.peers.joining")
    caplog.clear()

    for authority_hash in (member.token().authority_hash, b"a" * 32):
        await join(tmp_path, replace(member.token(), authority_hash=authority_hash))

    own, another = caplog.records
    assert (own.levelname, another.levelname) == ("INFO", "WARNING")
    assert "this is a node of its cluster already name=school" in own.getMessage()
    assert "is NOT used" in another.getMessage() and "`pinode leave`" in another.getMessage()
    assert member.names == ["pi1", "pi4"]


async def test_a_token_that_was_used_lets_the_next_one_in_until_it_expires(
    member: Member, tmp_path: Path
) -> None:
    await join(tmp_path / "4", member.token(), name="pi4")
    await join(tmp_path / "5", member.token(), name="pi5")
    member.cluster.now_ms += HOUR_MS

    with pytest.raises(NotAllowed, match="no longer good"):
        await join(tmp_path / "6", member.token(), name="pi6")

    assert member.names == ["pi1", "pi4", "pi5"]


async def test_whoever_asks_again_after_a_lost_answer_is_the_same_node(
    member: Member, tmp_path: Path
) -> None:
    member.cluster.apply(add(load_node_id(tmp_path), "pi4"))

    await join(tmp_path, member.token())

    assert member.names == ["pi1", "pi4"]


async def test_a_join_that_the_power_cut_off_in_the_middle_is_taken_up_again(
    member: Member, tmp_path: Path
) -> None:
    """The record is written last: until it is there, the token is asked for again."""
    await join(tmp_path, member.token())
    (tmp_path / "cluster.record").unlink()

    await join(tmp_path, member.token())

    assert FoundingStore(tmp_path).record() == member.record and member.names == ["pi1", "pi4"]


async def test_a_wrong_secret_is_refused_without_an_entry_in_the_log(member: Member, tmp_path: Path) -> None:
    before = member.cluster.commit_index

    with pytest.raises(NotAllowed):
        await join(tmp_path, member.token(secret=b"x" * 16))

    assert member.cluster.commit_index == before
    assert FoundingStore(tmp_path).record() is None and not (tmp_path / "cluster.key").exists()


async def test_a_member_says_nothing_to_an_id_that_is_registered_but_has_no_good_token(
    member: Member,
) -> None:
    """Whoever claims a member's id would be given the cluster key."""
    claimed = FoundingMember(node_id=member.node.node_id, name="pi1", host="127.0.0.2", peer_port=1)
    request = JoinRequest(claimed, None, b"x" * 16)

    answer = await ask_to_join(member.address, member.token(), request)

    assert isinstance(answer, Rejected) and answer.code == "join_token_refused"


async def test_a_name_that_is_taken_is_refused_with_the_address_of_the_other(
    member: Member, tmp_path: Path
) -> None:
    with pytest.raises(Conflict, match=r"'pi1' is taken by node .* at 10\.0\.0\.9:7300"):
        await join(tmp_path, member.token(), name="pi1")


async def test_a_new_card_takes_the_place_of_the_node_of_its_name_that_is_gone(
    member: Member, tmp_path: Path
) -> None:
    """Checklist 1.25."""
    lost = "d" * 16
    member.cluster.apply(add(lost, "pi2"))
    member.gone.add(lost)

    await join(tmp_path, member.token(), name="pi2")

    assert member.names == ["pi1", "pi2"]
    assert member.cluster.state.nodes.removed(lost) is not None


async def test_a_removed_node_is_refused_also_with_a_good_token(member: Member, tmp_path: Path) -> None:
    """Checklist 1.24."""
    node_id = load_node_id(tmp_path)
    member.cluster.apply(add(node_id, "pi4"))
    member.cluster.apply(RemoveNode(node_id=node_id, by="ada"))

    with pytest.raises(Conflict, match="was removed"):
        await join(tmp_path, member.token())


async def test_joining_waits_while_there_is_no_leader(
    member: Member, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    member.cluster.has_quorum = False
    waiting = asyncio.create_task(join(tmp_path, member.token()))
    await eventually(lambda: "no majority of the nodes" in caplog.text)

    member.cluster.has_quorum = True
    await waiting

    assert member.names == ["pi1", "pi4"]


async def test_a_member_that_has_not_heard_of_the_token_yet_asks_for_patience(member: Member) -> None:
    member.is_caught_up = False
    request = JoinRequest(replace(FOUNDER, node_id="4" * 16, name="pi4"), None, b"x" * 16)

    answer = await ask_to_join(member.address, member.token(), request)

    assert isinstance(answer, Rejected) and answer.is_passing


async def test_a_token_of_another_cluster_is_never_told_to_this_one(member: Member, tmp_path: Path) -> None:
    other = replace(member.token(), authority_hash=b"o" * 32)
    asked: list[object] = []
    member.node.links.on_joiner(lambda request: asked.append(request))  # type: ignore[arg-type,return-value]

    with pytest.raises(AnotherCluster, match=str(member.address)):
        await join(tmp_path, other)

    assert not asked


class Impostor(ClusterSecrets):
    """Shows the certificate of our authority in place of its own."""

    @property
    def authority_pem(self) -> str:
        return SECRETS.authority_pem


async def test_a_stranger_that_shows_our_authority_without_its_key_is_told_nothing(tmp_path: Path) -> None:
    """It replays a certificate that every joiner may see, over a connection of its own."""
    stranger = Member(OTHER_KEY)
    stranger.node.identity = replace(stranger.node.identity, secrets=Impostor.derived_from(OTHER_KEY))
    stranger.node.renew_links()
    asked: list[JoinRequest] = []

    async def listen(request: JoinRequest) -> Rejected:
        asked.append(request)
        return Rejected("busy", "say that again", "", is_passing=False)

    stranger.node.links.on_joiner(listen)
    async with running(stranger.node):
        token = JoinToken((stranger.address,), public_key_hash(SECRETS.authority_pem), SECRET)

        with pytest.raises(AnotherCluster):
            await join(tmp_path, token)

    assert not asked


async def test_a_machine_that_holds_the_key_of_another_cluster_asks_nobody(
    member: Member, tmp_path: Path
) -> None:
    write_cluster_key(tmp_path / "cluster.key", OTHER_KEY)

    with pytest.raises(Conflict, match="key of another cluster"):
        await join(tmp_path, member.token())

    assert member.names == ["pi1"]


async def test_an_address_that_does_not_answer_is_passed_over(member: Member, tmp_path: Path) -> None:
    await join(tmp_path, member.token(Address("127.0.0.99", 1), member.address))

    assert member.names == ["pi1", "pi4"]


# -- joining by a copied key -------------------------------------------------------------------------------


async def found_in(
    folder: Path,
    *addresses: Address,
    name: str = "pi4",
    secrets: ClusterSecrets = SECRETS,
    **how: object,
) -> FoundingRecord:
    """As a node starts that holds the cluster key."""
    if not (folder / "cluster.key").exists():
        write_cluster_key(folder / "cluster.key", CLUSTER_KEY)
    node = PeerNode("127.0.0.2", {})
    identity = load_identity(folder, secrets)
    node.identity = identity
    links = node.renew_links()
    running_links = asyncio.create_task(links.run())
    try:
        async with asyncio.timeout(10):
            return await found(
                settings_in(folder, *addresses, expect=3),
                identity=identity,
                name=name,
                host="127.0.0.2",
                links=links,
                random=Random(1),
                **how,  # type: ignore[arg-type]
            )
    finally:
        running_links.cancel()
        await asyncio.gather(running_links, return_exceptions=True)


async def test_a_first_boot_with_the_copied_key_joins_the_founded_cluster(
    member: Member, tmp_path: Path
) -> None:
    record = await found_in(tmp_path, member.address)

    assert record == member.record and not record.has(load_node_id(tmp_path))
    assert member.names == ["pi1", "pi4"]
    assert await found_in(tmp_path) == record, "the second start needs nobody"


async def test_a_first_boot_whose_name_is_taken_is_told_where_the_other_is(
    member: Member, tmp_path: Path
) -> None:
    with pytest.raises(Conflict, match=r"10\.0\.0\.9:7300"):
        await found_in(tmp_path, member.address, name="pi1")

    assert FoundingStore(tmp_path).record() is None


async def test_what_was_asked_to_join_founds_nothing(tmp_path: Path) -> None:
    nobody = Address("127.0.0.99", 1)
    waiting = asyncio.create_task(found_in(tmp_path, nobody, may_found=False))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await asyncio.shield(waiting)

    assert not waiting.done() and FoundingStore(tmp_path).record() is None
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_nobody_joins_in_the_name_of_another_link(member: Member) -> None:
    holder = PeerNode("127.0.0.3", {})
    request = encode_request(JoinRequest(replace(FOUNDER, node_id="4" * 16, name="pi4"), None, b""))
    async with running(holder):
        with pytest.raises(Exception, match="wants to join as another"):
            await holder.links.exchange(
                member.address.host, member.address.port, JOIN_METHOD, request, timeout_seconds=5
            )

    assert member.names == ["pi1"]


# -- by force ----------------------------------------------------------------------------------------------


async def connect(member: Member) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        member.address.host, member.address.port, ssl=join_client_context(), server_hostname="peer.pinode"
    )


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))


def framed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


GARBAGE = [
    b"",
    b"\xc1",
    b"\x93\x01\x02\x03",
    base64.b64decode("////"),
    b"\x81" * 500,
    encode_request(JoinRequest(FOUNDER, None, SECRET))[:-3],
    encode_answer(Rejected("a", "b", "c", False)),
]


@pytest.mark.parametrize("content", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_ends_the_connection_and_changes_nothing(member: Member, content: bytes) -> None:
    reader, writer = await connect(member)
    assert b"BEGIN CERTIFICATE" in await read_frame(reader)
    before = member.cluster.state.digest()

    writer.write(framed(content))

    with contextlib.suppress(ConnectionError, ssl.SSLError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert member.cluster.state.digest() == before


async def test_an_oversize_request_is_cut_off_before_it_is_read(member: Member) -> None:
    reader, writer = await connect(member)
    await read_frame(reader)

    writer.write((MAX_REQUEST_BYTES + 1).to_bytes(4, "big"))

    with contextlib.suppress(ConnectionError, ssl.SSLError):  # not only when the time for strangers is up
        assert await asyncio.wait_for(reader.read(), PROOF_SECONDS / 2) == b""
    writer.close()


async def test_a_flood_of_guesses_is_slowed_down_and_costs_no_entry(member: Member) -> None:
    before = member.cluster.commit_index
    request = JoinRequest(replace(FOUNDER, node_id="4" * 16, name="pi4"), None, b"x" * 16)

    answers = [await ask_to_join(member.address, member.token(), request) for _ in range(join_door.BURST + 2)]

    codes = [answer.code for answer in answers if isinstance(answer, Rejected)]
    assert codes == ["join_token_refused"] * join_door.BURST + ["too_many_requests"] * 2
    assert member.cluster.commit_index == before


async def test_a_second_request_on_one_connection_is_not_heard(member: Member) -> None:
    reader, writer = await connect(member)
    await read_frame(reader)
    request = framed(
        encode_request(JoinRequest(replace(FOUNDER, node_id="4" * 16, name="pi4"), None, b"x" * 16))
    )

    writer.write(request + request)

    with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
        assert not await asyncio.wait_for(reader.read(), 5)
    writer.close()


@pytest.mark.parametrize(
    "answer",
    [
        Admitted(a_record(), (Address("pi1", 7300),), b"k" * 32),
        Rejected("busy", "too many", "wait", True),
    ],
)
def test_answers_come_back_from_their_bytes(answer: Admitted | Rejected) -> None:
    assert decode_answer(encode_answer(answer)) == answer


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_malformed_and_nothing_else(seed: int) -> None:
    random = Random(seed)
    whole = [
        encode_request(JoinRequest(FOUNDER, "2" * 16, SECRET)),
        encode_answer(Admitted(a_record(), (Address("pi1", 7300),), b"k" * 32)),
    ]
    for _ in range(200):
        data = bytearray(random.choice(whole))
        for _ in range(random.randint(1, 6)):
            data[random.randrange(len(data))] = random.randrange(256)
        for read in (decode_request, decode_answer):
            with contextlib.suppress(MalformedFrame):
                read(bytes(data[: random.randint(0, len(data))]))


# -- when the cluster key was rotated ----------------------------------------------------------------------


def rotated(member: Member) -> HeldKeys:
    """The member's cluster has another key than the one that most tests hold."""
    new = ClusterKey(b"n" * 32)
    held = HeldKeys(in_use=CLUSTER_KEY).with_successor(new, entitled=frozenset())
    held = held.using_successor(generation=1).alone()
    files = member.node.identity.files
    write_certificates(files, node_key(files), [derived(new)])
    member.node.identity.secrets.hold(held)
    return held


async def test_a_token_made_after_a_rotation_brings_also_what_opens_older_values(
    member: Member, tmp_path: Path
) -> None:
    held = rotated(member)

    await join(tmp_path, member.token())

    key = read_cluster_key(tmp_path / "cluster.key")
    kept = KeyStore(tmp_path / "cluster.key", tmp_path).load(key)
    assert key == held.in_use and kept == held
    assert member.record.setup_code(ClusterSecrets(kept)) == member.record.setup_code(SECRETS)


async def test_a_token_made_before_a_rotation_is_told_to_nobody(member: Member, tmp_path: Path) -> None:
    before = member.token()
    rotated(member)

    with pytest.raises(AnotherCluster):
        await join(tmp_path, before)

    assert member.names == ["pi1"]


async def test_a_first_boot_with_a_copy_of_the_old_key_is_told_that_it_was_rotated(
    member: Member, tmp_path: Path
) -> None:
    rotated(member)
    member.node.links.on_keyless(lambda peer, marks, generation: NoKeys("key_rotated", "rotated", "a token"))

    with pytest.raises(Conflict, match="rotated") as refused:
        await found_in(tmp_path, member.address)

    assert refused.value.hint == "a token" and member.names == ["pi1"]
    assert FoundingStore(tmp_path).record() is None


async def test_who_joins_by_the_new_key_is_given_what_opens_older_values(
    member: Member, tmp_path: Path
) -> None:
    held = rotated(member)
    write_cluster_key(tmp_path / "cluster.key", held.in_use)

    record = await found_in(tmp_path, member.address, secrets=ClusterSecrets(HeldKeys(in_use=held.in_use)))

    kept = KeyStore(tmp_path / "cluster.key", tmp_path).load(held.in_use)
    assert record == member.record and kept == held


async def test_while_the_key_is_rotated_a_joiner_waits(member: Member, tmp_path: Path) -> None:
    member.cluster.apply(RotateKey(by="ada"))
    request = JoinRequest(replace(FOUNDER, node_id="4" * 16, name="pi4"), None, b"")

    answer = decode_answer(
        await Admission(
            member.cluster,
            record=member.record,
            secrets=SECRETS,
            is_gone=lambda node_id: False,
            is_caught_up=lambda: True,
        ).by_key("4" * 16, encode_request(request))
    )

    assert isinstance(answer, Rejected) and answer.is_passing and answer.code == "key_rotation_under_way"


async def test_a_new_key_put_in_place_by_hand_is_completed_by_those_who_hold_the_rest(
    member: Member, tmp_path: Path
) -> None:
    """As somebody does whose node was off: the file is right, but older values open with what is beside it."""
    held = rotated(member)
    node = PeerNode("127.0.0.2", {})
    node.identity = load_identity(tmp_path, ClusterSecrets(HeldKeys(in_use=held.in_use)))
    store = KeyStore(tmp_path / "cluster.key", tmp_path)
    member.node.links.on_keyless(
        lambda peer, marks, generation: held if generation < 1 else NoKeys("known", "")
    )

    where = FoundingMember(
        node_id=member.node.node_id, name="pi1", host="127.0.0.1", peer_port=member.address.port
    )

    record = replace(member.record, members=(where,))
    await complete_keys(record, node.identity, node.renew_links(), settings_in(tmp_path))

    assert node.identity.secrets.held == store.load(held.in_use) == held
