"""The peer port for nodes that want the cluster keys they lack, whichever they hold: `pinode-keys/1`.

The certificates at both ends may be signed by keys that the other end does not hold, so they prove nothing by
their signatures. Who asks knows the other end by the hash of its public key, which the handshake has proved.
It proves itself by signing, with its own node key, the other end's id and a fresh value of that end: so what
it says to one node is worth nothing at another. One question, one answer.
"""

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgpack
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pinode.peers.certificates import node_id_of
from pinode.peers.connection import FrameConnection
from pinode.peers.errors import MalformedFrame, PeerUnreachable
from pinode.peers.held_keys import HeldKeys, decode_held, encode_held
from pinode.peers.tls import KEYS_PROTOCOL, PEER_NAME, join_client_context
from pinode.rate_limit import RateLimit, TooMany
from pinode.settings import Address

logger = logging.getLogger(__name__)

VERSION = 1
PURPOSE = b"pinode cluster keys 1"
CHALLENGE_BYTES = 32
MAX_QUESTION_BYTES = 2_048
MAX_MARKS = 8
BURST = 20  # questions of one address at once
SECONDS_EACH = 2.0  # and one more so often
ANSWER_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class NoKeys:
    """Why a node is given none. Code "known": it lacks none."""

    code: str
    message: str
    hint: str = ""


KeysAnswer = HeldKeys | NoKeys
# Of the proven node id, the marks of the keys that it holds, and the generation of the one it uses.
KeysJudge = Callable[[str, tuple[str, ...], int], KeysAnswer]


class KeyDoor:
    """Answers who wants keys; `judge` decides who gets which."""

    def __init__(self, own_id: str, judge: KeysJudge, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._own_id = own_id
        self._judge = judge
        self._clock = clock
        self._limit = RateLimit(burst=BURST, seconds_each=SECONDS_EACH)

    def welcome(self, connection: FrameConnection, on_judged: Callable[[], None]) -> None:
        """Take in a connection of a stranger; `on_judged` is called when its question was answered."""
        challenge = os.urandom(CHALLENGE_BYTES)

        def take(frame: bytes) -> None:
            connection.receive_with(_too_much)
            peer, marks, generation = _proven(frame, self._own_id, challenge)
            on_judged()
            source = str((connection.transport.get_extra_info("peername") or ("?",))[0])
            connection.write_frame(_encode_answer(self._judged(peer, marks, generation, source)))
            connection.close()

        connection.limit_frames(MAX_QUESTION_BYTES)
        connection.receive_with(take)
        connection.write_frame(challenge)

    def _judged(self, peer: str, marks: tuple[str, ...], generation: int, source: str) -> KeysAnswer:
        try:
            self._limit.take(source, now=self._clock())
        except TooMany as many:
            return NoKeys(many.code, many.message, many.hint)
        answer = self._judge(peer, marks, generation)
        if isinstance(answer, HeldKeys):
            self._limit.forgive(source)
            logger.info("cluster keys given peer=%s source=%s", peer, source)
        return answer


async def ask_for_keys(
    address: Address,
    node_key: Ed25519PrivateKey,
    marks: tuple[str, ...],
    generation: int,
    *,
    expected: str | None,
    local_address: tuple[str, int] | None = None,
) -> KeysAnswer:
    """Ask the node `expected` for the keys beside `marks`; whoever answers, only to hear why one gets none.

    Raises `PeerUnreachable`, `MalformedFrame` or `TimeoutError`.
    """
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    connection = FrameConnection(frames.put_nowait)
    connection.on_closed(lambda was_reset: frames.put_nowait(b""))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await _dial(connection, address, local_address)
            there = _id_in(connection.peer_certificate() or b"")
            if expected not in (None, there):
                raise PeerUnreachable(f"node {there} answers at {address}, not {expected}", was_asked=False)
            challenge = await _next(frames, address)
            connection.write_frame(_question(node_key, there, challenge, marks, generation))
            answer = _decode_answer(await _next(frames, address))
    finally:
        connection.abort()
    if expected is None and isinstance(answer, HeldKeys):
        raise MalformedFrame("keys of somebody that nobody knows")
    return answer


async def who_answers(address: Address) -> str:
    """The id of the node at an address, as the handshake proves it, whichever cluster keys it holds.

    Raises `PeerUnreachable`, `MalformedFrame` or `TimeoutError`.
    """
    connection = FrameConnection(lambda frame: None)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await _dial(connection, address, None)
            return _id_in(connection.peer_certificate() or b"")
    finally:
        connection.abort()


async def _dial(connection: FrameConnection, address: Address, local_address: tuple[str, int] | None) -> None:
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: connection,
            address.host,
            address.port,
            ssl=join_client_context(KEYS_PROTOCOL),
            server_hostname=PEER_NAME,
            local_addr=local_address,
        )
    except (OSError, ssl.SSLError) as error:
        raise PeerUnreachable(f"{address} was not reached: {error}", was_asked=False) from error
    if connection.protocol_chosen() != KEYS_PROTOCOL:
        raise PeerUnreachable(f"the pinode at {address} gives out no keys: it is an older one")


