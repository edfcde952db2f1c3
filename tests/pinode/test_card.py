"""What becomes of a data directory that was copied, moved or lost its log (checklist 1.24, 1.25, 1.33)."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from pinode.card.card import Card
from pinode.card.hardware import Hardware
from pinode.card.old_state import OldState, OnlyVoter, Reason, may_begin_anew
from pinode.card.set_aside import FOLDER, MOST, PROMISES, SetAside
from pinode.errors import Conflict
from pinode.peers.founding_record import FoundingMember, FoundingRecord, new_founding_record
from pinode.peers.founding_store import FoundingStore
from pinode.peers.identity import load_identity, node_id_in
from pinode.peers.kept_generations import next_generation
from pinode.peers.keys import ClusterSecrets
from pinode.peers.rejoin import Rejoin, keep_rejoin, read_rejoin
from pinode.settings import Address
from replicated_queue.settings import ReplicaSettings
from replicated_queue.storage.disk import RealDisk
from replicated_queue.storage.store import ReplicaStore
from tests.pinode.peer_nodes import CLUSTER_KEY

SECRETS = ClusterSecrets.derived_from(CLUSTER_KEY)
HERE = Hardware(serials={"device_tree": "10000000aaaaaaa1"})
ELSEWHERE = Hardware(serials={"device_tree": "10000000bbbbbbb2"})
OTHERS = ("0000000000000001", "0000000000000002")


def record_of(*node_ids: str) -> FoundingRecord:
    members = [
        FoundingMember(node_id=node_id, name=f"pi{number}", host=f"10.0.0.{number}", peer_port=7300)
        for number, node_id in enumerate(node_ids, 1)
    ]
    return new_founding_record(
        name="home", members=members, secrets=SECRETS, random=Random(1), created_at_unix=0.0
    )


def member_in(data_dir: Path, *, others: tuple[str, ...] = OTHERS, starts: int = 2) -> str:
    """A data directory as a node of a cluster leaves it, on the machine HERE."""
    data_dir.mkdir(exist_ok=True)
    node_id = load_identity(data_dir, SECRETS).node_id
    FoundingStore(data_dir).keep_record(record_of(*others, node_id))
    for _ in range(starts):
        next_generation(data_dir, Random(1))
    ReplicaStore(RealDisk(data_dir / "log"), segment_bytes=ReplicaSettings().segment_bytes).close()
    Card(data_dir, hardware=HERE).check(is_moved_on_purpose=False)
    return node_id


def start(data_dir: Path, hardware: Hardware = HERE, *, moved: bool = False) -> list[Reason]:
    """Look at the card as a start does; why things were set aside by then."""
    Card(data_dir, hardware=hardware).check(is_moved_on_purpose=moved)
    return [aside.reason for aside in SetAside(data_dir).all()]


def test_a_node_that_starts_again_on_its_machine_keeps_what_it_has(tmp_path: Path) -> None:
    node_id = member_in(tmp_path)

    assert start(tmp_path) == []
    assert node_id_in(tmp_path) == node_id


def test_a_card_in_another_machine_begins_anew_and_what_it_held_is_set_aside_whole(tmp_path: Path) -> None:
    node_id = member_in(tmp_path)
    (tmp_path / "slugs").mkdir()
    log = sorted(file.name for file in (tmp_path / "log").iterdir())

    assert start(tmp_path, ELSEWHERE) == [Reason.OTHER_HARDWARE]

    (aside,) = SetAside(tmp_path).all()
    assert aside.folder.name == "0001-other-hardware" and aside.old_id == node_id
    assert node_id_in(aside.folder) == node_id
    assert sorted(file.name for file in (aside.folder / "log").iterdir()) == log
    assert not [name for name in PROMISES if name != "founding.addresses" and (tmp_path / name).exists()]
    assert (tmp_path / "slugs").exists()


def test_who_begins_anew_knows_where_to_come_back_to_and_in_whose_place(tmp_path: Path) -> None:
    node_id = member_in(tmp_path)
    record = FoundingStore(tmp_path).record()
    assert record

    start(tmp_path, ELSEWHERE)

    assert read_rejoin(tmp_path) == Rejoin(
        cluster_id=record.cluster_id, old_id=node_id, reason="other-hardware"
    )
    assert FoundingStore(tmp_path).addresses() == (Address("10.0.0.1", 7300), Address("10.0.0.2", 7300))
    assert load_identity(tmp_path, SECRETS).node_id != node_id


def test_after_it_began_anew_the_new_machine_is_its_own(tmp_path: Path) -> None:
    member_in(tmp_path)
    start(tmp_path, ELSEWHERE)
    again = member_in_place(tmp_path)

    assert start(tmp_path, ELSEWHERE) == [Reason.OTHER_HARDWARE]
    assert node_id_in(tmp_path) == again


def member_in_place(data_dir: Path) -> str:
    node_id = load_identity(data_dir, SECRETS).node_id
    FoundingStore(data_dir).keep_record(record_of(*OTHERS, node_id))
    return node_id


def test_a_card_that_was_moved_on_purpose_keeps_what_it_has(tmp_path: Path) -> None:
    node_id = member_in(tmp_path)

    assert start(tmp_path, ELSEWHERE, moved=True) == []
    assert start(tmp_path, ELSEWHERE) == []
    assert node_id_in(tmp_path) == node_id


def test_where_all_cards_were_moved_each_goes_on_once_somebody_says_so(tmp_path: Path) -> None:
    """Each began anew, and waits for a cluster of which nothing is left but what was set aside."""
    node_id = member_in(tmp_path)
    log = sorted(file.name for file in (tmp_path / "log").iterdir())
    start(tmp_path, ELSEWHERE)
    load_identity(tmp_path, SECRETS)  # the key of the new node, which nobody let in

    assert start(tmp_path, ELSEWHERE, moved=True) == []

    assert node_id_in(tmp_path) == node_id and read_rejoin(tmp_path) is None
    assert sorted(file.name for file in (tmp_path / "log").iterdir()) == log
    assert start(tmp_path, ELSEWHERE) == []


def test_who_was_let_in_as_a_new_node_does_not_become_the_old_one_again(tmp_path: Path) -> None:
    member_in(tmp_path)
    start(tmp_path, ELSEWHERE)
    again = member_in_place(tmp_path)

    assert start(tmp_path, ELSEWHERE, moved=True) == [Reason.OTHER_HARDWARE]
    assert node_id_in(tmp_path) == again


def test_a_state_that_is_being_put_back_when_the_power_goes_is_put_back_by_the_next_start(
    tmp_path: Path,
) -> None:
    node_id = member_in(tmp_path)
    start(tmp_path, ELSEWHERE)
    folder = tmp_path / FOLDER / "0001-other-hardware"
    returning = folder.rename(folder.with_name(folder.name + ".returning"))
    (returning / "log").rename(tmp_path / "log")

    assert start(tmp_path, ELSEWHERE, moved=True) == []
    assert node_id_in(tmp_path) == node_id


def test_the_card_of_the_only_voter_is_not_left_behind_unasked(tmp_path: Path) -> None:
    node_id = member_in(tmp_path, others=())

    with pytest.raises(OnlyVoter, match="no other node votes in the cluster 'home'") as asked:
        start(tmp_path, ELSEWHERE)

    assert "pinode start --moved" in asked.value.hint
    assert node_id_in(tmp_path) == node_id
    assert start(tmp_path, ELSEWHERE, moved=True) == []


def test_a_copy_that_was_refused_asks_again_when_a_person_says_that_the_other_machine_is_off(
    tmp_path: Path,
) -> None:
    member_in(tmp_path)
    start(tmp_path, ELSEWHERE)
    note = read_rejoin(tmp_path)
    assert note
    keep_rejoin(tmp_path, replace(note, refused_name="pi3"))

    start(tmp_path, ELSEWHERE)
    assert read_rejoin(tmp_path) == replace(note, refused_name="pi3")

    start(tmp_path, ELSEWHERE, moved=True)
    assert read_rejoin(tmp_path) == note


def test_a_machine_that_tells_nothing_of_itself_is_believed(tmp_path: Path) -> None:
    member_in(tmp_path)

    assert start(tmp_path, Hardware()) == []


def test_a_copied_card_that_was_never_part_of_a_cluster_gets_a_key_of_its_own(tmp_path: Path) -> None:
    node_id = load_identity(tmp_path, SECRETS).node_id
    start(tmp_path)

    start(tmp_path, ELSEWHERE)

    assert load_identity(tmp_path, SECRETS).node_id != node_id
    assert read_rejoin(tmp_path) is None


def test_a_member_without_its_log_begins_anew(tmp_path: Path) -> None:
    """It would vote with amnesia."""
    member_in(tmp_path)
    for file in (tmp_path / "log").iterdir():
        file.unlink()

    assert start(tmp_path) == [Reason.LOST_LOG]


def test_a_first_start_has_no_log_and_lost_none(tmp_path: Path) -> None:
    member_in(tmp_path, starts=1)
    for file in (tmp_path / "log").iterdir():
        file.unlink()

    assert start(tmp_path) == []


@pytest.mark.parametrize("reason", list(Reason))
def test_only_a_cluster_that_was_recovered_makes_the_only_voter_begin_anew_unasked(reason: Reason) -> None:
    assert may_begin_anew(reason, is_only_voter=False)
    assert may_begin_anew(reason, is_only_voter=True) is (reason is Reason.OLD_EPOCH)


@pytest.mark.parametrize("reason", [Reason.SET_BACK, Reason.DAMAGED_LOG])
def test_the_only_voter_that_forgot_something_stops_and_names_recover(tmp_path: Path, reason: Reason) -> None:
    member_in(tmp_path, others=())

    with pytest.raises(OnlyVoter, match="why") as asked:
        Card(tmp_path, hardware=HERE).begin_anew(OldState(reason, "why"))

    assert "pinode recover" in asked.value.hint


@pytest.mark.parametrize("step", range(12))
def test_a_move_that_is_cut_short_is_finished_by_the_next_start(tmp_path: Path, step: int) -> None:
    """Whatever was moved by then: no node runs on half of an old state."""
    node_id = member_in(tmp_path)
    folder = tmp_path / FOLDER / "0001-damaged-log.moving"
    folder.mkdir(parents=True)
    note = {
        "version": 1,
        "reason": "damaged-log",
        "what": "why",
        "old_id": node_id,
        "cluster_id": "c0ffee",
        "addresses": ["10.0.0.1:7300"],
        "names": list(PROMISES),
    }
    there = [name for name in PROMISES if (tmp_path / name).exists()]
    if step:
        (folder / "why.json").write_text(json.dumps(note))
        for name in there[: step - 1]:
            (tmp_path / name).rename(folder / name)
    else:
        (folder / "why.json.123.new").write_text("half a note")

    found = start(tmp_path)

    if step == 0:
        assert (found, node_id_in(tmp_path)) == ([], node_id)
    else:
        assert (found, node_id_in(tmp_path)) == ([Reason.DAMAGED_LOG], None)
        assert node_id_in(tmp_path / FOLDER / "0001-damaged-log") == node_id
        assert read_rejoin(tmp_path) == Rejoin(
            cluster_id=bytes.fromhex("c0ffee"), old_id=node_id, reason="damaged-log"
        )


def test_states_set_aside_are_bounded_by_stopping_not_by_deleting(tmp_path: Path) -> None:
    member_in(tmp_path)
    for _ in range(MOST):
        Card(tmp_path, hardware=HERE).begin_anew(OldState(Reason.DAMAGED_LOG, "why"))
        member_in_place(tmp_path)

    with pytest.raises(Conflict, match=f"set its state aside {MOST} times"):
        Card(tmp_path, hardware=HERE).begin_anew(OldState(Reason.DAMAGED_LOG, "why"))

    assert [aside.folder.name[:4] for aside in SetAside(tmp_path).all()] == [
        f"{number:04}" for number in range(1, MOST + 1)
    ]
    assert node_id_in(tmp_path) is not None
