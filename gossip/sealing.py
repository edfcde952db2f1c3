"""Sealed datagrams: what strangers send, alter or repeat is not believed, and costs little.

Every process start seals under a key of its own, derived from the shared key in use, the cluster id, the node
id and 128 random bits, with a counter as nonce: nothing has to be read from a disk for a nonce never to come
twice. A receiver keeps a replay window for each sender. A start it does not know could be an old recording,
so it is believed only after it echoed a fresh random value; what it said first is kept until then. A start
that goes on under another shared key (`gossip.keys`) keeps its counter, so it needs no new echo.

    version 1, kind 1, node id 8, start 16, counter 8, encrypted body, tag 16: 50 bytes around a body
"""

import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from random import Random

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gossip.keys import KeyRing
from gossip.member import NodeId
from gossip.service import Opened

VERSION = 1
HEADER = struct.Struct(">BB8s16sQ")
START_BYTES = 16
VALUE_BYTES = 16
TAG_BYTES = 16
OVERHEAD_BYTES = HEADER.size + TAG_BYTES
MAX_DATAGRAM_BYTES = 1500
WINDOW = 1024  # datagrams of one sender that may overtake each other
MAX_SENDERS = 1024
MAX_CHALLENGES = 256

NOBODY = Opened(payload=None)


class Kind(IntEnum):
    """What a datagram is for."""

    DATA = 0
    CHALLENGE = 1  # are you running now? echo this
    ECHO = 2


@dataclass(slots=True)
class SealCounters:
    """Why datagrams were not believed; only ever rising."""

    strangers: int = 0  # no key of ours opens them: other keys, damage, newer versions, noise
    replayed: int = 0  # heard before, or too far behind
    doubted: int = 0  # of a start we do not know: asked whether it is running
    by_other_keys: int = 0  # believed, but sealed by a key that is not the one in use here


class ReplayWindow:
    """Which counters of one sender were seen; those older than the window count as seen."""

    def __init__(self) -> None:
        self.highest = -1
        self._seen = 0  # bit n: the counter n below the highest

    def accept(self, counter: int) -> bool:
        """Whether this counter is new; from now on it is not."""
        ahead = counter - self.highest
        if ahead > 0:
            self._seen = (self._seen << min(ahead, WINDOW) | 1) & ((1 << WINDOW) - 1)
            self.highest = counter
            return True
        behind = -ahead
        if behind >= WINDOW or self._seen >> behind & 1:
            return False
        self._seen |= 1 << behind
        return True


class _Sender:
    """A start of a node that proved to be running now."""

    def __init__(self, start: bytes, mark: str, cipher: ChaCha20Poly1305) -> None:
        self.start = start
        self.mark = mark
        self.cipher = cipher
        self.window = ReplayWindow()


class _Asked:
    """A start that was asked whether it is running, and what it said last until it answers."""

    def __init__(self, value: bytes) -> None:
        self.value = value
        self.counter = 0
        self.body = b""


@dataclass(frozen=True, slots=True)
class _Unsealed:
    """What a holder of one of our keys sent."""

    kind: int
    node: bytes
    start: bytes
    counter: int
    body: bytes
    mark: str
    cipher: ChaCha20Poly1305


