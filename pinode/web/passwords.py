"""Passwords, kept only as scrypt hashes that carry their own cost.

One hash takes 16 MiB while it is made, so at most two are made at a time, each in a thread; who comes while
too many wait is asked to come back.
"""

import asyncio
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from pinode.errors import InvalidInput
from pinode.rate_limit import TooMany

SHORTEST = 8
LONGEST_BYTES = 1024
SALT_BYTES = 16
AT_ONCE = 2
WAITING_AT_MOST = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one scrypt hash: 128 * r * 2**log2_n bytes of memory, `p` times over (16 MiB by default)."""

    log2_n: int = 14
    r: int = 8
    p: int = 5


class Passwords:
    """Hashes and checks passwords without holding up the event loop or filling the memory."""

    def __init__(self, cost: Cost = Cost()) -> None:
        self._cost = cost
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        # What no password gives; checked for unknown users, so that they take as long as known ones.
        self._nobody = f"scrypt${cost.log2_n}${cost.r}${cost.p}${'00' * SALT_BYTES}${'00' * 32}".encode()

    async def hash(self, password: str) -> bytes:
        """Return what is stored. Raises `InvalidInput` for a password that is too short or too long."""
        if len(password) < SHORTEST:
            raise InvalidInput(
                f"the password has {len(password)} characters, it needs at least {SHORTEST}.",
                hint="A few unrelated words are easy to remember and hard to guess.",
            )
        if len(password.encode()) > LONGEST_BYTES:
            raise InvalidInput(f"the password is longer than {LONGEST_BYTES} bytes.")
        return await self._in_turn(password, None) or b""

    async def matches(self, password: str, stored: bytes | None) -> bool:
        """Whether this is the password; without a stored one it takes as long and is false."""
        if len(password.encode()) > LONGEST_BYTES:
            password = ""
        made = await self._in_turn(password, stored or self._nobody)
        return stored is not None and made is not None and hmac.compare_digest(made, stored)

    async def _in_turn(self, password: str, like: bytes | None) -> bytes | None:
        if self._waiting >= WAITING_AT_MOST:
            raise TooMany("too many people log in right now.", retry_after_seconds=5)
        self._waiting += 1
        try:
            async with self._turns:
                if like is None:
                    return await asyncio.to_thread(_hash, password, self._cost)
                return await asyncio.to_thread(_hash_again, password, like)
        finally:
            self._waiting -= 1


def _hash(password: str, cost: Cost, salt: bytes | None = None) -> bytes:
    salt = salt or secrets.token_bytes(SALT_BYTES)
    key = hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=1 << cost.log2_n,
        r=cost.r,
        p=cost.p,
        maxmem=20 * 1024 * 1024,
        dklen=32,
    )
    return f"scrypt${cost.log2_n}${cost.r}${cost.p}${salt.hex()}${key.hex()}".encode()


def _hash_again(password: str, stored: bytes) -> bytes | None:
    """Hash `password` as `stored` was; None when `stored` is no hash of ours."""
    try:
        kind, log2_n, r, p, salt, _ = stored.decode("ascii").split("$")
        cost = Cost(log2_n=int(log2_n), r=int(r), p=int(p))
        return _hash(password, cost, bytes.fromhex(salt)) if kind == "scrypt" else None
    except ValueError:
        return None
