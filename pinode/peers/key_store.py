"""The keys of a node on its disk: `cluster.key` is the one in use, `cluster.keys` holds what is beside it.

`cluster.keys` has the same content sealed under each cluster key that opens, so that with any of them in
`cluster.key` all of it is there; and it is written first. So a power cut between the two files does no harm.
A `cluster.key` that opens nothing of it is one from elsewhere, or from before a rotation, and is believed.
"""

import os
from pathlib import Path

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from pinode.peers.cluster_key import ClusterKey, read_cluster_key, write_cluster_key
from pinode.peers.derived_keys import derived
from pinode.peers.durable_files import write_durably
from pinode.peers.errors import MalformedFrame
from pinode.peers.held_keys import HeldKeys, decode_held, encode_held
from pinode.settings import Settings

FILE = "cluster.keys"
VERSION = 1
NONCE_BYTES = 12
PURPOSE = b"held cluster keys"


class KeyStore:
    """Those of one data directory."""

    def __init__(self, key_file: Path, data_dir: Path) -> None:
        self._key_file = key_file
        self._file = data_dir / FILE

    @classmethod
    def of(cls, settings: Settings) -> "KeyStore":
        """Of the node with these settings."""
        return cls(settings.cluster.key_file, settings.node.data_dir)

    def load(self, key: ClusterKey) -> HeldKeys:
        """What is kept beside `key`, which is what `cluster.key` says. The newest of it counts."""
        held = _opened(self._file, key)
        return HeldKeys(in_use=key) if held is None else held

    def keep(self, held: HeldKeys) -> None:
        """Have both files say so, durably, whatever they said before. Raises `OSError`."""
        if held == HeldKeys(in_use=held.in_use):
            self._file.unlink(missing_ok=True)  # as before the first rotation: nothing is beside it
        elif _opened(self._file, held.in_use) != held or len(_entries(self._file)) != len(held.all):
            write_durably(self._file, _sealed(held), mode=0o600)
        if not self._key_file.exists() or read_cluster_key(self._key_file) != held.in_use:
            write_cluster_key(self._key_file, held.in_use, replace=True)


def _sealed(held: HeldKeys) -> bytes:
    content = encode_held(held)
    entries = {}
    for key in held.all:
        nonce = os.urandom(NONCE_BYTES)
        keys = derived(key)
        entries[keys.mark] = nonce + ChaCha20Poly1305(keys.keeping_key).encrypt(nonce, content, PURPOSE)
    packed: bytes = msgpack.packb([VERSION, entries])
    return packed


def _entries(file: Path) -> dict[str, bytes]:
    try:
        version, entries, *_ = msgpack.unpackb(file.read_bytes())
    except (FileNotFoundError, ValueError, TypeError, msgpack.UnpackException):
        return {}
    return entries if version == VERSION and isinstance(entries, dict) else {}


def _opened(file: Path, key: ClusterKey) -> HeldKeys | None:
    keys = derived(key)
    sealed = _entries(file).get(keys.mark, b"")
    try:
        content = ChaCha20Poly1305(keys.keeping_key).decrypt(
            sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], PURPOSE
        )
        return decode_held(content)
    except (InvalidTag, ValueError, MalformedFrame):
        return None
