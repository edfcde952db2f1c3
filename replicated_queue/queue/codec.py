"""Commands, results, refusals and views to msgpack and back. The only place of the queue that knows bytes.

Every message is an array that begins with its kind. A newer program may append fields: an older one skips
them, and missing ones have the defaults of their class. Kinds are never reused.
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
from replicated_queue.queue.job import Job, JobView, TopicStats
from replicated_queue.queue.message_shape import OF_NUMBERS, OF_TEXTS, MessageShape, pairs_of, tuple_of
from replicated_queue.queue.priority_queue import PriorityQueue

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
    (list,),
    _FLAG,
)
_REFUSED: Final = 0
_TEXTS: Final = partial(tuple_of, wanted=OF_TEXTS)
_NUMBERS: Final = partial(tuple_of, wanted=OF_NUMBERS)
_LIST: Final = (list,)
_PUT: Final = MessageShape(Put, _PUT_FIELDS, lists=_TEXTS)


def _puts_of(rows: list[Any]) -> tuple[Any, ...]:
    if any(type(row) is not list for row in rows):
        raise MalformedMessage("PutMany: a put that is no array")
    return tuple(map(_PUT.build, rows))


_SHAPES: Final[dict[int, MessageShape]] = {
    1: _PUT,
    2: MessageShape(PutMany, (_LIST,), lists=_puts_of),
    3: MessageShape(Reserve, (_LIST, _TEXT, _SOME_NUMBER, _NUMBER, _FLAG, _LIST), lists=_TEXTS),
    4: MessageShape(Ack, (_NUMBER, _NUMBER, _BYTES, _FLAG)),
    5: MessageShape(AckMany, (_LIST, _FLAG), lists=pairs_of),
    6: MessageShape(Nack, (_NUMBER, _NUMBER, _SOME_NUMBER, _TEXT, _FLAG, _SOME_NUMBER)),
    7: MessageShape(Bury, (_NUMBER, _NUMBER, _TEXT, _FLAG, _SOME_NUMBER)),
    8: MessageShape(Kick, (_TEXT, _NUMBER, _FLAG)),
    9: MessageShape(KickJob, (_NUMBER, _FLAG)),
    10: MessageShape(Cancel, (_NUMBER, _SOME_NUMBER, _FLAG, _FLAG)),
    11: MessageShape(ExpireLease, (_NUMBER, _NUMBER)),
    12: MessageShape(ReserveJob, (_NUMBER, _TEXT, _SOME_NUMBER, _FLAG)),
    13: MessageShape(GiveBack, (_LIST, _FLAG), lists=pairs_of),
    14: MessageShape(Pause, (_TEXT, _NUMBER, _FLAG)),
    15: MessageShape(Purge, (_TEXT, _NUMBER, _FLAG)),
    16: MessageShape(SetTopic, (_TEXT, _SOME_NUMBER, _SOME_NUMBER, _SOME_NUMBER, (bool, type(None)), _FLAG)),
    65: MessageShape(Created, (_LIST,), lists=_NUMBERS),
    66: MessageShape(Reserved, (_NUMBER, _LIST), lists=_NUMBERS),
    67: MessageShape(Done, ()),
    68: MessageShape(Acked, (_LIST,), lists=_NUMBERS),
    69: MessageShape(Kicked, (_NUMBER,)),
    70: MessageShape(Purged, (_NUMBER,)),
}
_FIRST_RESULT: Final = 64
DONE: Final[bytes] = _PACK([67])  # what most operations answer
_KINDS: Final = {shape.kind: number for number, shape in _SHAPES.items()}
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


def encode_command(command: Command) -> bytes:
    """The bytes that enter the log, inside an envelope."""
    return _encode(command)


def decode_command(data: bytes) -> Command:
    """Raises `MalformedMessage`, or `UnknownVersion` for a kind of a newer program."""
    return cast(Command, _decode(unpack(data), results=False))


def encode_result(result: Result | Refusal) -> bytes:
    """What `apply` answers; a refusal is an answer too."""
    if type(result) is Done:
        return DONE
    if isinstance(result, QueueError):
        return pack([_REFUSED, *error_fields(result)])
    return _encode(result)


def decode_result(data: bytes) -> Result:
    """The result, or raises the refusal that stands in its place."""
    values = unpack(data)
    if values[0] == _REFUSED:
        raise error_from_fields(values[1:])
    return cast(Result, _decode(values, results=True))


def apply_encoded(queue: PriorityQueue, command: bytes, *, index: int, now: int) -> bytes:
    """Run one encoded command on `queue` and encode what came of it: the rim of a state machine.

    A kind this program does not know stops the node (`UnknownVersion`): to skip it would let replicas
    diverge.
    """
    try:
        return encode_result(queue.apply(decode_command(command), index=index, now=now))
    except Refusal as refusal:
        return encode_result(refusal)
    except MalformedMessage as malformed:
        return pack([_REFUSED, *error_fields(malformed)])


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


def job_fields(job: Job | JobView | TopicStats) -> list[Any]:
    """A view as plain values."""
    return [getattr(job, field.name) for field in fields(job)]


def _encode(message: Any) -> bytes:
    kind = type(message)
    if issubclass(kind, tuple):
        return pack((_KINDS[kind], *message))
    number = _KINDS[kind]
    return pack((number, *_SHAPES[number].values_of(message)))


def _decode(values: list[Any], *, results: bool) -> object:
    number = values.pop(0)
    shape = _SHAPES.get(number) if type(number) is int else None
    if shape is None:
        raise UnknownVersion(number)
    if (number > _FIRST_RESULT) != results:
        raise MalformedMessage(f"kind {number} in the wrong place")
    return shape.build(values)
