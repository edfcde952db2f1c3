"""The cluster keys a node holds: what opens in which step of a rotation, and what a power cut leaves of it."""

import itertools
import os
from pathlib import Path
from random import Random

import msgpack
import pytest

from pinode.peers.cluster_key import ClusterKey, read_cluster_key, write_cluster_key
from pinode.peers.derived_keys import derived
from pinode.peers.errors import MalformedFrame
from pinode.peers.held_keys import HeldKeys, decode_held, encode_held
from pinode.peers.key_store import FILE, VERSION, KeyStore, _entries
from pinode.peers.keys import ClusterSecrets, SealBroken

KEYS = [ClusterKey(bytes([number]) * 32) for number in range(1, 6)]
FIRST, SECOND, THIRD = KEYS[:3]
NODES = frozenset({"1" * 16, "2" * 16})
PURPOSE = b"config value"


def rotated(held: HeldKeys, key: ClusterKey) -> HeldKeys:
    """All steps of one rotation."""
    installed = held.with_successor(key, entitled=NODES)
    return installed.using_successor(generation=held.generation + 1).alone()


def sealed_by(held: HeldKeys, value: bytes) -> bytes:
    return ClusterSecrets(held).seal(value, purpose=PURPOSE, nonce=os.urandom(12))


def opened_by(held: HeldKeys, sealed: bytes) -> bytes:
    return ClusterSecrets(held).open(sealed, purpose=PURPOSE)


def test_what_was_sealed_before_there_were_rotations_opens_ever_after() -> None:
    """The bytes are those that the version before this one has made."""
    held = HeldKeys(in_use=ClusterKey(b"k" * 32))
    sealed = bytes.fromhex(SEALED_BY_VERSION_BEFORE)
    assert opened_by(held, sealed) == b"postgres://db"

    for key in KEYS:
        held = rotated(held, key)

    assert opened_by(held, sealed) == b"postgres://db"


SEALED_BY_VERSION_BEFORE = (
    "016e6e6e6e6e6e6e6e6e6e6e6e1e5c64fe5496e5dcd2ef5588e46733b407e2f83700041481d2ae9d721a"
)


def test_in_every_step_each_node_opens_what_a_node_of_the_step_before_or_after_seals() -> None:
    steps = [HeldKeys(in_use=FIRST)]
    steps.append(steps[-1].with_successor(SECOND, entitled=NODES))
    steps.append(steps[-1].using_successor(generation=1))
    steps.append(steps[-1].alone())

    for one, other in itertools.pairwise(steps):
        assert opened_by(other, sealed_by(one, b"value")) == b"value"
        assert opened_by(one, sealed_by(other, b"value")) == b"value"
        assert set(one.marks) & set(other.marks), "they hear each other"


def test_who_holds_the_key_that_was_rotated_away_opens_nothing_that_was_sealed_since() -> None:
    old = HeldKeys(in_use=FIRST)
    new = rotated(old, SECOND)

    with pytest.raises(SealBroken):
        opened_by(old, sealed_by(new, b"value"))
    assert derived(FIRST).mark not in new.marks and FIRST not in new.all


def test_a_successor_that_was_given_up_opens_nothing_any_more() -> None:
    held = HeldKeys(in_use=FIRST).with_successor(SECOND, entitled=NODES)

    held = rotated(held, THIRD)

    assert SECOND not in held.all and derived(SECOND).data_key not in held.data_keys


@pytest.mark.parametrize("seed", range(50))
def test_whatever_two_nodes_hold_who_is_told_the_newer_holds_it_and_forgets_no_data_key(seed: int) -> None:
    random = Random(seed)
    held, seen = HeldKeys(in_use=ClusterKey(random.randbytes(32))), []
    for _ in range(4):
        seen.append(held)
        held = held.with_successor(ClusterKey(random.randbytes(32)), entitled=NODES)
        seen.append(held)
        held = held.using_successor(generation=held.generation + 1)
        seen.append(held)
        held = held.alone()

    one, other = sorted(random.sample(range(len(seen)), 2))
    told, back = seen[one].joined_with(seen[other]), seen[other].joined_with(seen[one])

    assert back == seen[other], "the older of the two changes nothing"
    assert set(seen[one].data_keys) <= set(told.data_keys)
    assert (told.in_use, told.generation) == (seen[other].in_use, seen[other].generation)
    assert seen[other].successor in (None, told.successor)


