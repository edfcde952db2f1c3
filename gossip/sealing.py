"""Sealed datagrams: what strangers send, alter or repeat is not believed, and costs little.

Every process start seals under a key of its own, derived from a shared key, the cluster id, the node id and
128 random bits, with a counter as nonce: nothing has to be read from a disk for a nonce never to come
twice. A receiver keeps a replay window for each sender. A start it does not know could be an old recording,
so it is believed only after it echoed a fresh random value; what it said first is kept until then.

    version 1, kind 1, node id 8, start 16, counter 8, encrypted body, tag 16: 50 bytes around a body
"""

import hashlib
import hmac
import struct
from collections import OrderedDict
from collections.abc import Callable
from random import Random

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gossip.member import NodeId
from gossip.service import Opened

VERSION = 1
DATA, CHALLENGE, ECHO = 0, 1, 2
HEADER = struct.Struct(">BB8s16sQ")
START_BYTES = 16
VALUE_BYTES = 16
TAG_BYTES = 16
MIN_KEY_BYTES = 16  # of a shared key
OVERHEAD_BYTES = HEADER.size + TAG_BYTES
MAX_DATAGRAM_BYTES = 1500
WINDOW = 1024  # datagrams of one sender that may overtake each other
MAX_SENDERS = 1024
MAX_CHALLENGES = 256

NOBODY = Opened(payload=None)

Derive = Callable[[bytes], bytes]


def derive_from(shared_key: bytes) -> Derive:
    """Keys for all purposes from one that is handed to every member. Raises `ValueError` for a short one."""
    if len(shared_key) < MIN_KEY_BYTES:
        raise ValueError(f"a shared key has {MIN_KEY_BYTES} or more random bytes, not {len(shared_key)}")

    def derive(purpose: bytes) -> bytes:
        return hmac.digest(shared_key, b"gossip 1 " + purpose, hashlib.sha256)

    return derive


class ReplayWindow:
    """Which counters of one sender were seen; those older than the window count as seen."""

    def __init__(self) -> None:
        self._highest = -1
        self._seen = 0  # bit n: the counter n below the highest

    def accept(self, counter: int) -> bool:
        """Whether this counter is new; from now on it is not."""
        ahead = counter - self._highest
        if ahead > 0:
            self._seen = (self._seen << min(ahead, WINDOW) | 1) & ((1 << WINDOW) - 1)
            self._highest = counter
            return True
        behind = -ahead
        if behind >= WINDOW or self._seen >> behind & 1:
            return False
        self._seen |= 1 << behind
        return True


class _Sender:
    """A start of a node that proved to be running now."""

    def __init__(self, start: bytes, cipher: ChaCha20Poly1305) -> None:
        self.start = start
        self.cipher = cipher
        self.window = ReplayWindow()


class _Asked:
    """A start that was asked whether it is running, and what it said last until it answers."""

    def __init__(self, value: bytes) -> None:
        self.value = value
        self.counter = 0
        self.body = b""


class EchoSeal:
    """The seal of one process start of one node; see `gossip.service.Seal`.

    `derive` makes a key of 32 bytes for a purpose, the same on all members and secret from others.
    """

    def __init__(self, node_id: NodeId, *, derive: Derive, cluster_id: bytes, random: Random) -> None:
        self._derive = derive
        self._cluster_id = cluster_id
        self._node = bytes.fromhex(node_id)
        self._random = random  # must be the system's
        self._start = random.randbytes(START_BYTES)
        self._cipher = self._cipher_of(self._node, self._start)
        self._counter = 0
        self._senders: OrderedDict[bytes, _Sender] = OrderedDict()  # by node; the longest silent first
        self._challenges: OrderedDict[tuple[bytes, bytes], _Asked] = OrderedDict()

    def seal(self, payload: bytes, *, to: tuple[str, int]) -> bytes:
        """Encrypt and authenticate for any holder of the cluster key; adds `OVERHEAD_BYTES`."""
        return self._sealed(DATA, payload)

    def open(self, datagram: bytes, *, source: tuple[str, int]) -> Opened:
        """Return what a member said, once; nothing for whatever else arrives."""
        if not OVERHEAD_BYTES <= len(datagram) <= MAX_DATAGRAM_BYTES or datagram[0] != VERSION:
            return NOBODY
        _, kind, node, start, counter = HEADER.unpack_from(datagram)
        if node == self._node:
            return NOBODY
        known = self._senders.get(node)
        is_known = known is not None and known.start == start
        cipher = known.cipher if known is not None and is_known else self._cipher_of(node, start)
        try:
            body = cipher.decrypt(_nonce(counter), datagram[HEADER.size :], datagram[: HEADER.size])
        except InvalidTag:
            return NOBODY
        if kind == CHALLENGE:
            return self._echo(body)
        if kind == ECHO:
            return self._believe(node, start, cipher, body)
        if kind != DATA:
            return NOBODY
        if known is None or not is_known:
            return self._challenge(node, start, counter, body)
        self._senders.move_to_end(node)
        return Opened(payload=body) if known.window.accept(counter) else NOBODY

    def _challenge(self, node: bytes, start: bytes, counter: int, body: bytes) -> Opened:
        """Ask a start we do not know whether it is running now, and keep what it said until it answers."""
        asked = self._challenges.pop((node, start), None) or _Asked(self._random.randbytes(VALUE_BYTES))
        asked.counter, asked.body = counter, body
        self._challenges[node, start] = asked
        if len(self._challenges) > MAX_CHALLENGES:
            self._challenges.popitem(last=False)
        return Opened(payload=None, replies=(self._sealed(CHALLENGE, asked.value + start),))

    def _echo(self, body: bytes) -> Opened:
        """Answer who asks whether this start is running; an old recording of the question harms nobody."""
        if len(body) != VALUE_BYTES + START_BYTES or body[VALUE_BYTES:] != self._start:
            return NOBODY
        return Opened(payload=None, replies=(self._sealed(ECHO, body[:VALUE_BYTES]),))

    def _believe(self, node: bytes, start: bytes, cipher: ChaCha20Poly1305, value: bytes) -> Opened:
        """Take in a start that echoed our fresh value; the start before it is over."""
        asked = self._challenges.get((node, start))
        if asked is None or asked.value != value:
            return NOBODY
        del self._challenges[node, start]
        self._senders[node] = sender = _Sender(start, cipher)
        sender.window.accept(asked.counter)
        self._senders.move_to_end(node)
        if len(self._senders) > MAX_SENDERS:
            self._senders.popitem(last=False)
        return Opened(payload=asked.body)

    def _sealed(self, kind: int, body: bytes) -> bytes:
        header = HEADER.pack(VERSION, kind, self._node, self._start, self._counter)
        sealed = self._cipher.encrypt(_nonce(self._counter), body, header)
        self._counter += 1
        return header + sealed

    def _cipher_of(self, node: bytes, start: bytes) -> ChaCha20Poly1305:
        purpose = b"datagrams" + self._cluster_id + node + start
        return ChaCha20Poly1305(self._derive(purpose))


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "big")
