"""Commands about nodes, results and refusals as bytes, in the form of `pinode.apps.codec`."""

from typing import Any, get_args

from pinode.apps.codec import REFUSALS as REFUSALS_OF_APPS
from pinode.apps.codec import pack_command, refusals_in, unpack_command, unpack_outcome
from pinode.nodes import errors
from pinode.nodes.commands import NodeCommand

KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(NodeCommand)}
REFUSALS = REFUSALS_OF_APPS | refusals_in(errors)


def encode_command(command: NodeCommand) -> bytes:
    """Bytes of one command, as they stand in the log."""
    return pack_command(command)


def decode_command(data: bytes) -> NodeCommand:
    """The command.

    Raises `MalformedCommand` for broken bytes, `UnknownVersion` for those of a newer program.
    """
    command: NodeCommand = unpack_command(data, KINDS)
    return command


def decode_outcome(data: bytes) -> Any:
    """The result, or raises the refusal as the class it was raised as."""
    return unpack_outcome(data, REFUSALS)