def test_keys_come_back_from_bytes_and_broken_ones_are_refused() -> None:
    held = rotated(HeldKeys(in_use=FIRST), SECOND).with_successor(THIRD, entitled=NODES)

    assert decode_held(encode_held(held)) == held
    for broken in (
        b"",
        b"\xc1",
        encode_held(held)[:-1],
        encode_held(held).replace(b"\xc4\x20" + b"\x03" * 32, b"\xc4\x1f" + b"\x03" * 31),
    ):
        with pytest.raises(MalformedFrame):
            decode_held(broken)


def test_no_key_shows_in_a_representation() -> None:
    held = rotated(HeldKeys(in_use=ClusterKey(b"k" * 32)), ClusterKey(b"s" * 32))
    shown = repr([held, ClusterSecrets(held), derived(held.in_use)])

    assert "kkk" not in shown and "sss" not in shown and derived(held.in_use).data_key.hex() not in shown


# -- on the disk -------------------------------------------------------------------------------------------


def stored(folder: Path) -> HeldKeys:
    """What a start finds."""
    file = folder / "cluster.key"
    return KeyStore(file, folder).load(read_cluster_key(file))


def test_a_cluster_that_was_never_rotated_has_no_second_file(tmp_path: Path) -> None:
    write_cluster_key(tmp_path / "cluster.key", FIRST)

    KeyStore(tmp_path / "cluster.key", tmp_path).keep(stored(tmp_path))

    assert stored(tmp_path) == HeldKeys(in_use=FIRST)
    assert not (tmp_path / FILE).exists()


def test_after_every_write_of_a_rotation_a_start_finds_the_step_before_it_or_after_it(tmp_path: Path) -> None:
    """A power cut may fall between the two files."""
    write_cluster_key(tmp_path / "cluster.key", FIRST)
    store, before = KeyStore(tmp_path / "cluster.key", tmp_path), HeldKeys(in_use=FIRST)
    installed = before.with_successor(SECOND, entitled=NODES)
    used = installed.using_successor(generation=1)
    for step in (installed, used, used.alone()):
        old_key = (tmp_path / "cluster.key").read_bytes()
        store.keep(step)
        new_key = (tmp_path / "cluster.key").read_bytes()
        (tmp_path / "cluster.key").write_bytes(old_key)

        assert stored(tmp_path) in (before, step), "the second file was written, the first was not"

        (tmp_path / "cluster.key").write_bytes(new_key)
        assert stored(tmp_path) == step
        before = step


def test_both_files_are_for_their_owner_alone_and_hold_no_data_key_in_the_clear(tmp_path: Path) -> None:
    write_cluster_key(tmp_path / "cluster.key", FIRST)
    held = rotated(HeldKeys(in_use=FIRST), SECOND)

    KeyStore(tmp_path / "cluster.key", tmp_path).keep(held)

    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("cluster.key", FILE)} == {0o600}
    assert read_cluster_key(tmp_path / "cluster.key") == SECOND
    assert derived(FIRST).data_key not in (tmp_path / FILE).read_bytes()
    write_cluster_key(tmp_path / "cluster.key", FIRST, replace=True)
    assert stored(tmp_path) == HeldKeys(in_use=FIRST), "the old key opens nothing of it"


def test_a_file_with_an_entry_for_a_key_that_went_is_written_anew(tmp_path: Path) -> None:
    """A copy of it from the midst of a rotation, put back beside the new key, would open with the old one."""
    write_cluster_key(tmp_path / "cluster.key", FIRST)
    store, file = KeyStore(tmp_path / "cluster.key", tmp_path), tmp_path / FILE
    used = HeldKeys(in_use=FIRST).with_successor(SECOND, entitled=NODES).using_successor(generation=1)
    store.keep(used.alone())
    (_, entry), *_ = _entries(file).items()
    file.write_bytes(msgpack.packb([VERSION, {derived(SECOND).mark: entry, derived(FIRST).mark: b"old"}]))

    store.keep(used.alone())

    assert list(_entries(file)) == [derived(SECOND).mark]
    assert stored(tmp_path) == used.alone()


@pytest.mark.parametrize(
    "content", [b"", b"\xc1", b"\x92\x01\x80", b"\x92\x02\x80", b"\x01", b"\x92\x01\xc0"]
)
def test_a_second_file_that_cannot_be_read_is_as_if_it_were_missing(tmp_path: Path, content: bytes) -> None:
    write_cluster_key(tmp_path / "cluster.key", FIRST)
    (tmp_path / FILE).write_bytes(content)

    assert stored(tmp_path) == HeldKeys(in_use=FIRST)
