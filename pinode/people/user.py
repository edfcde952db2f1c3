"""Users, and what proves who somebody is."""

import re
from dataclasses import dataclass
from typing import Literal

USER_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
Role = Literal["admin", "member"]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person. The password is only ever known as its scrypt hash."""

    name: str
    password_hash: bytes
    role: Role
    created_at_ms: int
    email: str | None = None

    def __repr__(self) -> str:
        return f"User({self.name}, {self.role})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login, or a token: what somebody made for a program, which no login pushes out."""

    token_hash: bytes  # sha256 of the bearer token; the token itself is stored nowhere
    user: str
    created_at_ms: int
    expires_at_ms: int  # cluster time
    label: str | None = None
    is_token: bool = False

    @property
    def id(self) -> str:
        """Names it to its user; who knows it cannot log in with it."""
        return self.token_hash.hex()[:12]

    def __repr__(self) -> str:
        return f"Session({self.user})"
