"""One batch of the log on the disk: a header that finds and proves itself, then the payload."""

from dataclasses import dataclass
from struct import Struct
from zlib import crc32

from .errors import NewerLogFormat

MAGIC = b"\xf1qL"
VERSION = 1
FIELDS = Struct("<3sBIIQQI")  # magic, version, payload bytes, chain before, position, synced, payload CRC
CHECK = Struct("<I")  # CRC of the fields: the chain value of this batch
HEADER_BYTES = FIELDS.size + CHECK.size


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before a batch. Positions count bytes from the beginning of the log, over all segments."""

    payload_bytes: int
    chain_before: int  # chain value of the batch before; 0 for the first
    position: int  # of this header
    synced: int  # everything before this position was known to be on the disk
    payload_crc: int
    chain: int

    @property
    def end(self) -> int:
        return self.position + HEADER_BYTES + self.payload_bytes


def encode_batch(payload: bytes, *, chain_before: int, position: int, synced: int) -> tuple[bytes, int]:
    """The bytes of a batch, and its chain value."""
    fields = FIELDS.pack(MAGIC, VERSION, len(payload), chain_before, position, synced, crc32(payload))
    chain = crc32(fields)
    return b"".join((fields, CHECK.pack(chain), payload)), chain


def read_header(segment: bytes, offset: int, *, position: int, name: str) -> Header | None:
    """The header at `offset` if one is there, and meant to be there. Raises `NewerLogFormat`."""
    if offset + HEADER_BYTES > len(segment) or not segment.startswith(MAGIC, offset):
        return None
    _, version, size, chain_before, own_position, synced, payload_crc = FIELDS.unpack_from(segment, offset)
    if own_position != position:  # of the log that this segment was part of before
        return None
    (chain,) = CHECK.unpack_from(segment, offset + FIELDS.size)
    if chain != crc32(segment[offset : offset + FIELDS.size]):
        return None
    if version != VERSION:
        raise NewerLogFormat(name, version=version)
    return Header(size, chain_before, position, synced, payload_crc, chain)


def payload_of(segment: bytes, offset: int, header: Header) -> bytes | None:
    """The payload behind the header at `offset`, or None if it is damaged."""
    start = offset + HEADER_BYTES
    payload = segment[start : start + header.payload_bytes]
    return payload if len(payload) == header.payload_bytes and crc32(payload) == header.payload_crc else None
