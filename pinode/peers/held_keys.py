"""The cluster keys that one node holds, and the steps by which a rotation goes through them. Pure.

Two keys open at a time at the most: the one in use and its successor, or the one in use and its predecessor.
Values that were sealed earlier stay readable: a key that goes leaves its data key behind.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import msgpack

from pinode.peers.cluster_key import KEY_BYTES, ClusterKey
from pinode.peers.derived_keys import derived
from pinode.peers.errors import MalformedFrame

VERSION = 1
OLDER_DATA_KEYS = 1_024  # as many rotations as values are read of


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldKeys:
    """What a node knows of its cluster's keys; as a whole on its disk, and on the way to another node."""

    in_use: ClusterKey  # seals
    generation: int = 0  # of the key in use: how many rotations led to it
    successor: ClusterKey | None = None  # opens already
    predecessor: ClusterKey | None = None  # opens still
    older_data_keys: tuple[bytes, ...] = field(default=(), repr=False)  # newest first
    entitled: frozenset[str] = frozenset()  # to `newest`: the nodes registered when it was agreed on

    @property
    def all(self) -> tuple[ClusterKey, ...]:
        """All cluster keys that open, the one in use first."""
        return tuple(key for key in (self.in_use, self.successor, self.predecessor) if key is not None)

    @property
    def newest(self) -> ClusterKey:
        """The one that was agreed on last, or is to be."""
        return self.successor or self.in_use

    @property
    def newest_generation(self) -> int:
        """How many rotations lead to that."""
        return self.generation + (self.successor is not None)

    @property
    def marks(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(derived(key).mark for key in self.all)

    @property
    def data_keys(self) -> tuple[bytes, ...]:
        """All that open sealed values, the one that seals first."""
        found = [derived(key).data_key for key in self.all]
        return tuple(dict.fromkeys((*found, *self.older_data_keys)))

    def with_successor(self, key: ClusterKey, *, entitled: frozenset[str]) -> "HeldKeys":
        """*Install*: it opens from now on."""
        return replace(self, successor=key, predecessor=None, entitled=entitled)

    def using_successor(self, *, generation: int) -> "HeldKeys":
        """*Use*: it seals from now on. Its predecessor opens until it is dropped, its data key ever after."""
        assert self.successor is not None and generation > self.generation
        older = (derived(self.in_use).data_key, *self.older_data_keys)
        return replace(
            self,
            in_use=self.successor,
            generation=generation,
            successor=None,
            predecessor=self.in_use,
            older_data_keys=older[:OLDER_DATA_KEYS],
        )

    def alone(self) -> "HeldKeys":
        """*Remove*: nothing opens but the key in use."""
        return replace(self, successor=None, predecessor=None)

    def joined_with(self, other: "HeldKeys", *, agreed: str = "") -> "HeldKeys":
        """What a node holds that is told this by another one: whatever is newer of the two.

        Of two successors it keeps its own, for which of them was given up only the log says (`agreed`: mark).
        """
        if other.generation < self.generation:
            return self
        if other.generation > self.generation or other.in_use != self.in_use:
            own = dict.fromkeys((*other.older_data_keys, *self.older_data_keys))
            return replace(other, older_data_keys=tuple(own)[:OLDER_DATA_KEYS])
        if other.successor is None or (self.successor and derived(other.successor).mark != agreed):
            return self
        return self.with_successor(other.successor, entitled=other.entitled)


def encode_held(held: HeldKeys) -> bytes:
    """All of it, in the clear: only for a link to an entitled node, or to be sealed."""
    packed: bytes = msgpack.packb(
        [
            VERSION,
            held.generation,
            held.in_use.secret,
            held.successor.secret if held.successor else b"",
            held.predecessor.secret if held.predecessor else b"",
            list(held.older_data_keys),
            sorted(held.entitled),
        ]
    )
    return packed


def decode_held(data: bytes) -> HeldKeys:
    """Read what `encode_held` made. Raises `MalformedFrame`."""
    try:
        version, generation, in_use, successor, predecessor, older, entitled, *_ = msgpack.unpackb(data)
        if version != VERSION or type(generation) is not int or generation < 0:
            raise ValueError("of another version, or without a generation")
        return HeldKeys(
            in_use=ClusterKey(_secret(in_use)),
            generation=generation,
            successor=ClusterKey(_secret(successor)) if successor else None,
            predecessor=ClusterKey(_secret(predecessor)) if predecessor else None,
            older_data_keys=tuple(_secret(key) for key in older[:OLDER_DATA_KEYS]),
            entitled=frozenset(str(node_id) for node_id in entitled),
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise MalformedFrame("cluster keys that cannot be read") from error


def _secret(value: Any) -> bytes:
    if type(value) is not bytes or len(value) != KEY_BYTES:
        raise ValueError("no key")
    return value
