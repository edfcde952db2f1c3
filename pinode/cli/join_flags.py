"""`pinode start --join`: a token, a file with one, or a host; and how a token leaves the process list."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pinode.cli.invocation import ExitCode, Failure
from pinode.peers.join_token import decode_join_token, is_join_token

if TYPE_CHECKING:
    from pinode.peers.joining import Joining

MAX_FILE_CHARACTERS = 4_096


@dataclass(frozen=True, slots=True)
class Asked:
    """What the flags say."""

    joining: "Joining"
    hosts: tuple[str, ...]


def what_to_join(flags: Sequence[str]) -> Asked:
    """Read the flags. Raises `Failure` for a file that holds no token, `InvalidInput` for a broken one."""
    from pinode.peers.joining import Joining

    tokens = [_token_in(flag[1:]) for flag in flags if flag.startswith("@")]
    tokens += [flag for flag in flags if is_join_token(flag)]
    if len(tokens) > 1:
        raise Failure("there are two join tokens", hint="give one: --join TOKEN", code=ExitCode.USAGE)
    hosts = tuple(flag for flag in flags if not flag.startswith("@") and not is_join_token(flag))
    token = decode_join_token(tokens[0]) if tokens else None
    return Asked(Joining(token, is_asked_for=bool(flags)), hosts)


def hide_tokens(flags: Sequence[str]) -> None:
    """Where a token stands on the command line, run the same again with a file in its place.

    The command line of a process is open to every user of the machine. The file has no name: it is memory
    that only this process and its next self hold.
    """
    token = next((flag for flag in flags if is_join_token(flag)), None)
    if token is None or not any(token in word for word in sys.orig_argv):
        return
    handle = os.memfd_create("join token", 0)  # survives the exec below
    os.write(handle, token.encode())
    os.lseek(handle, 0, os.SEEK_SET)
    hidden = [word.replace(token, f"@/dev/fd/{handle}") for word in sys.orig_argv]
    os.execv(sys.executable, [sys.executable, *hidden[1:]])


def _token_in(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_FILE_CHARACTERS).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise Failure(f"cannot read the join token in {path}: {reason}", code=ExitCode.USAGE) from error
    if not is_join_token(text):
        raise Failure(
            f"{path} holds no join token",
            hint="put into it the word that `pinode join-token` prints",
            code=ExitCode.USAGE,
        )
    return text
