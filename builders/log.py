"""The build's log as people read it: steps, what commands say, and no secret."""

import re
from collections.abc import Callable, Iterable
from urllib.parse import quote, unquote

from builders.git_url import without_credentials

MASK = "***"
SHORTEST_SECRET = 4  # a shorter text would blank out half of the log


class BuildLog:
    """Writes lines, each with the secrets in it replaced."""

    def __init__(self, write: Callable[[str], None], *, secrets: Iterable[str] = ()) -> None:
        self._write = write
        spelled = {text for secret in secrets for text in (secret, quote(secret, safe=""), unquote(secret))}
        words = sorted((text for text in spelled if len(text) >= SHORTEST_SECRET), key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, words))) if words else None

    def step(self, text: str) -> None:
        """A new step of the build."""
        self._write(f"-----> {self.masked(text)}")

    def line(self, text: str) -> None:
        """What a command said, or a detail of the step."""
        self._write(f"       {self.masked(text)}".rstrip())

    def problem(self, text: str) -> None:
        """What went wrong, or should not stay so."""
        self._write(f" !     {self.masked(text)}".rstrip())

    def masked(self, text: str) -> str:
        """The text without secrets and without credentials in URLs."""
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        return without_credentials(text) if "://" in text else text
