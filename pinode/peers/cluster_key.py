"""The cluster key: 32 random bytes in a file that only its owner reads. Who has it is a member."""

import base64
import binascii
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from pinode.errors import SettingsError
from pinode.peers.durable_files import write_durably
from pinode.settings import Settings

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class ClusterKey:
    """The secret that makes a node a member; never shown."""

    secret: bytes = field(repr=False)


def new_cluster_key() -> ClusterKey:
    """Make a key from the system's randomness."""
    return ClusterKey(secrets.token_bytes(KEY_BYTES))


def write_cluster_key(path: Path, key: ClusterKey, *, replace: bool = False) -> None:
    """Write the key, for its owner alone. Raises `FileExistsError` unless it may `replace` another."""
    write_durably(path, base64.b64encode(key.secret) + b"\n", mode=0o600, replace=replace)


def left_key(key_file: Path) -> Path:
    """Where the key of a cluster is kept that this node has left."""
    return key_file.with_name(f"{key_file.name}.left")


def load_or_make_cluster_key(settings: Settings) -> ClusterKey:
    """Read the key; a node that begins a cluster of its own makes one. Raises `SettingsError`."""
    path = settings.cluster.key_file
    try:
        return read_cluster_key(path)
    except FileNotFoundError as error:
        if settings.cluster.expect > 1 or settings.cluster.join:
            raise SettingsError(
                f"there is no cluster key {path}, and a cluster of several nodes needs the same one on each",
                hint="Make it once with `pinode init`, then copy cluster.toml and cluster.key to every node. "
                "To join a cluster that is there, use a token: `pinode join-token`.",
            ) from error
    key = new_cluster_key()
    write_cluster_key(path, key)
    return key


def read_cluster_key(path: Path) -> ClusterKey:
    """Read the key. Raises `FileNotFoundError`; `SettingsError` when it is no key or others can read it."""
    if path.stat().st_mode & 0o077:
        raise SettingsError(
            f"the cluster key {path} can be read by other users", hint=f"Close it: chmod 600 {path}"
        )
    try:
        secret = base64.b64decode(path.read_bytes().strip(), validate=True)
    except binascii.Error:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise SettingsError(
            f"{path} is not a cluster key (32 bytes in base64)",
            hint="Copy cluster.key again from the node where `pinode init` wrote it.",
        )
    return ClusterKey(secret)
