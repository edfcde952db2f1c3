"""Registry commands, results and refusals as bytes.

A command is `[version, kind, fields]`: an unknown field is skipped, an unknown kind or version stops the
node, since it must not guess what the others did. A result is `[version, value]`, a refusal `[version,
code, message, hint, details]`. The tables at the end are shared with `pinode.people.codec`.
"""

from collections.abc import Callable, Iterable
from typing import Any, get_args

from pinode.apps import cron_errors, errors
from pinode.apps.commands import RegistryCommand
from pinode.apps.errors import MalformedCommand, Refused
from pinode.apps.records import from_plain, pack, to_plain, unpack
from replicated_queue.errors import UnknownVersion

VERSION = 1
_OUTCOMES = (2, 5)  # lengths: result, refusal


def encode_command(command: RegistryCommand) -> bytes:
    """Bytes of one command, as they stand in the log."""
    return pack_command(command)


def decode_command(data: bytes) -> RegistryCommand:
    """The command.

    Raises `MalformedCommand` for broken bytes, `UnknownVersion` for those of a newer program.
    """
    command: RegistryCommand = unpack_command(data, KINDS)
    return command


def encode_result(value: object) -> bytes:
    """Bytes of what `Registry.apply` returned: a number, a text or nothing."""
    return pack([VERSION, value])


def encode_refusal(refusal: Refused) -> bytes:
    """Bytes of what `Registry.apply` raised."""
    return pack([VERSION, refusal.code, refusal.message, refusal.hint, refusal.details])


def decode_outcome(data: bytes) -> Any:
    """The result, or raises the refusal as the class it was raised as."""
    return unpack_outcome(data, REFUSALS)


def pack_command(command: object) -> bytes:
    """Bytes of a command of any kind."""
    return pack([VERSION, type(command).__name__, to_plain(command)])


def unpack_command(data: bytes, kinds: dict[str, type]) -> Any:
    """A command of one of `kinds`; raises as `decode_command`."""
    plain = unpack(data)
    if not isinstance(plain, list) or len(plain) < 3 or not isinstance(plain[1], str):
        raise MalformedCommand(reason="no version, kind and fields")
    version, kind, fields = plain[:3]
    if version != VERSION or kind not in kinds:
        raise UnknownVersion(f"{version}:{kind}")
    return from_plain(kinds[kind], fields)


def unpack_outcome(data: bytes, refusals: dict[str, Callable[..., Refused]]) -> Any:
    """The result, or raises one of `refusals`; one that is not known here keeps its code and message."""
    plain = unpack(data)
    if not isinstance(plain, list) or len(plain) not in _OUTCOMES:
        raise MalformedCommand(reason="neither result nor refusal")
    if len(plain) == 2:
        return plain[1]
    _, code, message, hint, details = plain
    if code in refusals:
        try:
            refusal = refusals[code](**details)
        except TypeError:
            refusal = Refused(message, hint=hint, code=code)  # a newer node says more, or less, about it
        raise refusal
    raise Refused(message, hint=hint, code=code)


def refusals_in(module: object) -> dict[str, Callable[..., Refused]]:
    """The refusals defined in an errors module, by their code."""
    found: Iterable[object] = vars(module).values()
    classes = [item for item in found if isinstance(item, type) and issubclass(item, Refused)]
    return {item.code: item for item in classes if "__init__" in vars(item) and item is not Refused}


KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(RegistryCommand)}
REFUSALS = {**refusals_in(errors), **refusals_in(cron_errors)}