class EchoSeal:
    """The seal of one process start of one node; see `gossip.service.Seal`.

    `keys` may change at any time. Who still seals by which key, `keys_of_members` says.
    """

    def __init__(self, node_id: NodeId, *, keys: KeyRing, cluster_id: bytes, random: Random) -> None:
        self.counters = SealCounters()
        self._keys = keys
        self._cluster_id = cluster_id
        self._node = bytes.fromhex(node_id)
        self._random = random  # must be the system's
        self._start = random.randbytes(START_BYTES)
        self._mark = keys.in_use
        self._cipher = self._cipher_of(self._mark, self._node, self._start)
        self._counter = 0
        self._senders: OrderedDict[bytes, _Sender] = OrderedDict()  # by node; the longest silent first
        self._challenges: OrderedDict[tuple[bytes, bytes], _Asked] = OrderedDict()

    def seal(self, payload: bytes, *, to: tuple[str, int]) -> bytes:
        """Encrypt and authenticate for any holder of the key in use; adds `OVERHEAD_BYTES`."""
        return self._sealed(Kind.DATA, payload)

    def open(self, datagram: bytes, *, source: tuple[str, int]) -> Opened:
        """Return what a member said, once; nothing for whatever else arrives."""
        found = self._unsealed(datagram)
        if found is None:
            self.counters.strangers += 1
            return NOBODY
        match found.kind:
            case Kind.DATA:
                return self._hear(found)
            case Kind.CHALLENGE:
                return self._echo(found.body)
            case Kind.ECHO:
                return self._believe(found)
            case _:
                return NOBODY

    def keys_of_members(self) -> Mapping[NodeId, str]:
        """By node the mark of the key it sealed by last: when nobody uses a key, it can be removed."""
        return {node.hex(): sender.mark for node, sender in self._senders.items()}

    def _unsealed(self, datagram: bytes) -> _Unsealed | None:
        """Open by the key its sender used last, else by any of ours."""
        if not OVERHEAD_BYTES <= len(datagram) <= MAX_DATAGRAM_BYTES or datagram[0] != VERSION:
            return None
        _, kind, node, start, counter = HEADER.unpack_from(datagram)
        if node == self._node:
            return None
        header, sealed, nonce = datagram[: HEADER.size], datagram[HEADER.size :], _nonce(counter)
        for mark, cipher in self._ciphers(node, start):
            try:
                body = cipher.decrypt(nonce, sealed, header)
            except InvalidTag:
                continue
            return _Unsealed(kind, node, start, counter, body, mark, cipher)
        return None

    def _ciphers(self, node: bytes, start: bytes) -> Iterator[tuple[str, ChaCha20Poly1305]]:
        known = self._senders.get(node)
        first = None
        if known is not None and known.start == start and known.mark in self._keys:
            first = known.mark
            yield first, known.cipher
        for mark in self._keys:
            if mark != first:
                yield mark, self._cipher_of(mark, node, start)

    def _hear(self, found: _Unsealed) -> Opened:
        known = self._senders.get(found.node)
        if known is None or known.start != found.start:
            return self._challenge(found)
        self._senders.move_to_end(found.node)
        if not known.window.accept(found.counter):
            self.counters.replayed += 1
            return NOBODY
        if found.counter == known.window.highest:
            known.mark, known.cipher = found.mark, found.cipher
        if found.mark != self._keys.in_use:
            self.counters.by_other_keys += 1
        return Opened(payload=found.body)

    def _challenge(self, found: _Unsealed) -> Opened:
        """Ask a start we do not know whether it is running now, and keep what it said until it answers."""
        self.counters.doubted += 1
        start = (found.node, found.start)
        asked = self._challenges.pop(start, None) or _Asked(self._random.randbytes(VALUE_BYTES))
        asked.counter, asked.body = found.counter, found.body
        self._challenges[start] = asked
        if len(self._challenges) > MAX_CHALLENGES:
            self._challenges.popitem(last=False)
        return Opened(payload=None, replies=(self._sealed(Kind.CHALLENGE, asked.value + found.start),))

    def _echo(self, body: bytes) -> Opened:
        """Answer who asks whether this start is running; an old recording of the question harms nobody."""
        if len(body) != VALUE_BYTES + START_BYTES or body[VALUE_BYTES:] != self._start:
            return NOBODY
        return Opened(payload=None, replies=(self._sealed(Kind.ECHO, body[:VALUE_BYTES]),))

    def _believe(self, found: _Unsealed) -> Opened:
        """Take in a start that echoed our fresh value; the start before it is over."""
        asked = self._challenges.get((found.node, found.start))
        if asked is None or asked.value != found.body:
            return NOBODY
        del self._challenges[found.node, found.start]
        self._senders[found.node] = sender = _Sender(found.start, found.mark, found.cipher)
        sender.window.accept(asked.counter)
        self._senders.move_to_end(found.node)
        if len(self._senders) > MAX_SENDERS:
            self._senders.popitem(last=False)
        return Opened(payload=asked.body)

    def _sealed(self, kind: int, body: bytes) -> bytes:
        if self._mark != self._keys.in_use:
            self._mark = self._keys.in_use
            self._cipher = self._cipher_of(self._mark, self._node, self._start)
        header = HEADER.pack(VERSION, kind, self._node, self._start, self._counter)
        sealed = self._cipher.encrypt(_nonce(self._counter), body, header)
        self._counter += 1
        return header + sealed

    def _cipher_of(self, mark: str, node: bytes, start: bytes) -> ChaCha20Poly1305:
        purpose = b"datagrams" + self._cluster_id + node + start
        return ChaCha20Poly1305(self._keys.derive(mark, purpose))


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "big")
