"""Commands, results, refusals and views to plain values and back, as msgpack carries them.

Every message is an array that begins with its kind, and travels as a part of a larger message, packed with it
in one go. A newer program may append fields: an older one skips them, and missing ones have the defaults of
their class. Kinds are never reused.
"""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any, Final, cast

import msgpack

from replicated_queue import errors
from replicated_queue.errors import MalformedMessage, QueueError, Refusal, UnknownVersion
from replicated_queue.queue.commands import (
    Ack,
    Acked,
    AckMany,
    Bury,
    Cancel,
    Command,
    Created,
    Done,
    ExpireLease,
    GiveBack,
    Kick,
    Kicked,
    KickJob,
    Nack,
    Pause,
    Purge,
    Purged,
    Put,
    PutMany,
    Reserve,
    Reserved,
    ReserveJob,
    Result,
    SetTopic,
)
from replicated_queue.queue.job import JobView, TopicStats
from replicated_queue.queue.message_shape import OF_NUMBERS, OF_TEXTS, MessageShape, pairs_of, tuple_of
from replicated_queue.queue.priority_queue import PriorityQueue

Values = tuple[Any, ...]  # nothing but what msgpack knows, and nested tuples of it
_PACK: Final = msgpack.Packer().pack  # made once: a new packer costs more than a small message
_TEXT: Final = (str,)
_BYTES: Final = (bytes,)
_NUMBER: Final = (int,)
_FLAG: Final = (bool,)
_SOME_NUMBER: Final = (int, type(None))
_PUT_FIELDS: Final = (
    _TEXT,
    _BYTES,
    _NUMBER,
    _NUMBER,
    _NUMBER,
    _NUMBER,
    (str, type(None)),
    _FLAG,
    _NUMBER,
    (list, tuple),
    _FLAG,
)
_REFUSED: Final = 0
_TEXTS: Final = partial(tuple_of, wanted=OF_TEXTS)
_NUMBERS: Final = partial(tuple_of, wanted=OF_NUMBERS)
_LIST: Final = (list, tuple)  # as it comes from msgpack, or from this program itself
_PUT: Final = MessageShape(Put, _PUT_FIELDS, lists=_TEXTS)


def _puts_of(rows: list[Any]) -> tuple[Any, ...]:
    if not all(isinstance(row, list | tuple) for row in rows):
        raise MalformedMessage("PutMany: a put that is no array")
    return tuple(_PUT.build(list(row)) for row in rows)


_SHAPES: Final[dict[int, MessageShape]] = {
    1: _PUT,
    2: MessageShape(PutMany, (_LIST,), lists=_puts_of),
    3: MessageShape(Reserve, (_LIST, _TEXT, _SOME_NUMBER, _NUMBER, _FLAG, _LIST), lists=_TEXTS),
    4: MessageShape(Ack, (_NUMBER, _NUMBER, _BYTES, _FLAG)),
    5: MessageShape(AckMany, (_LIST, _FLAG), lists=pairs_of),
    6: MessageShape(Nack, (_NUMBER, _NUMBER, _SOME_NUMBER, _TEXT, _FLAG, _SOME_NUMBER)),
    7: MessageShape(Bury, (_NUMBER, _NUMBER, _TEXT, _FLAG, _SOME_NUMBER)),
    8: MessageShape(Kick, (_TEXT, _NUMBER, _FLAG, _FLAG)),
    9: MessageShape(KickJob, (_NUMBER, _FLAG)),
    10: MessageShape(Cancel, (_NUMBER, _SOME_NUMBER, _FLAG, _FLAG)),
    11: MessageShape(ExpireLease, (_NUMBER, _NUMBER)),
    12: MessageShape(ReserveJob, (_NUMBER, _TEXT, _SOME_NUMBER, _FLAG)),
    13: MessageShape(GiveBack, (_LIST, _FLAG, _FLAG), lists=pairs_of),
    14: MessageShape(Pause, (_TEXT, _NUMBER, _FLAG)),
    15: MessageShape(Purge, (_TEXT, _NUMBER, _FLAG)),
    16: MessageShape(SetTopic, (_TEXT, _SOME_NUMBER, _SOME_NUMBER, _SOME_NUMBER, (bool, type(None)), _FLAG)),
    65: MessageShape(Created, (_LIST,), lists=_NUMBERS),
    66: MessageShape(Reserved, (_NUMBER, _LIST), lists=_NUMBERS),
    67: MessageShape(Done, ()),
    68: MessageShape(Acked, (_LIST,), lists=_NUMBERS),
    69: MessageShape(Kicked, (_NUMBER, _FLAG)),
    70: MessageShape(Purged, (_NUMBER,)),
}
_FIRST_RESULT: Final = 64
JOBS: Final = 71  # the kind of what a reserve delivers (see `request_codec.py`)
_KINDS: Final = {shape.kind: (number, shape) for number, shape in _SHAPES.items()}
_COMMANDS: Final = {number: shape for number, shape in _SHAPES.items() if number <= _FIRST_RESULT}
_RESULTS: Final = {number: shape for number, shape in _SHAPES.items() if number > _FIRST_RESULT}
DONE: Final[Values] = (67,)  # what most operations answer
_DONE: Final = [67]  # the same as it arrives
# What travels of an error: its class by number, and the arguments it is made from. Never renumbered.
_ERRORS: Final[dict[int, tuple[type[QueueError], tuple[str, ...]]]] = {
    1: (errors.LeaseLost, ("job_id",)),
    2: (errors.QueueFull, ("what",)),
    3: (errors.JobNotFound, ("job_id",)),
    4: (errors.AlreadyDone, ("job_id", "state")),
    5: (errors.Duplicate, ("job_id",)),
    6: (errors.WrongState, ("job_id", "state", "wanted")),
    7: (errors.SessionExpired, ("surely_not_done",)),
    8: (errors.InvalidTopic, ("topic",)),
    9: (errors.ReservedTopic, ("topic",)),
    10: (errors.JobTooLarge, ("what", "size_bytes", "bound_bytes")),
    11: (errors.InvalidRequest, ("reason",)),
    12: (errors.TopicDraining, ("topic",)),
    13: (errors.KeyReused, ()),
    32: (errors.NotLeader, ("leader",)),
    33: (errors.NoQuorum, ("waited_seconds",)),
    34: (errors.Busy, ("retry_after_seconds",)),
    35: (errors.OutcomeUnknown, ("what",)),
    36: (errors.NotAuthorized, ()),
    37: (errors.MalformedMessage, ("reason",)),
    38: (errors.DiskFull, ("where",)),
}
_ERROR_CODES: Final = {shape[0]: code for code, shape in _ERRORS.items()}


