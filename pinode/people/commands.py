"""Everything that can be asked about people."""

from dataclasses import dataclass

from pinode.people.user import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """Creates a user.

    The first one needs the setup code's hash and becomes administrator; after that registration is closed
    unless `created_by` is an administrator. Refused: `UserExists`, `WrongSetupCode`, `RegistrationClosed`.
    """

    name: str
    password_hash: bytes
    email: str | None = None
    setup_code_hash: bytes | None = None
    created_by: str | None = None
    role: Role = "member"

    def __repr__(self) -> str:
        return f"Register({self.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSession:
    """Remembers a login until cluster time reaches now + lifetime; oldest out above 1,024.

    With `is_token`, a token: it stays until it expires or is revoked. Refused: `TooManyTokens`.
    """

    token_hash: bytes
    user: str
    lifetime_ms: int
    label: str | None = None
    is_token: bool = False

    def __repr__(self) -> str:
        return f"StartSession({self.user})"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSession:
    """Logs out."""

    token_hash: bytes

    def __repr__(self) -> str:
        return "EndSession()"


PeopleCommand = Register | StartSession | EndSession
