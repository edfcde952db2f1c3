"""The shared keys of a cluster: one in use, others beside it while one replaces another.

A rotation has three steps, each done at all members before the next: *install* the new key (it opens from now
on), *use* it (it seals from now on), *remove* the old one (it opens nothing any more). In between both open,
so no member is lost whichever order the members take.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator

MIN_KEY_BYTES = 16  # of a shared key
MAX_KEYS = 3  # whatever a stranger sends is tried with each of them
MARK_BYTES = 4

Derive = Callable[[bytes], bytes]  # a key of 32 bytes for a purpose: equal at all members, secret from others


def derive_from(shared_key: bytes) -> Derive:
    """Keys for all purposes from one that is handed to every member. Raises `ValueError` for a short one."""
    if len(shared_key) < MIN_KEY_BYTES:
        raise ValueError(f"a shared key has {MIN_KEY_BYTES} or more random bytes, not {len(shared_key)}")

    def derive(purpose: bytes) -> bytes:
        return hmac.digest(shared_key, b"gossip 1 " + purpose, hashlib.sha256)

    return derive


def mark_of(derive: Derive) -> str:
    """The key's name, the same at every member; it tells nothing of the key."""
    return derive(b"mark")[:MARK_BYTES].hex()


class KeyRing:
    """One to `MAX_KEYS` keys by their marks; seals and streams that share a ring rotate together."""

    def __init__(self, derive: Derive) -> None:
        self._in_use = mark_of(derive)
        self._keys = {self._in_use: derive}

    def __contains__(self, mark: str) -> bool:
        return mark in self._keys

    def __iter__(self) -> Iterator[str]:
        """Marks of all keys that open, the one in use first."""
        yield self._in_use
        yield from [mark for mark in self._keys if mark != self._in_use]

    @property
    def in_use(self) -> str:
        """Mark of the key that seals."""
        return self._in_use

    def derive(self, mark: str, purpose: bytes) -> bytes:
        return self._keys[mark](purpose)

    def install(self, derive: Derive) -> str:
        """Let this key open from now on; return its mark. Raises `ValueError` beyond `MAX_KEYS`."""
        mark = mark_of(derive)
        if mark not in self._keys and len(self._keys) >= MAX_KEYS:
            raise ValueError(f"{MAX_KEYS} keys are installed already: remove {list(self)[-1]} first")
        self._keys[mark] = derive
        return mark

    def use(self, mark: str) -> None:
        """Seal by this key from now on. Raises `ValueError` when it is not installed."""
        if mark not in self._keys:
            raise ValueError(f"the key {mark} is not installed: install it at every member, then use it")
        self._in_use = mark

    def remove(self, mark: str) -> None:
        """Let this key open nothing any more. Raises `ValueError` for the one in use."""
        if mark == self._in_use:
            raise ValueError(f"the key {mark} is in use: use another at every member, then remove it")
        self._keys.pop(mark, None)

    def become(self, keys: "KeyRing") -> None:
        """Hold these keys instead, the same one in use: any step of a rotation at once."""
        self._keys, self._in_use = dict(keys._keys), keys._in_use