def pack(value: object) -> bytes:
    """Msgpack of plain values (a number beyond 64 bits is refused as a malformed message)."""
    try:
        return cast(bytes, _PACK(value))
    except (ValueError, OverflowError, TypeError) as error:
        raise MalformedMessage(str(error)) from error


def unpack(data: bytes) -> list[Any]:
    """One array from untrusted bytes. Raises `MalformedMessage`."""
    try:
        value = msgpack.unpackb(data)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise MalformedMessage(f"no msgpack: {error}") from error
    if type(value) is not list or not value:
        raise MalformedMessage("not an array")
    return value


def unpack_all(data: bytes) -> list[list[Any]]:
    """Arrays that stand one behind the other. Raises `MalformedMessage`."""
    try:
        return [unpack(data)]  # nearly always there is one
    except MalformedMessage as error:
        if not isinstance(error.__cause__, msgpack.ExtraData):
            raise
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(data)
    found: list[list[Any]] = []
    try:
        while unpacker.tell() < len(data):
            found.append(unpacker.unpack())
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise MalformedMessage(f"no msgpack: {error}") from error
    if not all(type(value) is list and value for value in found):
        raise MalformedMessage("not arrays")
    return found


def command_values(command: Command) -> tuple[Any, ...]:
    """A command as plain values."""
    return _values(command)


def command_of(values: Any) -> Command:
    """The command that these values from outside say.

    Raises `MalformedMessage`, or `UnknownVersion` for a kind of a newer program.
    """
    command: Command = _build(values, _COMMANDS)
    return command


def result_values(result: Result | Refusal) -> Values:
    """What `apply` answered as plain values; a refusal is an answer too."""
    return refusal_values(result) if isinstance(result, QueueError) else _values(result)


def refusal_values(error: QueueError) -> Values:
    """An error in the place of a result."""
    return (_REFUSED, *error_fields(error))


def result_of(values: Any) -> Result:
    """The result, or raises the refusal that stands in its place."""
    if values == _DONE:
        return Done()
    if is_refusal(values):
        raise error_of(values)
    result: Result = _build(values, _RESULTS)
    return result


def is_refusal(values: Any) -> bool:
    """Whether an error stands there in the place of a result."""
    return type(values) in _LIST and len(values) > 0 and values[0] == _REFUSED


def error_of(values: Any) -> QueueError:
    """The error that `refusal_values` put there."""
    return error_from_fields(values[1:])


def apply_values(queue: PriorityQueue, command: Any, *, index: int, now: int) -> Values:
    """Run one command on `queue`, and say what came of it in plain values: the rim of a state machine.

    `command` is a `Command`, or its values. A kind this program does not know stops the node
    (`UnknownVersion`): to skip it would let replicas diverge.
    """
    try:
        read = command_of(command) if type(command) is list else command
        return _values(queue.apply(read, index=index, now=now))
    except (Refusal, MalformedMessage) as refusal:
        return refusal_values(refusal)


def error_fields(error: QueueError) -> list[Any]:
    """An error as plain values; one of an unlisted class travels as its text."""
    code = _ERROR_CODES.get(type(error))
    if code is None:
        return [_ERROR_CODES[errors.InvalidRequest], str(error)]
    values = [getattr(error, name) for name in _ERRORS[code][1]]
    return [code, *(value[:500] if isinstance(value, str) else value for value in values)]


def error_from_fields(values: Sequence[Any]) -> QueueError:
    """The error that `error_fields` took apart; one of a newer program as a plain `QueueError`."""
    if not values or type(values[0]) is not int or values[0] not in _ERRORS:
        return QueueError(f"the queue refused this for a reason newer than this program: {list(values)!r}")
    kind, names = _ERRORS[values[0]]
    try:
        return kind(**dict(zip(names, values[1:], strict=False)))
    except (TypeError, ValueError, AttributeError) as error:  # arguments of other types than its own
        return MalformedMessage(f"{kind.__name__}: {error}")


def job_fields(job: JobView | TopicStats) -> list[Any]:
    """A view as plain values."""
    return [getattr(job, field.name) for field in fields(job)]


def _values(message: Any) -> Values:
    number, shape = _KINDS[type(message)]
    return (number, *shape.values_of(message))


def _build(values: Any, shapes: dict[int, MessageShape]) -> Any:
    if type(values) not in _LIST or not values:
        raise MalformedMessage("not an array")
    number = values[0]
    shape = shapes.get(number) if type(number) is int else None
    if shape is None:
        if type(number) is int and number in _SHAPES:
            raise MalformedMessage(f"kind {number} in the wrong place")
        raise UnknownVersion(number)
    return shape.build(list(values[1:]))
