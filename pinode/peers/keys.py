"""Keys derived from the cluster key, one for each purpose, so that none is used for two."""

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pinode.errors import PinodeError
from pinode.peers.certificates import authority_certificate
from pinode.peers.cluster_key import ClusterKey

SALT = b"pinode cluster key 1"
NONCE_BYTES = 12
SEALED_VERSION = b"\x01"


class SealBroken(PinodeError):
    """A sealed value does not open: it was changed, or sealed under another cluster's key."""

    code = "seal_broken"


def derive(secret: bytes, *, purpose: bytes, length: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869): a key for one purpose; other purposes tell nothing about it."""
    return HKDF(algorithm=SHA256(), length=length, salt=SALT, info=purpose).derive(secret)


@dataclass(frozen=True, slots=True)
class ClusterSecrets:
    """What the cluster key opens: gossip, the authority that signs nodes, and values sealed at rest."""

    cluster_key: ClusterKey
    gossip_key: bytes = field(repr=False)
    authority_key: Ed25519PrivateKey = field(repr=False)
    data_key: bytes = field(repr=False)
    mark: str  # names the key to others on the network, and tells nothing of it

    @classmethod
    def derived_from(cls, key: ClusterKey) -> "ClusterSecrets":
        """Derive all of them; the same on every node that holds the key."""
        return cls(
            cluster_key=key,
            gossip_key=derive(key.secret, purpose=b"gossip"),
            authority_key=Ed25519PrivateKey.from_private_bytes(derive(key.secret, purpose=b"peer authority")),
            data_key=derive(key.secret, purpose=b"data"),
            mark=derive(key.secret, purpose=b"public mark", length=8).hex(),
        )

    @property
    def authority_pem(self) -> str:
        """Certificate of the peers' authority."""
        return authority_certificate(self.authority_key)

    def seal(self, value: bytes, *, purpose: bytes, nonce: bytes) -> bytes:
        """Encrypt a value for keeping; `nonce` is 12 fresh random bytes, `purpose` is needed to open it."""
        assert len(nonce) == NONCE_BYTES
        return SEALED_VERSION + nonce + ChaCha20Poly1305(self.data_key).encrypt(nonce, value, purpose)

    def open(self, sealed: bytes, *, purpose: bytes) -> bytes:
        """Decrypt what `seal` made for the same purpose. Raises `SealBroken`."""
        nonce, encrypted = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            if sealed[:1] != SEALED_VERSION or len(nonce) != NONCE_BYTES:
                raise InvalidTag
            return ChaCha20Poly1305(self.data_key).decrypt(nonce, encrypted, purpose)
        except InvalidTag as error:
            raise SealBroken(
                f"a sealed value for {purpose.decode('utf-8', 'replace')} does not open",
                hint="This node's cluster.key is not the one it was sealed under.",
            ) from error
