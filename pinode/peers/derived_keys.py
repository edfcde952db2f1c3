"""Keys derived from one cluster key, one for each purpose, so that none is used for two."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pinode.peers.certificates import authority_certificate
from pinode.peers.cluster_key import ClusterKey

SALT = b"pinode cluster key 1"
REMEMBERED = 16  # deriving takes a while, and the same few keys are asked for again and again


def derive(secret: bytes, *, purpose: bytes, length: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869): a key for one purpose; other purposes tell nothing about it."""
    return HKDF(algorithm=SHA256(), length=length, salt=SALT, info=purpose).derive(secret)


@dataclass(frozen=True)
class DerivedKeys:
    """What one cluster key opens: gossip, the authority that signs nodes, and values sealed at rest."""

    gossip_key: bytes = field(repr=False)
    authority_key: Ed25519PrivateKey = field(repr=False)
    data_key: bytes = field(repr=False)
    keeping_key: bytes = field(repr=False)  # seals what a node keeps of other keys on its disk
    mark: str  # names the key to others on the network, and tells nothing of it

    @cached_property
    def authority_pem(self) -> str:
        """Certificate of the peers' authority."""
        return authority_certificate(self.authority_key)


@lru_cache(maxsize=REMEMBERED)
def derived(key: ClusterKey) -> DerivedKeys:
    """Derive all of them; the same on every node that holds the key."""
    return DerivedKeys(
        gossip_key=derive(key.secret, purpose=b"gossip"),
        authority_key=Ed25519PrivateKey.from_private_bytes(derive(key.secret, purpose=b"peer authority")),
        data_key=derive(key.secret, purpose=b"data"),
        keeping_key=derive(key.secret, purpose=b"keeping other keys"),
        mark=derive(key.secret, purpose=b"public mark", length=8).hex(),
    )
