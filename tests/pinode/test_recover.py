"""`pinode recover`: a lost majority, a damaged log of a lone voter, and what it refuses (checklist 1.33, 1.43)."""

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from pinode.card.card import Card
from pinode.card.lock import lock_data_dir
from pinode.card.log_folder import LOG, WHOLE, read_log
from pinode.card.old_state import OldState, OnlyVoter, Reason
from pinode.card.recovery import look_ahead
from pinode.card.set_aside import SetAside
from pinode.cli.main import exit_code
from pinode.cluster_state import ClusterState
from pinode.nodes.node import RegisteredNode
from pinode.peers.derived_keys import derived
from pinode.peers.founding_record import FoundingMember, new_founding_record
from pinode.peers.founding_store import FoundingStore
from pinode.peers.held_keys import HeldKeys
from pinode.peers.identity import load_identity
from pinode.peers.kept_generations import next_generation
from pinode.peers.key_store import KeyStore
from pinode.peers.standing import recoveries
from pinode.settings import Address
from replicated_queue.codec import decode_command, encode_command, encode_record
from replicated_queue.raft.membership import Membership
from replicated_queue.raft.messages import Entry, EntryId, HardState
from replicated_queue.settings import ReplicaSettings
from replicated_queue.storage.disk import RealDisk
from replicated_queue.storage.remains import Remains
from replicated_queue.storage.store import ReplicaStore
from tests.pinode.peer_nodes import CLUSTER_KEY, OTHER_KEY, PeerNode, running
from tests.pinode.test_card import HERE, OTHERS, SECRETS

ENTRIES = 20


def make_voter(data_dir: Path, *others: FoundingMember, entries: int = ENTRIES) -> None:
    """The data directory of a stopped voter whose log ends in term 3."""
    node_id = load_identity(data_dir, SECRETS).node_id
    me = FoundingMember(node_id=node_id, name="pi3", host="127.0.0.1", peer_port=1)
    record = new_founding_record(
        name="home", members=[*others, me], secrets=SECRETS, random=Random(1), created_at_unix=0.0
    )
    FoundingStore(data_dir).keep_record(record)
    for _ in range(2):
        next_generation(data_dir, Random(1))
    store = ReplicaStore(RealDisk(data_dir / LOG), segment_bytes=ReplicaSettings().segment_bytes)
    store.ballot.cast(HardState(3, 0))
    for index in range(1, entries + 1):
        entry = Entry(3, index, encode_command(b"put %d" % index, now=index * 60_000))
        store.wal.append(encode_record(HardState(3, 0, 0), [entry]), last_index=index)
    store.close()
    Card(data_dir, hardware=HERE).check(is_moved_on_purpose=False)


def others_at(*addresses: Address | None) -> list[FoundingMember]:
    places = [address or Address("127.0.0.1", 1) for address in addresses]
    return [
        FoundingMember(node_id=node_id, name=f"pi{number}", host=place.host, peer_port=place.port)
        for number, (node_id, place) in enumerate(zip(OTHERS, places, strict=True), 1)
    ]


def recover(data_dir: Path, *words: str) -> int:
    return exit_code(["recover", "--data-dir", str(data_dir), *words], {})


def held(data_dir: Path) -> Remains:
    record = FoundingStore(data_dir).record()
    assert record
    remains = read_log(data_dir, record)
    assert remains
    return remains


def epoch_of(data_dir: Path) -> int:
    record = FoundingStore(data_dir).record()
    assert record
    return recoveries(record.epoch)


def test_without_a_confirmation_it_says_what_would_be_lost_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_voter(tmp_path, *others_at(None, None))
    before = {path: path.read_bytes() for path in (tmp_path / LOG).iterdir()}

    code = recover(tmp_path)

    said = capsys.readouterr()
    assert code == 2
    assert "newest entry     20 of term 3, at cluster time 20 min" in said.out
    assert "pi1 (no answer), pi2 (no answer)" in said.out
    assert "Lost is what others\nagreed on after that" in said.out
    assert "pinode recover --confirm home" in said.err
    assert {path: path.read_bytes() for path in (tmp_path / LOG).iterdir()} == before
    assert epoch_of(tmp_path) == 0


def test_a_wrong_name_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_voter(tmp_path, *others_at(None, None))

    assert recover(tmp_path, "--confirm", "pi3") == 2

    assert "'pi3' is not the cluster's name" in capsys.readouterr().err
    assert epoch_of(tmp_path) == 0


def test_confirmed_it_is_alone_with_all_it_had_in_a_later_epoch(tmp_path: Path) -> None:
    make_voter(tmp_path, *others_at(None, None))
    before = held(tmp_path)

    assert recover(tmp_path, "--confirm", "home") == 0

    after = held(tmp_path)
    assert after.entries[: len(before.entries)] == before.entries
    assert after.membership == Membership.of((before.me,))
    assert after.term == 4 and not after.damage
    assert epoch_of(tmp_path) == 1
    (aside,) = SetAside(tmp_path).all()
    assert aside.reason is Reason.RECOVERED
    assert [path.name for path in aside.folder.iterdir() if path.is_dir()] == [LOG]


def state_after_recovery(data_dir: Path) -> ClusterState:
    """What its new log says beyond the old one."""
    record = FoundingStore(data_dir).record()
    assert record
    founders = [
        RegisteredNode(node_id=one.node_id, name=one.name, host=one.host, peer_port=one.peer_port)
        for one in record.members
    ]
    state = ClusterState(founders=founders, setup_code_hash=b"")
    for entry in held(data_dir).entries[ENTRIES:]:
        if not entry.is_change:
            stamp, command = decode_command(entry.data)
            assert stamp == ENTRIES * 60_000
            state.apply(command, index=entry.index, now=stamp)
    return state


