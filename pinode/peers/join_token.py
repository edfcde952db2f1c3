"""A join token as people carry it: where the cluster is, how its authority is known, and a secret.

The secret is kept nowhere but in the token; the cluster remembers its hash, and until when it is good.
"""

import base64
import binascii
import hashlib
import zlib
from dataclasses import dataclass, field

import msgpack

from pinode.errors import InvalidInput
from pinode.settings import Address, parse_address

PREFIX = "pinode-join-"
VERSION = 1
SECRET_BYTES = 16
AUTHORITY_HASH_BYTES = 32
MAX_ADDRESSES = 5
MAX_TOKEN_CHARACTERS = 2_048
CHECKSUM_BYTES = 4


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a token says."""

    addresses: tuple[Address, ...]  # of some members, as others dial them
    authority_hash: bytes  # SHA-256 of the public key of the peers' authority
    secret: bytes = field(repr=False)

    @property
    def secret_hash(self) -> bytes:
        """What the cluster keeps of it."""
        return hash_of(self.secret)


def hash_of(secret: bytes) -> bytes:
    """SHA-256 of a token's secret."""
    return hashlib.sha256(secret).digest()


def is_join_token(text: str) -> bool:
    """Whether this is meant to be a token, and no host."""
    return text.startswith(PREFIX)


def encode_join_token(token: JoinToken) -> str:
    """One word of letters, digits, `-` and `_`."""
    listed = [str(address) for address in token.addresses[:MAX_ADDRESSES]]
    content = msgpack.packb([VERSION, listed, token.authority_hash, token.secret])
    checked = content + zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "big")
    return PREFIX + base64.urlsafe_b64encode(checked).decode().rstrip("=")


def decode_join_token(text: str) -> JoinToken:
    """Read a token. Raises `InvalidInput`, which does not repeat it."""
    word = text.strip()
    if len(word) > MAX_TOKEN_CHARACTERS or not is_join_token(word):
        raise _not_one("it does not begin as one")
    body = word.removeprefix(PREFIX)
    try:
        checked = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        content, checksum = checked[:-CHECKSUM_BYTES], checked[-CHECKSUM_BYTES:]
        if zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "big") != checksum:
            raise _not_one("a part of it is missing or changed")
        version, listed, authority_hash, secret, *_ = msgpack.unpackb(content)
        if version != VERSION:
            raise _not_one(f"it is of version {version!r:.20}")
        token = JoinToken(tuple(map(parse_address, listed)), authority_hash, secret)
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _not_one("a part of it is missing or changed") from error
    if not _is_sound(token):
        raise _not_one("a part of it is missing or changed")
    return token


def _is_sound(token: JoinToken) -> bool:
    sizes = ((token.authority_hash, AUTHORITY_HASH_BYTES), (token.secret, SECRET_BYTES))
    return bool(token.addresses) and all(type(value) is bytes and len(value) == size for value, size in sizes)


def _not_one(why: str) -> InvalidInput:
    return InvalidInput(
        f"this is not a join token: {why}.",
        hint="Copy the whole word that `pinode join-token` printed.",
        code="invalid_join_token",
    )
