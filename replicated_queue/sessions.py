"""Each request once: what was answered to whom, so that a repeated request gets its first answer.

A client has a session (16 random bytes) with numbered *slots*. One slot carries one request at a time,
numbered by `sequence`; the next request in a slot says that the one before was answered or given up. So a
session keeps at most one answer a slot, however long one of its requests waits, and a request that was given
up can never be done late. A *single shot* is one request under a key of its own (the hash of an idempotency
key). Its fingerprint says what was asked: the same key for something else is refused, and nothing is done.

What a client asks in one turn of its loop travels as one *bundle*: its session is named once, and looked up
once on every replica.

Sessions are bounded; the one that was silent for longest is forgotten first. `since` decides what follows: a
request carries a log index from before it was first sent, and an unknown session is taken for a new one only
if nothing that was forgotten is younger than that. Everything else might have been done before:
`SessionExpired`. A single shot needs no `since`: once its key is forgotten, it is a new request. That is
after a day, or earlier where there are too many: then the oldest of the owner who has most goes, so that
whoever has less than a fair share loses none because of others.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgpack

from replicated_queue.errors import KeyReused, QueueError, SessionExpired, UnknownVersion
from replicated_queue.parts import Row, numbers_of, set_numbers

MAX_SESSIONS: Final = 1_024
MAX_SLOTS: Final = 1_024
MAX_SINGLE_SHOTS: Final = 10_000
MAX_REMEMBERED_BYTES: Final = 4 * 1024 * 1024  # answers of sessions, and as much again of single shots
SINGLE_SHOT_MS: Final = 24 * 3600 * 1000
SLOT_BYTES: Final = 128  # what a slot costs beside what is long in its answer
NUMBER_BYTES: Final = 9  # of a list of numbers in an answer, each
CLIENT_ID_BYTES: Final = 16
OWNER_BYTES: Final = 4  # of the client id of a single shot
EXPIRED: Final = None  # stands where an answer would
REUSED: Final = True  # and this too: its key was used for something else
NO_ANSWERS: Final = (EXPIRED, REUSED)

# What a domain answers, made of plain values, so that it can be remembered, compared and sent as it is: a
# tuple (the queue), bytes (others), or one of `NO_ANSWERS`.
Answer = Any
Run = Callable[[Any, int], Answer]  # (command, its place in the entry) → answer of its domain


class Bundle(NamedTuple):
    """Requests of one client on their way into the log, done in their order."""

    domain: str  # which state machine they are for: "queue", or one of the program around it
    requests: Sequence[Any]  # slot, sequence, command, slot, sequence, command, …
    client_id: bytes | None = None  # None: may be done twice (an expiry, which checks its token)
    since: int = 0  # log index the asker knew before it first asked any of them; a single shot's fingerprint
    single_shot: bool = False
    commands: Sequence[Any] = ()  # as their domain reads them; never sent, empty where nobody has read them

    @property
    def size(self) -> int:
        """How many requests it has."""
        return len(self.requests) // 3

    def each(self) -> Iterable[tuple[int, int, Any]]:
        """(slot, sequence, command) of each request."""
        requests = self.requests
        return zip(requests[::3], requests[1::3], self.commands or requests[2::3], strict=True)

    def only(self, places: Iterable[int]) -> "Bundle":
        """These of its requests."""
        places = list(places)
        requests = [part for place in places for part in self.requests[3 * place : 3 * place + 3]]
        commands = [self.commands[place] for place in places] if self.commands else ()
        return self._replace(requests=requests, commands=commands)


def single(
    domain: str,
    command: Any,
    client_id: bytes | None = None,
    *,
    slot: int = 0,
    sequence: int = 0,
    since: int = 0,
    single_shot: bool = False,
) -> Bundle:
    """A bundle of one request."""
    return Bundle(domain, (slot, sequence, command), client_id, since, single_shot)


class SingleShot(NamedTuple):
    """Who asks under the same key and sequence asks the same; the fingerprint says whether it is the same."""

    key: bytes  # any bytes
    sequence: int = 1
    fingerprint: int = 0  # 64 bits of what is asked, 0: of whatever is
    owner: bytes = b""  # with whom others share the room for single shots; b"": the program itself

    @property
    def client_id(self) -> bytes:
        """What a bundle carries of the key and its owner."""
        owner = blake2b(self.owner, digest_size=OWNER_BYTES).digest()
        return owner + blake2b(self.key, digest_size=CLIENT_ID_BYTES - OWNER_BYTES).digest()


class _Session:
    __slots__ = ("last_index", "remembered_bytes", "slots")

    def __init__(self) -> None:
        self.slots: dict[int, tuple[int, Answer, int]] = {}  # slot → (sequence, answer, what it counts)
        self.last_index = 0
        self.remembered_bytes = 0


class _Share:
    __slots__ = ("counts", "shots")

    def __init__(self) -> None:
        self.shots: dict[tuple[bytes, int], int] = {}  # of one owner, the oldest first: what each counts
        self.counts = 0


class Sessions:
    """The part of a state machine that makes requests exactly-once. Deterministic: it counts in log order."""

    def __init__(self, *, max_sessions: int = MAX_SESSIONS, max_single_shots: int = MAX_SINGLE_SHOTS) -> None:
        self._max_sessions = max_sessions
        self._max_single_shots = max_single_shots
        self._max_shot_bytes = (
            MAX_REMEMBERED_BYTES // max_single_shots
        )  # of the room for all, if none is long
        self._sessions: dict[bytes, _Session] = {}  # the one silent for longest first
        self._session_bytes = 0
        self._forgotten_upto = 0  # log index of the youngest use of any session that was forgotten
        # Oldest first: (time, answer, fingerprint).
        self._single_shots: dict[tuple[bytes, int], tuple[int, Answer, int]] = {}
        self._single_shot_bytes = 0
        self._shares: dict[bytes, _Share] = {}  # by owner

    def apply(self, bundle: Bundle, *, index: int, now: int, run: Run, first: int = 0) -> list[Answer]:
        """Run each command unless it was run before; return each one's first answer, or why none.

        `index` is that of the entry, `first` the bundle's first place in it.
        """
        client_id = bundle.client_id
        if client_id is None:
            return [run(command, place) for place, (_, _, command) in enumerate(bundle.each(), first)]
        if bundle.single_shot:
            return [
                self._apply_single(
                    (client_id, sequence), command, place, now=now, run=run, fingerprint=bundle.since
                )
                for place, (_, sequence, command) in enumerate(bundle.each(), first)
            ]
        session = self._session(client_id, since=bundle.since)
        if session is None:
            return [EXPIRED] * bundle.size
        session.last_index = index
        slots = session.slots
        answers: list[Answer] = []
        more_bytes = 0
        for place, (slot, sequence, command) in enumerate(bundle.each(), first):
            known = slots.get(slot)
            if known is not None:
                if sequence <= known[0]:
                    # Below the remembered one: its asker has given it up, nobody waits for the answer.
                    answers.append(known[1] if sequence == known[0] else EXPIRED)
                    continue
                more_bytes -= known[2]
            answer = run(command, place)
            counts = SLOT_BYTES + _long_bytes(answer)
            slots[slot] = (sequence, answer, counts)
            more_bytes += counts
            answers.append(answer)
        self._account(session, more_bytes)
        return answers

    def first_answer(self, shot: SingleShot, *, now: int, to_any: bool = False) -> Answer:
        """What was answered to it, if it is remembered: else `EXPIRED`, or `REUSED`.

        `to_any`: to whatever was asked under its key and sequence, so that it is never `REUSED`.
        """
        known = self._single_shots.get((shot.client_id, shot.sequence))
        if known is None or now - known[0] >= SINGLE_SHOT_MS:
            return EXPIRED
        return known[1] if to_any or known[2] == shot.fingerprint else REUSED

    def digest(self) -> bytes:
        """Hash of the whole state; equal on all replicas at one applied index."""
        digest = blake2b(digest_size=16)
        pack = msgpack.Packer().pack
        digest.update(pack((self._forgotten_upto, self._session_bytes, self._single_shot_bytes)))
        for client_id, session in self._sessions.items():
            digest.update(pack((client_id, session.last_index, sorted(session.slots.items()))))
        for shot in self._shots():
            digest.update(pack(shot))
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
        shots = list(self._shots())

        def lazily() -> Iterator[Row]:
            yield ["numbers", numbers]
            for session in sessions:
                yield ["session", *session]
            for key, shot in shots:
                yield ["shot", *key, *shot]

        return lazily()

    def _shots(self) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        for key, (done_ms, answer, fingerprint) in self._single_shots.items():
            yield key, (done_ms, answer, fingerprint) if fingerprint else (done_ms, answer)

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

    def _apply_single(
        self, key: tuple[bytes, int], command: Any, place: int, *, now: int, run: Run, fingerprint: int
    ) -> Answer:
        known = self._single_shots.get(key)
        if known is not None and now - known[0] < SINGLE_SHOT_MS:
            return known[1] if known[2] == fingerprint else REUSED
        answer = run(command, place)
        self._forget_single_shots(now, newcomer=key[0][:OWNER_BYTES])
        self._remember(key, (now, answer, fingerprint))
        self._single_shot_bytes += _long_bytes(answer)
        return answer

    def _remember(self, key: tuple[bytes, int], shot: tuple[int, Answer, int]) -> None:
        self._single_shots[key] = shot
        share = self._shares.setdefault(key[0][:OWNER_BYTES], _Share())
        share.shots[key] = counts = self._max_shot_bytes + _long_bytes(shot[1])
        share.counts += counts

    def _forget_single_shots(self, now: int, *, newcomer: bytes) -> None:
        shots, shares = self._single_shots, self._shares
        while shots:
            oldest = next(iter(shots))
            if now - shots[oldest][0] < SINGLE_SHOT_MS:
                if len(shots) < self._max_single_shots and self._single_shot_bytes <= MAX_REMEMBERED_BYTES:
                    break
                # Of those who have the same, the newcomer; else whoever is the same on all replicas.
                most = max(shares, key=lambda owner: (shares[owner].counts, owner == newcomer, owner))
                oldest = next(iter(shares[most].shots))
            self._forget_single_shot(oldest)

    def _forget_single_shot(self, key: tuple[bytes, int]) -> None:
        _, answer, _ = self._single_shots.pop(key)
        self._single_shot_bytes -= _long_bytes(answer)
        owner = key[0][:OWNER_BYTES]
        share = self._shares[owner]
        share.counts -= share.shots.pop(key)
        if not share.shots:
            del self._shares[owner]


class SessionsRebuild:
    """`Rebuild` of `Sessions`."""

    def __init__(self, sessions: Sessions) -> None:
        self._living = sessions
        bounds = {"max_sessions": sessions._max_sessions, "max_single_shots": sessions._max_single_shots}
        self._new = Sessions(**bounds)

    def take(self, row: Row) -> None:
        match row:
            case ["numbers", numbers]:
                set_numbers(self._new, numbers)
            case ["session", client_id, last_index, remembered_bytes, slots]:
                session = _Session()
                session.last_index, session.remembered_bytes = last_index, remembered_bytes
                session.slots = {
                    slot: (sequence, _tuples(answer), counts) for slot, (sequence, answer, counts) in slots
                }
                self._new._sessions[client_id] = session
            case ["shot", client_id, sequence, done_ms, answer, *more]:
                fingerprint = more[0] if more else 0
                self._new._remember((client_id, sequence), (done_ms, _tuples(answer), fingerprint))
            case _:
                raise UnknownVersion(row[:1])

    def link(self) -> Iterator[None]:
        return iter(())

    def become(self) -> None:
        for name, value in vars(self._new).items():
            if not name.startswith("_max"):
                setattr(self._living, name, value)


def open_answer(answers: Sequence[Answer]) -> Answer:
    """What the domain answered to the one request of a bundle. Raises `SessionExpired` or `KeyReused`."""
    (answer,) = answers
    if answer in NO_ANSWERS:
        raise why_unanswered(answer)
    return answer


def why_unanswered(answer: Answer, *, surely_not_done: bool = False) -> QueueError:
    """What stands for one of `NO_ANSWERS`."""
    return KeyReused() if answer is REUSED else SessionExpired(surely_not_done=surely_not_done)


def _long_bytes(answer: Answer) -> int:
    """What of an answer has no fixed size: bytes, or the list or text at the end of a tuple."""
    if type(answer) is bytes:
        return len(answer)
    last = answer[-1]
    return NUMBER_BYTES * len(last) if type(last) is tuple or type(last) is str else 0


def _tuples(value: Any) -> Any:
    """Arrays as they were before msgpack made lists of them."""
    return tuple(map(_tuples, value)) if type(value) is list else value
