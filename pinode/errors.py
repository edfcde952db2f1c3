"""What can go wrong in pinode that a person can mend: each error says what happened, to what, and what to do.

An error carries a `code`, the name programs know it by. How a code becomes an exit status or an HTTP status
stands in one table each, where commands and requests are answered. A subclass exists where a caller acts
differently.
"""


class PinodeError(Exception):
    """Root of everything pinode raises on purpose; `message` and `hint` are shown to people as they are."""

    code = "failed"

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint  # what to do next, a sentence or a command; may be empty
        if code:
            self.code = code


class InvalidInput(PinodeError):
    """What was asked for cannot be: a value is outside what is allowed."""

    code = "invalid"


class SettingsError(PinodeError):
    """A setting is unknown, of the wrong type or impossible."""

    code = "invalid_settings"


class NotFound(PinodeError):
    """There is no such thing."""

    code = "not_found"


class NotLoggedIn(PinodeError):
    """Nobody is logged in, or the token is wrong or expired."""

    code = "not_logged_in"


class NotAllowed(PinodeError):
    """Who asks may not do this."""

    code = "not_allowed"


class Conflict(PinodeError):
    """It stands against what is there already, or somebody else holds it."""

    code = "conflict"


class TooLarge(PinodeError):
    """More than the bound allows."""

    code = "too_large"


class Unreachable(PinodeError):
    """No node could be reached."""

    code = "unreachable"


class NoLeader(PinodeError):
    """No majority of the nodes is in reach now; what changes something has to wait."""

    code = "no_leader"


class TimedOut(PinodeError):
    """No answer in time."""

    code = "timed_out"
