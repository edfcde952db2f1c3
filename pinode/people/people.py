"""People as agreed: users and their sessions, changed by commands in log order."""

import hashlib
import hmac
import re
from collections.abc import Iterator
from typing import assert_never, get_args, get_type_hints

from pinode.apps.carried import Reread, rows_of
from pinode.apps.records import pack, to_plain
from pinode.people.commands import EndSession, PeopleCommand, Register, StartSession
from pinode.people.errors import (
    InvalidPerson,
    RegistrationClosed,
    SessionUnknown,
    TooManyTokens,
    TooManyUsers,
    UserExists,
    UserNotFound,
    WrongSetupCode,
)
from pinode.people.user import USER_NAME, Session, User
from replicated_queue.parts import Row

USERS = 1_000
SESSIONS = 1_024
SESSIONS_OF_A_USER = 128  # so that nobody can log all others out
TOKENS_OF_A_USER = 50
LIFETIME_MS_MAX = 400 * 24 * 3600 * 1000
HASH_BYTES = 512
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,189}")
_LABEL = re.compile(r"[^\x00-\x1f\x7f]{1,100}")


class People:
    """Users and sessions. The first user needs the setup code and becomes administrator."""

    # Tables are declared here: a snapshot carries each that is, and refuses to forget one that is not.
    _users: dict[str, User]
    _sessions: dict[bytes, Session]  # by token hash; oldest first

    def __init__(self, *, setup_code_hash: bytes) -> None:
        self._setup_code_hash = setup_code_hash
        self._users = {}
        self._sessions = {}

    def apply(self, command: PeopleCommand, *, index: int, now: int) -> None:
        """Run one committed command.

        Raises a `PeopleError` when it is refused; the state is then as before.
        """
        match command:
            case Register():
                self._register(command, now=now)
            case StartSession():
                self._start_session(command, now=now)
            case EndSession():
                self._end_session(command)
            case _:
                assert_never(command)

    def users(self) -> tuple[User, ...]:
        """All users, by name."""
        return tuple(self._users[name] for name in sorted(self._users))

    def user(self, name: str) -> User | None:
        """The user of this name."""
        return self._users.get(name)

    @property
    def has_users(self) -> bool:
        """Whether somebody used the setup code already."""
        return bool(self._users)

    def session(self, token_hash: bytes, now: int) -> Session | None:
        """The login behind a token, unless it has ended by cluster time `now`."""
        session = self._sessions.get(token_hash)
        return session if session is not None and now < session.expires_at_ms else None

    def sessions_of(self, user: str) -> tuple[Session, ...]:
        """Logins of one user, oldest first; also those that have run out but were not swept yet."""
        return tuple(session for session in self._sessions.values() if session.user == user)

    def tokens_of(self, user: str, now: int) -> tuple[Session, ...]:
        """Tokens of one user that have not expired, oldest first."""
        return tuple(one for one in self.sessions_of(user) if one.is_token and now < one.expires_at_ms)

    def digest(self) -> bytes:
        """Hash of users and sessions."""
        hashed = hashlib.sha256(self._setup_code_hash)
        for user in self.users():
            hashed.update(pack(to_plain(user)))
        for session in self._sessions.values():
            hashed.update(pack(to_plain(session)))
        return hashed.digest()

    def early_rows(self) -> Iterator[Row]:
        """`Part` of a snapshot: records are never changed in place, so all of them come late."""
        return iter(())

    def rows(self) -> Iterator[Row]:
        """See `Part`."""
        tables = {name: value for name, value in vars(self).items() if isinstance(value, dict)}
        assert set(tables) == set(_KINDS), f"declare {set(tables) ^ set(_KINDS)} at the head of the class"
        return rows_of({name: list(table.items()) for name, table in tables.items()})

    def rebuild(self) -> Reread:
        """See `Part`."""
        return Reread(self, _KINDS)

    def check_registration(self, command: Register) -> None:
        """Raise what `apply` would refuse, but for the password's hash: before that is made and agreed."""
        self._check_may_register(command)
        if not USER_NAME.fullmatch(command.name):
            raise InvalidPerson(
                what=f"{command.name[:100]!r} is no name for a user:",
                rule="1 to 32 characters a-z, 0-9, '_' and '-', beginning with a letter, for example 'ada'",
            )
        if command.email is not None and not _EMAIL.fullmatch(command.email):
            raise InvalidPerson(what=f"{command.email[:100]!r}", rule="is no e-mail address")
        if command.name in self._users:
            raise UserExists(name=command.name)
        if len(self._users) >= USERS:
            raise TooManyUsers(bound=USERS)

    def _register(self, command: Register, *, now: int) -> None:
        self.check_registration(command)
        if not 0 < len(command.password_hash) <= HASH_BYTES:
            raise InvalidPerson(what="the password's hash", rule=f"must have 1 to {HASH_BYTES} bytes")
        self._users[command.name] = User(
            name=command.name,
            password_hash=command.password_hash,
            role=command.role if self._users else "admin",
            created_at_ms=now,
            email=command.email,
        )

    def _check_may_register(self, command: Register) -> None:
        if not self._users:
            given = command.setup_code_hash or b""
            if not hmac.compare_digest(given, self._setup_code_hash):
                raise WrongSetupCode
            return
        creator = self._users.get(command.created_by or "")
        if creator is None or creator.role != "admin":
            raise RegistrationClosed

    def _start_session(self, command: StartSession, *, now: int) -> None:
        if command.user not in self._users:
            raise UserNotFound(name=command.user)
        if len(command.token_hash) != hashlib.sha256().digest_size:
            raise InvalidPerson(what="the token's hash", rule="must be a sha256")
        if not 0 < command.lifetime_ms <= LIFETIME_MS_MAX:
            raise InvalidPerson(what="the lifetime of a login", rule="must be above 0 and at most 400 days")
        if command.label is not None and not _LABEL.fullmatch(command.label):
            raise InvalidPerson(
                what="the label", rule="must have 1 to 100 characters without control characters"
            )
        self._sweep(now)
        self._make_room(command)
        self._sessions[command.token_hash] = Session(
            token_hash=command.token_hash,
            user=command.user,
            created_at_ms=now,
            expires_at_ms=now + command.lifetime_ms,
            label=command.label,
            is_token=command.is_token,
        )

    def _make_room(self, command: StartSession) -> None:
        """For a token there must be room; for a login the oldest login goes."""
        mine = self.sessions_of(command.user)
        if command.is_token:
            if len([one for one in mine if one.is_token]) >= TOKENS_OF_A_USER:
                raise TooManyTokens(user=command.user, bound=TOKENS_OF_A_USER)
            return
        self._sessions.pop(command.token_hash, None)
        logins = [one for one in mine if not one.is_token]
        if len(logins) >= SESSIONS_OF_A_USER:
            del self._sessions[logins[0].token_hash]
        logins = [one for one in self._sessions.values() if not one.is_token]
        if len(logins) >= SESSIONS:
            del self._sessions[logins[0].token_hash]

    def _end_session(self, command: EndSession) -> None:
        if command.token_hash not in self._sessions:
            raise SessionUnknown
        del self._sessions[command.token_hash]

    def _sweep(self, now: int) -> None:
        """Forget what ran out; done where a new one begins, so that nothing periodic enters the log."""
        for session in list(self._sessions.values()):
            if session.expires_at_ms <= now:
                del self._sessions[session.token_hash]


_KINDS: dict[str, type] = {name: get_args(hint)[1] for name, hint in get_type_hints(People).items()}
