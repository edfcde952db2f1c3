"""Each request once: what was answered to whom, so that a repeated request gets its first answer.

A client has a session (16 random bytes) with numbered *slots*. One slot carries one request at a time,
numbered by `sequence`; the next request in a slot says that the one before was answered or given up. So a
session keeps at most one result a slot, however long one of its requests waits, and a request that was given
up can never be done late. A *single shot* is one request under a key of its own (the hash of an idempotency
key).

Sessions are bounded; the one that was silent for longest is forgotten first. `since` decides what follows: a
request carries a log index from before it was first sent, and an unknown session is taken for a new one only
if nothing that was forgotten is younger than that. Everything else might have been done before:
`SessionExpired`. A single shot has no `since`: once its key is forgotten, after a day or 10,000 younger ones,
it is a new request.
"""

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Final, NamedTuple

from replicated_queue.errors import MalformedMessage, SessionExpired, UnknownVersion
from replicated_queue.parts import Row, numbers_of, set_numbers

MAX_SESSIONS: Final = 1_024
MAX_SLOTS: Final = 1_024
MAX_SINGLE_SHOTS: Final = 10_000
MAX_REMEMBERED_BYTES: Final = 4 * 1024 * 1024  # results of sessions, and as much again of single shots
SINGLE_SHOT_MS: Final = 24 * 3600 * 1000
SLOT_BYTES: Final = 128  # what a slot costs beside its result
CLIENT_ID_BYTES: Final = 16
_EXPIRED: Final = b"\x01"
_DONE: Final = b"\x00"

Run = Callable[[str, bytes], bytes]  # (domain, command) → encoded result


class Envelope(NamedTuple):
    """One command on its way into the log, with what is needed to do it once."""

    domain: str  # which state machine it is for: "queue", or one of the program around it
    command: bytes
    client_id: bytes | None = None  # None: may be done twice (an expiry, which checks its token)
    slot: int = 0
    sequence: int = 0
    since: int = 0  # log index the asker knew before it first asked
    single_shot: bool = False


class _Session:
    __slots__ = ("last_index", "remembered_bytes", "slots")

    def __init__(self) -> None:
        self.slots: dict[int, tuple[int, bytes]] = {}  # slot → (sequence, result)
        self.last_index = 0
        self.remembered_bytes = 0