async def _next(frames: "asyncio.Queue[bytes]", address: Address) -> bytes:
    frame = await frames.get()
    if not frame:
        raise PeerUnreachable(f"{address} closed the connection")
    return frame


def _id_in(certificate_der: bytes) -> str:
    """Of the key that the handshake has proved; whoever signed the certificate counts for nothing here."""
    try:
        public_key = x509.load_der_x509_certificate(certificate_der).public_key()
    except ValueError as error:
        raise MalformedFrame("a certificate that cannot be read") from error
    if not isinstance(public_key, Ed25519PublicKey):
        raise MalformedFrame("a certificate of no node")
    return node_id_of(public_key)


def _signed(to: str, challenge: bytes, marks: tuple[str, ...], generation: int) -> bytes:
    """What a node signs to prove itself to one other, once."""
    packed: bytes = msgpack.packb([PURPOSE, to, challenge, list(marks), generation])
    return packed


def _question(
    key: Ed25519PrivateKey, to: str, challenge: bytes, marks: tuple[str, ...], generation: int
) -> bytes:
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = key.sign(_signed(to, challenge, marks, generation))
    packed: bytes = msgpack.packb([VERSION, public, list(marks), generation, signature])
    return packed


def _proven(data: bytes, own_id: str, challenge: bytes) -> tuple[str, tuple[str, ...], int]:
    """Who asks, and which keys it holds. Raises `MalformedFrame`, too when the proof is none."""
    try:
        version, public, listed, generation, signature, *_ = msgpack.unpackb(data)
        if version != VERSION or [type(one) for one in (public, generation, signature)] != [
            bytes,
            int,
            bytes,
        ]:
            raise ValueError("of another version, or without a proof")
        marks = tuple(listed)
        if len(marks) > MAX_MARKS or not all(type(mark) is str and len(mark) <= 64 for mark in marks):
            raise ValueError("no marks")
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, _signed(own_id, challenge, marks, generation))
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError, InvalidSignature) as error:
        raise MalformedFrame("a question for keys that proves nothing") from error
    return node_id_of(key), marks, generation


def _encode_answer(answer: KeysAnswer) -> bytes:
    fields = (
        ["keys", encode_held(answer)]
        if isinstance(answer, HeldKeys)
        else ["none", answer.code, answer.message, answer.hint]
    )
    packed: bytes = msgpack.packb([VERSION, *fields])
    return packed


def _decode_answer(data: bytes) -> KeysAnswer:
    try:
        version, kind, *fields = msgpack.unpackb(data)
        if version == VERSION and kind == "keys":
            return decode_held(fields[0])
        if version == VERSION and kind == "none":
            code, message, hint = (str(one)[:MAX_QUESTION_BYTES] for one in fields[:3])
            return NoKeys(code, message, hint)
    except (ValueError, TypeError, IndexError, msgpack.UnpackException, RecursionError) as error:
        raise MalformedFrame("an answer about keys that cannot be read") from error
    raise MalformedFrame("an answer about keys of unknown kind")


def _too_much(frame: bytes) -> None:
    raise MalformedFrame("a second question for keys on one connection")
