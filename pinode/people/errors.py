"""What is refused about people, each with what to do about it."""

from pinode.apps.errors import Refused
from pinode.errors import Conflict, InvalidInput, NotAllowed, NotFound, NotLoggedIn


class PeopleError(Refused):
    """Root of what is refused about people."""


class UserExists(PeopleError, Conflict):
    """The name is taken."""

    code = "user_exists"

    def __init__(self, *, name: str) -> None:
        super().__init__(f"there is a user named {name!r} already.", hint="Choose another name.", name=name)


class UserNotFound(PeopleError, NotFound):
    """No user of this name."""

    code = "user_not_found"

    def __init__(self, *, name: str) -> None:
        super().__init__(
            f"there is no user named {name[:100]!r}.", hint="Is the name spelt right?", name=name
        )


class TooManyUsers(PeopleError, Conflict):
    """The bound on users is reached."""

    code = "too_many_users"

    def __init__(self, *, bound: int) -> None:
        super().__init__(
            f"the cluster has {bound} users, as many as it may have.",
            hint="Ask the administrator.",
            bound=bound,
        )


class InvalidPerson(PeopleError, InvalidInput):
    """A user name, an e-mail address or another value breaks its rule."""

    code = "invalid_person"

    def __init__(self, *, what: str, rule: str) -> None:
        super().__init__(f"{what} {rule}.", what=what, rule=rule)


class WrongSetupCode(PeopleError, NotAllowed):
    """The first user must know the setup code."""

    code = "wrong_setup_code"

    def __init__(self) -> None:
        super().__init__(
            "the setup code is missing or wrong.",
            hint="`pinode setup-code` on any node shows it; the first user registers with it.",
        )


class RegistrationClosed(PeopleError, NotAllowed):
    """Only an administrator creates further users."""

    code = "registration_closed"

    def __init__(self) -> None:
        super().__init__("registration is closed.", hint="Ask an administrator to create a user for you.")


class TooManyTokens(PeopleError, Conflict):
    """The bound on tokens of one user is reached."""

    code = "too_many_tokens"

    def __init__(self, *, user: str, bound: int) -> None:
        super().__init__(
            f"{user!r} has {bound} tokens, as many as one user may have.",
            hint="Revoke one that is no longer used: `pinode tokens` lists them.",
            user=user,
            bound=bound,
        )


class SessionUnknown(PeopleError, NotLoggedIn):
    """No such login, or it ended."""

    code = "session_unknown"

    def __init__(self) -> None:
        super().__init__("you are not logged in, or your login has ended.", hint="Log in again.")