class Sessions:
    """The part of a state machine that makes requests exactly-once. Deterministic: it counts in log order."""

    def __init__(self, *, max_sessions: int = MAX_SESSIONS, max_single_shots: int = MAX_SINGLE_SHOTS) -> None:
        self._max_sessions = max_sessions
        self._max_single_shots = max_single_shots
        self._sessions: dict[bytes, _Session] = {}  # the one silent for longest first
        self._session_bytes = 0
        self._forgotten_upto = 0  # log index of the youngest use of any session that was forgotten
        self._single_shots: dict[tuple[bytes, int], tuple[int, bytes]] = {}  # oldest first: (time, result)
        self._single_shot_bytes = 0

    def apply(self, envelope: Envelope, *, index: int, now: int, run: Run) -> bytes:
        """Run the command unless it was run before; return its first answer, to be read by `open_answer`."""
        if envelope.client_id is None:
            return _DONE + run(envelope.domain, envelope.command)
        if envelope.single_shot:
            return self._apply_single(envelope, envelope.client_id, now=now, run=run)
        session = self._session(envelope.client_id, since=envelope.since)
        if session is None:
            return _EXPIRED
        session.last_index = index
        known = session.slots.get(envelope.slot)
        if known is not None and envelope.sequence <= known[0]:
            # Below the remembered one: its asker has given it up, nobody waits for the answer.
            return known[1] if envelope.sequence == known[0] else _EXPIRED
        result = _DONE + run(envelope.domain, envelope.command)
        session.slots[envelope.slot] = (envelope.sequence, result)
        self._account(session, len(result) - len(known[1]) if known is not None else len(result) + SLOT_BYTES)
        return result

    def digest(self) -> bytes:
        """Hash of the whole state; equal on all replicas at one applied index."""
        digest = blake2b(digest_size=16)
        digest.update(ascii((self._forgotten_upto, self._session_bytes, self._single_shot_bytes)).encode())
        for client_id, session in self._sessions.items():
            row = (client_id, session.last_index, sorted(session.slots.items()))
            digest.update(ascii(row).encode())
        for key, shot in self._single_shots.items():
            digest.update(ascii((key, shot)).encode())
        return digest.digest()

    def early_rows(self) -> Iterator[Row]:
        """`Part` of a snapshot: what is remembered is small enough to be copied at once."""
        return iter(())

    def rows(self) -> Iterator[Row]:
        """See `Part`."""
        numbers = numbers_of(self)
        sessions = [
            (client_id, session.last_index, session.remembered_bytes, list(session.slots.items()))
            for client_id, session in self._sessions.items()
        ]
        shots = list(self._single_shots.items())

        def lazily() -> Iterator[Row]:
            yield ["numbers", numbers]
            for session in sessions:
                yield ["session", *session]
            for key, shot in shots:
                yield ["shot", *key, *shot]

        return lazily()

    def rebuild(self) -> "SessionsRebuild":
        """See `Part`."""
        return SessionsRebuild(self)

    def _session(self, client_id: bytes, *, since: int) -> _Session | None:
        session = self._sessions.pop(client_id, None)
        if session is None:
            if since < self._forgotten_upto:
                return None
            session = _Session()
        self._sessions[client_id] = session  # at the end: used last
        if len(self._sessions) > self._max_sessions:
            self._forget_oldest()
        return session

    def _account(self, session: _Session, more_bytes: int) -> None:
        session.remembered_bytes += more_bytes
        self._session_bytes += more_bytes
        while self._session_bytes > MAX_REMEMBERED_BYTES and len(self._sessions) > 1:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        oldest = self._sessions.pop(next(iter(self._sessions)))
        self._session_bytes -= oldest.remembered_bytes
        self._forgotten_upto = max(self._forgotten_upto, oldest.last_index)

    def _apply_single(self, envelope: Envelope, client_id: bytes, *, now: int, run: Run) -> bytes:
        key = (client_id, envelope.sequence)
        known = self._single_shots.get(key)
        if known is not None and now - known[0] < SINGLE_SHOT_MS:
            return known[1]
        result = _DONE + run(envelope.domain, envelope.command)
        self._forget_single_shots(now)
        self._single_shots[key] = (now, result)
        self._single_shot_bytes += len(result)
        return result

    def _forget_single_shots(self, now: int) -> None:
        while self._single_shots:
            key, (done_ms, result) = next(iter(self._single_shots.items()))
            if (
                now - done_ms < SINGLE_SHOT_MS
                and len(self._single_shots) < self._max_single_shots
                and self._single_shot_bytes <= MAX_REMEMBERED_BYTES
            ):
                break
            del self._single_shots[key]
            self._single_shot_bytes -= len(result)


class SessionsRebuild:
    """`Rebuild` of `Sessions`."""

    def __init__(self, sessions: Sessions) -> None:
        self._living = sessions
        self._new = Sessions()

    def take(self, row: Row) -> None:
        match row:
            case ["numbers", numbers]:
                set_numbers(self._new, numbers)
            case ["session", client_id, last_index, remembered_bytes, slots]:
                session = _Session()
                session.last_index, session.remembered_bytes = last_index, remembered_bytes
                session.slots = {slot: (sequence, result) for slot, (sequence, result) in slots}
                self._new._sessions[client_id] = session
            case ["shot", client_id, sequence, done_ms, result]:
                self._new._single_shots[client_id, sequence] = (done_ms, result)
            case _:
                raise UnknownVersion(row[:1])

    def link(self) -> Iterator[None]:
        return iter(())

    def become(self) -> None:
        for name, value in vars(self._new).items():
            if not name.startswith("_max"):
                setattr(self._living, name, value)


def open_answer(answer: bytes) -> bytes:
    """What `run` answered, from what `Sessions.apply` answered. Raises `SessionExpired`."""
    if answer[:1] == _EXPIRED:
        raise SessionExpired()
    if answer[:1] != _DONE:
        raise MalformedMessage("not an answer of a session")
    return answer[1:]
