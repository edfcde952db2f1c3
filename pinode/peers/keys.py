"""What a node opens and seals with the cluster keys that it holds; while it runs, a rotation changes them."""

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from pinode.errors import PinodeError
from pinode.peers.cluster_key import ClusterKey
from pinode.peers.derived_keys import DerivedKeys, derived
from pinode.peers.held_keys import HeldKeys

NONCE_BYTES = 12
SEALED_VERSION = b"\x01"


class SealBroken(PinodeError):
    """A sealed value does not open: it was changed, or sealed under another cluster's key."""

    code = "seal_broken"


class ClusterSecrets:
    """The keys of one node now. Everything that is asked of it is of the key in use, but where it says so."""

    def __init__(self, held: HeldKeys) -> None:
        self._held = held
        self._listeners: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"ClusterSecrets(generation={self._held.generation}, mark={self.mark!r})"

    @classmethod
    def derived_from(cls, key: ClusterKey) -> "ClusterSecrets":
        """Of a node that holds this one key."""
        return cls(HeldKeys(in_use=key))

    @property
    def held(self) -> HeldKeys:
        """All keys that it holds."""
        return self._held

    def hold(self, held: HeldKeys) -> None:
        """Hold these from now on, and tell whoever wants to know."""
        self._held = held
        for listener in self._listeners:
            listener()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener()` called whenever other keys are held."""
        self._listeners.append(listener)

    @property
    def opening(self) -> tuple[DerivedKeys, ...]:
        """Of all cluster keys that open, the one in use first."""
        return tuple(derived(key) for key in self._held.all)

    @property
    def cluster_key(self) -> ClusterKey:
        """The key in use."""
        return self._held.in_use

    @property
    def gossip_key(self) -> bytes:
        """What gossip's keys are derived from."""
        return derived(self._held.in_use).gossip_key

    @property
    def data_key(self) -> bytes:
        """What seals values from now on; those of `held` open them."""
        return derived(self._held.in_use).data_key

    @property
    def authority_key(self) -> Ed25519PrivateKey:
        """What signs the certificates of nodes."""
        return derived(self._held.in_use).authority_key

    @property
    def authority_pem(self) -> str:
        """Certificate of the peers' authority."""
        return derived(self._held.in_use).authority_pem

    @property
    def mark(self) -> str:
        """The key's name, which tells nothing of it."""
        return derived(self._held.in_use).mark

    def seal(self, value: bytes, *, purpose: bytes, nonce: bytes) -> bytes:
        """Encrypt a value for keeping; `nonce` is 12 fresh random bytes, `purpose` is needed to open it."""
        assert len(nonce) == NONCE_BYTES
        return SEALED_VERSION + nonce + ChaCha20Poly1305(self.data_key).encrypt(nonce, value, purpose)

    def open(self, sealed: bytes, *, purpose: bytes) -> bytes:
        """Decrypt what `seal` made for the same purpose, before a rotation too. Raises `SealBroken`."""
        for data_key in self._held.data_keys:
            if (value := _opened(sealed, data_key, purpose)) is not None:
                return value
        raise SealBroken(
            f"a sealed value for {purpose.decode('utf-8', 'replace')} does not open",
            hint="This node's cluster.key is not the one it was sealed under.",
        )

    def sealed_anew(self, sealed: bytes, *, purpose: bytes, nonce: bytes) -> bytes:
        """The same value sealed by the key in use; as it is where it is already. Raises `SealBroken`."""
        if _opened(sealed, self.data_key, purpose) is not None:
            return sealed
        return self.seal(self.open(sealed, purpose=purpose), purpose=purpose, nonce=nonce)


def _opened(sealed: bytes, data_key: bytes, purpose: bytes) -> bytes | None:
    nonce, encrypted = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    if sealed[:1] != SEALED_VERSION or len(nonce) != NONCE_BYTES:
        return None
    try:
        return ChaCha20Poly1305(data_key).decrypt(nonce, encrypted, purpose)
    except InvalidTag:
        return None
