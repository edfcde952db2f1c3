"""Where commands carry values that are sealed under the data key."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from pinode.apps.commands import CompleteBuild, CreateHook, RequestBuild, SetConfig, SetDeployKey

Command = TypeVar("Command")
Change = Callable[[bytes], bytes]


def carries_sealed(command: object) -> bool:
    """Whether there is any in it."""
    found: list[bytes] = []

    def note(sealed: bytes) -> bytes:
        found.append(sealed)
        return sealed

    with_sealed(command, note)
    return bool(found)


def with_sealed(command: Command, change: Change) -> Command:
    """The same command with each sealed value in it as `change` makes it."""
    match command:
        case SetConfig():
            return replace(command, set_values=_each(command.set_values, change))
        case CompleteBuild():
            return replace(command, first_config=_each(command.first_config, change))
        case RequestBuild(sealed_credentials=bytes() as sealed):
            return replace(command, sealed_credentials=change(sealed))
        case CreateHook():
            return replace(command, sealed_secret=change(command.sealed_secret))
        case SetDeployKey(sealed_key=bytes() as sealed):
            return replace(command, sealed_key=change(sealed))
        case _:
            return command


def _each(values: Mapping[str, bytes], change: Change) -> dict[str, bytes]:
    return {name: change(sealed) for name, sealed in values.items()}
