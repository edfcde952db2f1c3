"""The founding record: what makes a set of nodes one cluster, agreed once and kept for ever."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from pinode.peers.certificates import new_web_authority
from pinode.peers.keys import NONCE_BYTES, ClusterSecrets
from pinode.peers.standing import ClusterMark

SETUP_CODE_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # none that is mistaken for another
SETUP_CODE_GROUPS, SETUP_CODE_GROUP_LENGTH = 3, 4
CLUSTER_ID_BYTES = 16
WEB_AUTHORITY_PURPOSE = b"web authority key"
SETUP_CODE_PURPOSE = b"setup code"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundingMember:
    """A node as it was when the cluster was founded; its id is the hash of its public key."""

    node_id: str
    name: str
    host: str
    peer_port: int

    @property
    def where(self) -> str:
        """As people are told."""
        return f"{self.name} ({self.host}:{self.peer_port})"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundingRecord:
    """The cluster's id, its first members, the browsers' CA and the first administrator's code.

    Nothing of it changes but for the epoch, which `pinode recover` raises.
    """

    cluster_id: bytes
    name: str
    members: tuple[FoundingMember, ...]
    web_authority_pem: str = field(repr=False)
    sealed_web_authority_key: bytes = field(repr=False)
    sealed_setup_code: bytes = field(repr=False)
    created_at_unix: float  # by the wall clock of whoever made it: shown to people, never compared
    epoch: int = 0  # rises with each recovery from a lost majority (`standing`)

    @property
    def mark(self) -> ClusterMark:
        """As nodes name their cluster to each other."""
        return ClusterMark(self.cluster_id, self.epoch)

    def has(self, node_id: str) -> bool:
        """Whether this node is a member."""
        return any(member.node_id == node_id for member in self.members)

    def web_authority_key(self, secrets: ClusterSecrets) -> bytes:
        """The private key of the browsers' CA, PEM. Raises `SealBroken` under another cluster's key."""
        return secrets.open(self.sealed_web_authority_key, purpose=WEB_AUTHORITY_PURPOSE)

    def setup_code(self, secrets: ClusterSecrets) -> str:
        """The code that makes the first user administrator. Raises `SealBroken`."""
        return secrets.open(self.sealed_setup_code, purpose=SETUP_CODE_PURPOSE).decode()


def new_founding_record(
    *,
    name: str,
    members: Sequence[FoundingMember],
    secrets: ClusterSecrets,
    random: Random,
    created_at_unix: float,
) -> FoundingRecord:
    """Make a record to propose; `random` must be the system's."""
    authority_pem, authority_key = new_web_authority(name)
    letters = [random.choice(SETUP_CODE_LETTERS) for _ in range(SETUP_CODE_GROUPS * SETUP_CODE_GROUP_LENGTH)]
    starts = range(0, len(letters), SETUP_CODE_GROUP_LENGTH)
    setup_code = "-".join("".join(letters[start : start + SETUP_CODE_GROUP_LENGTH]) for start in starts)
    return FoundingRecord(
        cluster_id=random.randbytes(CLUSTER_ID_BYTES),
        name=name,
        members=tuple(sorted(members, key=lambda member: member.node_id)),
        web_authority_pem=authority_pem,
        sealed_web_authority_key=secrets.seal(
            authority_key, purpose=WEB_AUTHORITY_PURPOSE, nonce=random.randbytes(NONCE_BYTES)
        ),
        sealed_setup_code=secrets.seal(
            setup_code.encode(), purpose=SETUP_CODE_PURPOSE, nonce=random.randbytes(NONCE_BYTES)
        ),
        created_at_unix=created_at_unix,
    )
