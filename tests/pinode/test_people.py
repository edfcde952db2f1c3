"""Users and logins, as the cluster agrees on them."""

import hashlib

import pytest

from pinode.people.commands import EndSession, Register, StartSession
from pinode.people.errors import (
    InvalidPerson,
    RegistrationClosed,
    SessionUnknown,
    UserExists,
    UserNotFound,
    WrongSetupCode,
)
from pinode.people.people import SESSIONS, SESSIONS_OF_A_USER
from tests.pinode.agreement import SETUP_CODE_HASH, Agreement


@pytest.fixture
def agreed() -> Agreement:
    return Agreement()


def administrator(name: str = "ada") -> Register:
    return Register(name=name, password_hash=b"hash", setup_code_hash=SETUP_CODE_HASH)


def token_hash(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def log_in(agreed: Agreement, number: int, user: str = "ada", lifetime_ms: int = 60_000) -> None:
    agreed.do(StartSession(token_hash=token_hash(number), user=user, lifetime_ms=lifetime_ms))


def is_logged_in(agreed: Agreement, number: int) -> bool:
    return agreed.people.session(token_hash(number), agreed.now) is not None


def test_the_first_user_needs_the_setup_code_and_becomes_administrator(agreed: Agreement) -> None:
    with pytest.raises(WrongSetupCode):
        agreed.do(Register(name="eve", password_hash=b"hash", setup_code_hash=b"guess"))
    with pytest.raises(WrongSetupCode):
        agreed.do(Register(name="eve", password_hash=b"hash"))
    assert not agreed.people.has_users

    agreed.do(administrator())

    ada = agreed.people.user("ada")
    assert ada is not None and ada.role == "admin"


def test_the_setup_code_works_once(agreed: Agreement) -> None:
    agreed.do(administrator())

    with pytest.raises(RegistrationClosed):
        agreed.do(administrator("eve"))


def test_only_an_administrator_creates_further_users(agreed: Agreement) -> None:
    agreed.do(administrator())
    agreed.do(Register(name="bob", password_hash=b"hash", created_by="ada"))

    with pytest.raises(RegistrationClosed):
        agreed.do(Register(name="eve", password_hash=b"hash", created_by="bob", role="admin"))
    with pytest.raises(RegistrationClosed):
        agreed.do(Register(name="eve", password_hash=b"hash", created_by="nobody"))
    assert [(user.name, user.role) for user in agreed.people.users()] == [("ada", "admin"), ("bob", "member")]


def test_a_taken_name_is_refused(agreed: Agreement) -> None:
    agreed.do(administrator())

    with pytest.raises(UserExists):
        agreed.do(Register(name="ada", password_hash=b"other", created_by="ada"))
    ada = agreed.people.user("ada")
    assert ada is not None and ada.password_hash == b"hash"


@pytest.mark.parametrize("name", ["", "Ada", "1a", "a" * 33, "a b", "a\n", "ädä", "a;b", "../a"])
def test_a_user_name_outside_its_pattern_is_refused(agreed: Agreement, name: str) -> None:
    with pytest.raises(InvalidPerson):
        agreed.do(administrator(name))


@pytest.mark.parametrize("email", ["", "ada", "a@", "@b", "a b@c", "a@b\n", "a@b@c", "a@" + "b" * 200])
def test_an_email_address_that_is_none_is_refused(agreed: Agreement, email: str) -> None:
    command = Register(name="ada", password_hash=b"h", setup_code_hash=SETUP_CODE_HASH, email=email)

    with pytest.raises(InvalidPerson):
        agreed.do(command)


def test_a_login_ends_by_cluster_time(agreed: Agreement) -> None:
    agreed.do(administrator())
    log_in(agreed, 1, lifetime_ms=5_000)

    agreed.now += 4_999
    assert is_logged_in(agreed, 1)
    agreed.now += 1
    assert not is_logged_in(agreed, 1)


def test_logging_out_ends_the_login_at_once(agreed: Agreement) -> None:
    agreed.do(administrator())
    log_in(agreed, 1)

    agreed.do(EndSession(token_hash=token_hash(1)))

    assert not is_logged_in(agreed, 1)
    with pytest.raises(SessionUnknown):
        agreed.do(EndSession(token_hash=token_hash(1)))


def test_nobody_can_log_the_others_out_by_logging_in_often(agreed: Agreement) -> None:
    agreed.do(administrator())
    agreed.do(Register(name="eve", password_hash=b"hash", created_by="ada"))
    log_in(agreed, 0)

    for number in range(1, SESSIONS + 10):
        log_in(agreed, number, user="eve")

    assert is_logged_in(agreed, 0)
    assert len(agreed.people.sessions_of("eve")) == SESSIONS_OF_A_USER
    assert not is_logged_in(agreed, 1)


def test_above_the_bound_the_oldest_login_ends(agreed: Agreement) -> None:
    agreed.do(administrator())
    names = [f"u{number}" for number in range(SESSIONS // SESSIONS_OF_A_USER + 1)]
    for name in names:
        agreed.do(Register(name=name, password_hash=b"hash", created_by="ada"))

    for number in range(SESSIONS + 1):
        log_in(agreed, number, user=names[number // SESSIONS_OF_A_USER])

    assert not is_logged_in(agreed, 0)
    assert is_logged_in(agreed, 1) and is_logged_in(agreed, SESSIONS)


def test_logins_that_ran_out_are_swept_by_the_next_one(agreed: Agreement) -> None:
    agreed.do(administrator())
    log_in(agreed, 1, lifetime_ms=10)
    agreed.now += 10

    log_in(agreed, 2)

    assert [session.token_hash for session in agreed.people.sessions_of("ada")] == [token_hash(2)]


def test_a_login_of_nobody_or_for_ever_is_refused(agreed: Agreement) -> None:
    agreed.do(administrator())

    with pytest.raises(UserNotFound):
        log_in(agreed, 1, user="eve")
    with pytest.raises(InvalidPerson):
        log_in(agreed, 1, lifetime_ms=10**15)
    with pytest.raises(InvalidPerson):
        agreed.do(StartSession(token_hash=b"short", user="ada", lifetime_ms=1))


def test_no_hash_shows_in_a_representation(agreed: Agreement) -> None:
    command = Register(name="ada", password_hash=b"hidden", setup_code_hash=SETUP_CODE_HASH)
    agreed.do(command)
    log_in(agreed, 1)

    shown = repr((command, agreed.people.users(), agreed.people.sessions_of("ada")))

    assert "hidden" not in shown and "setup" not in shown and repr(token_hash(1)) not in shown
