"""Registering and logging in, as the API and the pages both do it."""

from dataclasses import replace

from pinode.errors import NotAllowed, NotLoggedIn
from pinode.people.commands import EndSession, Register, StartSession
from pinode.people.errors import RegistrationClosed, SessionUnknown
from pinode.people.setup_code import setup_code_hash
from pinode.web.caller import Caller, new_token, token_hash
from pinode.web.site import Site

SESSION_MS = 30 * 24 * 3600 * 1000


async def register_user(
    site: Site,
    *,
    address: str,
    by: Caller | None,
    username: str,
    password: str,
    email: str | None,
    setup_code: str | None,
) -> None:
    """Create a user: the first one with the setup code, later ones by an administrator.

    Raises what the cluster refuses, and `TooMany`. The password is hashed only when that may help: strangers
    cost little.
    """
    people = site.cluster.state.people
    if people.has_users:
        if by is None:
            raise RegistrationClosed
        if not by.is_admin:
            raise NotAllowed("only administrators create users.", hint="Ask one.")
    else:
        site.tries_by_address.take(address, now=site.clock())
    wanted = Register(
        name=username,
        password_hash=b"",
        email=email or None,
        setup_code_hash=setup_code_hash(setup_code or ""),
        created_by=by.name if by is not None else None,
    )
    people.check_registration(wanted)  # what is refused is neither hashed nor written to the log
    await site.cluster.execute(replace(wanted, password_hash=await site.passwords.hash(password)))


async def start_session(site: Site, *, address: str, username: str, password: str, label: str | None) -> str:
    """Return the token of a new login.

    Raises `NotLoggedIn`, with the same words and after the same time whether the user or the password is
    wrong, or `TooMany`.
    """
    now = site.clock()
    site.tries_by_address.take(address, now=now)
    site.tries_by_user.take(username[:64], now=now)
    user = site.cluster.state.people.user(username)
    if not await site.passwords.matches(password, user.password_hash if user is not None else None):
        raise NotLoggedIn(
            "the user name or the password is wrong.",
            hint="Try again, or ask an administrator.",
            code="wrong_login",
        )
    token = new_token()
    await site.cluster.execute(
        StartSession(token_hash=token_hash(token), user=username, lifetime_ms=SESSION_MS, label=label)
    )
    site.tries_by_user.forgive(username[:64])
    return token


async def end_session(site: Site, caller: Caller) -> None:
    """End the caller's login; one that has ended already is fine."""
    if not caller.secret:
        return
    try:
        await site.cluster.execute(EndSession(token_hash=token_hash(caller.secret)))
    except SessionUnknown:
        pass
