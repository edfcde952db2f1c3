"""The cluster key: 32 random bytes in a file that only its owner reads. Who has it is a member."""

import base64
import binascii
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from pinode.errors import SettingsError

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class ClusterKey:
    """The secret that makes a node a member; never shown."""

    secret: bytes = field(repr=False)


def new_cluster_key() -> ClusterKey:
    """Make a key from the system's randomness."""
    return ClusterKey(secrets.token_bytes(KEY_BYTES))


def write_cluster_key(path: Path, key: ClusterKey) -> None:
    """Write the key so that it survives a power cut and only its owner reads it; never over another."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, base64.b64encode(key.secret) + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a file's name as durable as its content."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_cluster_key(path: Path) -> ClusterKey:
    """Read the key. Raises `FileNotFoundError`, or `SettingsError` when the file is not a key or open to others."""
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
