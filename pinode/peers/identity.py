"""Who this node is: its key pair, made at its first start, and what it shows to peers and to browsers."""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pinode.errors import PinodeError
from pinode.peers.certificates import (
    QUEUE_NAME,
    WebKey,
    is_issued_by,
    node_id_of,
    peer_certificate,
    private_pem,
    subjects_of,
    web_certificate,
)
from pinode.peers.derived_keys import DerivedKeys, derived
from pinode.peers.durable_files import write_durably
from pinode.peers.held_keys import HeldKeys
from pinode.peers.key_store import KeyStore
from pinode.peers.keys import ClusterSecrets
from pinode.peers.tls import PeerFiles

Key = TypeVar("Key", Ed25519PrivateKey, ec.EllipticCurvePrivateKey)


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's name by its key, and the files with which it proves it."""

    node_id: str
    files: PeerFiles
    secrets: ClusterSecrets = field(repr=False)

    @property
    def raft_id(self) -> int:
        """The same node as consensus names it."""
        return int(self.node_id, 16)


def load_node_id(data_dir: Path) -> str:
    """This machine's id by its key, which is made at the first start."""
    return node_id_of(_load_or_make(data_dir / "node.key", Ed25519PrivateKey.generate).public_key())


def load_identity(data_dir: Path, secrets: ClusterSecrets) -> Identity:
    """Read this node's key, or make it at the first start; certify it under this cluster's key.

    Whoever is certified under any cluster key that opens is believed.
    """
    files = PeerFiles(
        key=data_dir / "node.key", certificate=data_dir / "node.crt", authority=data_dir / "peers.crt"
    )
    key = node_key(files)
    write_certificates(files, key, secrets.opening)
    return Identity(node_id=node_id_of(key.public_key()), files=files, secrets=secrets)


def write_certificates(files: PeerFiles, key: Ed25519PrivateKey, opening: Sequence[DerivedKeys]) -> None:
    """Have the files say how this node proves itself (by the first of these keys), and whom it believes.

    Authorities come before the certificate, so that at no moment a node shows what it does not believe.
    """
    authorities = "".join(keys.authority_pem for keys in opening)
    _write_if_changed(files.authority, authorities)
    _write_if_changed(files.certificate, peer_certificate(key, opening[0].authority_key))


async def hold_keys(identity: Identity, store: KeyStore, held: HeldKeys) -> None:
    """Have this node hold these cluster keys from now on; on its disk first. Raises `OSError`."""

    def keep() -> None:
        store.keep(held)
        write_certificates(identity.files, node_key(identity.files), [derived(key) for key in held.all])

    await asyncio.to_thread(keep)
    identity.secrets.hold(held)


def node_key(files: PeerFiles) -> Ed25519PrivateKey:
    """This node's own key."""
    return _load_or_make(files.key, Ed25519PrivateKey.generate)


def node_id_in(data_dir: Path) -> str | None:
    """As which node a data directory was used; None when it was not, or when nobody can tell any more."""
    try:
        key = load_pem_private_key((data_dir / "node.key").read_bytes(), None)
    except (OSError, ValueError):
        return None
    return node_id_of(key.public_key()) if isinstance(key, Ed25519PrivateKey) else None


@dataclass(frozen=True, slots=True)
class WebCredentials:
    """A node's HTTPS key and certificate, and the CA that browsers and queue clients are to trust."""

    key_file: Path
    certificate_file: Path
    authority_pem: str

    def context(self, *protocols: str) -> ssl.SSLContext:
        """TLS for a server that asks its clients for no certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate_file, self.key_file)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


def load_web_credentials(
    data_dir: Path,
    *,
    authority_pem: str,
    authority_key_pem: bytes,
    cluster_name: str,
    host: str,
    addresses: Iterable[str],
) -> WebCredentials:
    """Read this node's HTTPS certificate; issue another when its names, its addresses or the CA changed."""
    key_file, certificate_file = data_dir / "web.key", data_dir / "web.crt"
    key = _load_or_make(key_file, lambda: ec.generate_private_key(ec.SECP256R1()))
    names = list(dict.fromkeys([host, f"{host}.local", f"{cluster_name}.local", "localhost", QUEUE_NAME]))
    wanted = (set(names), {"127.0.0.1", "::1", *addresses})
    if not _still_good(certificate_file, wanted, authority_pem, key):
        certificate = web_certificate(
            key,
            authority_pem=authority_pem,
            authority_key_pem=authority_key_pem,
            names=names,
            addresses=sorted(wanted[1]),
        )
        write_durably(certificate_file, (certificate + authority_pem).encode(), mode=0o644)
    return WebCredentials(key_file=key_file, certificate_file=certificate_file, authority_pem=authority_pem)


def _still_good(file: Path, wanted: tuple[set[str], set[str]], authority_pem: str, key: WebKey) -> bool:
    try:
        certificate = file.read_text()
        return subjects_of(certificate) == wanted and is_issued_by(
            certificate, authority_pem=authority_pem, web_key=key
        )
    except (OSError, ValueError):
        return False


def _load_or_make(file: Path, make: Callable[[], Key]) -> Key:
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except FileNotFoundError:
        made = make()
        write_durably(file, private_pem(made), mode=0o600)
        return made
    except ValueError as error:
        raise PinodeError(f"{file} is not a private key", hint=f"Restore {file} from a backup.") from error
    return key  # type: ignore[return-value]  # of the kind that was made: the file is ours


def _write_if_changed(file: Path, content: str) -> None:
    if not file.exists() or file.read_text() != content:
        write_durably(file, content.encode(), mode=0o644)