def test_the_others_leave_the_table_of_nodes_too(tmp_path: Path) -> None:
    """Their ids never come back, their names are free for who does."""
    make_voter(tmp_path, *others_at(None, None))

    recover(tmp_path, "--confirm", "home")

    state = state_after_recovery(tmp_path)
    assert [node.name for node in state.nodes.all()] == ["pi3"]
    assert state.nodes.key_rotation is None


def test_the_key_that_the_node_holds_is_agreed_on_whatever_its_log_says_of_rotations(tmp_path: Path) -> None:
    """It was given that key before it was told of the rotation, and then all others were lost."""
    make_voter(tmp_path, *others_at(None, None))
    new = HeldKeys(in_use=CLUSTER_KEY).with_successor(OTHER_KEY, entitled=frozenset())
    KeyStore(tmp_path / "cluster.key", tmp_path).keep(new.using_successor(generation=3))

    recover(tmp_path, "--confirm", "home")

    rotation = state_after_recovery(tmp_path).nodes.key_rotation
    assert rotation is not None and rotation.is_over
    assert (rotation.mark, rotation.generation) == (derived(OTHER_KEY).mark, 3)


def test_a_second_recovery_raises_the_epoch_again(tmp_path: Path) -> None:
    make_voter(tmp_path, *others_at(None, None))

    for _ in range(2):
        assert recover(tmp_path, "--confirm", "home") == 0

    assert epoch_of(tmp_path) == 2


def test_the_damaged_log_of_the_only_voter_is_gone_on_with_up_to_the_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_voter(tmp_path)
    segment = tmp_path / LOG / "0000000000000001.wal"
    content = bytearray(segment.read_bytes())
    content[900] ^= 1
    segment.write_bytes(content)
    with pytest.raises(OnlyVoter, match="damaged"):
        Card(tmp_path, hardware=HERE).begin_anew(OldState(Reason.DAMAGED_LOG, "the log is damaged"))

    assert recover(tmp_path, "--confirm", "home") == 0

    said = capsys.readouterr().out
    assert "is damaged at byte" in said
    kept = held(tmp_path)
    assert not kept.damage and 0 < kept.last.index < ENTRIES
    assert f"newest entry     {kept.last.index} of term 3" in said


def test_while_the_node_runs_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_voter(tmp_path, *others_at(None, None))
    lock = lock_data_dir(tmp_path)

    code = recover(tmp_path, "--confirm", "home")
    os.close(lock)

    assert (code, epoch_of(tmp_path)) == (5, 0)
    assert "another pinode runs with the data directory" in capsys.readouterr().err


def test_where_there_is_no_cluster_it_says_so(tmp_path: Path) -> None:
    assert recover(tmp_path) == 3
    assert recover(tmp_path / "nowhere") == 3


async def test_while_a_majority_answers_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = PeerNode("127.0.0.2", {})
    async with running(one):
        others = others_at(one.links.bound, None)
        others[0] = FoundingMember(
            node_id=one.node_id, name="pi1", host=others[0].host, peer_port=others[0].peer_port
        )
        make_voter(tmp_path, *others)

        code = await asyncio.to_thread(recover, tmp_path, "--confirm", "home")
        outlook = await look_ahead(tmp_path)

    assert (code, epoch_of(tmp_path)) == (5, 0)
    assert "no majority is lost: pi1" in capsys.readouterr().err
    assert [voter.answers for voter in outlook.voters if voter.name == "pi1"] == [True]


async def test_a_majority_answers_also_where_the_cluster_key_was_rotated_while_this_node_was_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither believes the certificate of the other. To go on alone here would make two clusters of one."""
    there = [PeerNode(f"127.0.0.{number}", {}, key=OTHER_KEY) for number in (2, 3)]
    there.sort(key=lambda node: node.node_id)
    async with running(*there):
        others = [
            replace(other, node_id=node.node_id)
            for other, node in zip(others_at(*(node.links.bound for node in there)), there, strict=True)
        ]
        make_voter(tmp_path, *others)

        code = await asyncio.to_thread(recover, tmp_path, "--confirm", "home")

    said = capsys.readouterr()
    assert (code, epoch_of(tmp_path)) == (5, 0)
    assert "pi1 (answers), pi2 (answers)" in said.out and "no majority is lost: pi1, pi2" in said.err


async def test_another_node_at_the_address_of_a_voter_is_not_taken_for_it(tmp_path: Path) -> None:
    """Its disk was destroyed, it runs again under a new key, and waits for the cluster."""
    stranger = PeerNode("127.0.0.2", {})
    async with running(stranger):
        make_voter(tmp_path, *others_at(stranger.links.bound, None))

        outlook = await look_ahead(tmp_path)

    assert not outlook.has_majority and not any(voter.answers for voter in outlook.voters)


def test_what_it_says_is_there_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_voter(tmp_path, *others_at(None, None))

    assert recover(tmp_path, "--json") == 2

    document = json.loads(capsys.readouterr().out)
    assert (document["last_index"], document["last_term"], document["has_majority"]) == (20, 3, False)
    assert [voter["name"] for voter in document["other_voters"]] == ["pi1", "pi2"]


def test_a_recovery_that_was_cut_short_before_the_new_log_had_its_place_is_finished_by_a_start(
    tmp_path: Path,
) -> None:
    make_voter(tmp_path, *others_at(None, None))
    assert recover(tmp_path, "--confirm", "home") == 0
    expected = held(tmp_path).last
    (tmp_path / LOG).rename(tmp_path / WHOLE)

    Card(tmp_path, hardware=HERE).check(is_moved_on_purpose=True)

    assert held(tmp_path).last == expected != EntryId(0, 0)
    assert [aside.reason for aside in SetAside(tmp_path).all()] == [Reason.RECOVERED]
