"""Envelopes, and the frames between clients, brokers and the leader, to msgpack and back.

Every envelope and every frame but the client's requests begins with a version; a frame of a newer one is
refused, and fields appended by a newer program are skipped.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, cast

from replicated_queue.errors import MalformedMessage, QueueError, UnknownVersion
from replicated_queue.queue.codec import (
    error_fields,
    error_from_fields,
    job_fields,
    pack,
    unpack,
)
from replicated_queue.queue.job import Job, JobView, TopicStats
from replicated_queue.queue.message_shape import MessageShape
from replicated_queue.requests import (
    Ask,
    ExtendLease,
    ForgetWaiter,
    Hello,
    LeaderRequest,
    ReadFirst,
    ReadJob,
    ReadJobs,
    ReadStats,
    Request,
    ReserveJobs,
    Submit,
    Withdraw,
)
from replicated_queue.sessions import CLIENT_ID_BYTES, MAX_SLOTS, Envelope

VERSION: Final = 1
MAX_FRAME_BYTES: Final = 2 * 1024 * 1024
MAX_ENVELOPE_BYTES: Final = 256 * 1024
LENGTH: Final = struct.Struct(">I")  # before every frame of a client and to it
_OPTIONAL_NUMBER: Final = (int, type(None))
_OPTIONAL_TEXT: Final = (str, type(None))
_SHAPES: Final[dict[int, MessageShape]] = {
    1: MessageShape(Submit, ((bytes,),)),
    2: MessageShape(ReserveJobs, ((bytes,), (int,), (bool,))),
    3: MessageShape(ExtendLease, ((int,), (int,), _OPTIONAL_NUMBER, (bool,))),
    4: MessageShape(ForgetWaiter, ((bytes,), (int,), (int,))),
    5: MessageShape(ReadStats, (_OPTIONAL_TEXT, (bool,))),
    6: MessageShape(ReadJob, ((int,), (bool,))),
    7: MessageShape(ReadJobs, ((str,), _OPTIONAL_TEXT, (int,), (int,), (bool,))),
    8: MessageShape(Withdraw, ()),
    9: MessageShape(ReadFirst, ((str,), (str,), (bool,))),
}
_VIEW: Final = [field.name for field in fields(JobView)]
_LISTS: Final = (_VIEW.index("reasons"), _VIEW.index("needs"))
_JOB_SIZE: Final = len(fields(Job))
_STATS_SIZE: Final = len(fields(TopicStats))
_KINDS: Final = {shape.kind: number for number, shape in _SHAPES.items()}
_ENVELOPE: Final = MessageShape(
    Envelope, ((str,), (bytes,), (bytes, type(None)), (int,), (int,), (int,), (bool,))
)
_HELLO: Final = MessageShape(Hello, ((bytes,), (bytes,)))
Outcome = bytes | QueueError


def encode_envelope(envelope: Envelope) -> bytes:
    """The bytes of a log entry."""
    data = pack((VERSION, *envelope))
    if len(data) > MAX_ENVELOPE_BYTES:
        raise MalformedMessage(f"an entry of {len(data)} bytes, more than {MAX_ENVELOPE_BYTES}")
    return data


def decode_envelope(data: bytes) -> Envelope:
    """Raises `MalformedMessage`, or `UnknownVersion` for an entry that a newer program wrote."""
    envelope = cast(Envelope, _ENVELOPE.build(_versioned(data)))
    client_id = envelope.client_id
    if client_id is not None and len(client_id) != CLIENT_ID_BYTES:
        raise MalformedMessage(f"a client id of {len(client_id)} bytes")
    if not 0 <= envelope.slot < MAX_SLOTS:
        raise MalformedMessage(f"slot {envelope.slot}")
    return envelope


def encode_requests(requests: Iterable[LeaderRequest]) -> bytes:
    """A frame from one broker to another."""
    return pack([VERSION, *map(_request_fields, requests)])


def decode_requests(frame: bytes) -> list[LeaderRequest]:
    """What another broker asks of this one."""
    requests = [_request(values) for values in _versioned(frame)]
    if not all(isinstance(request, LeaderRequest) for request in requests):
        raise MalformedMessage("a question that is not for the leader")
    return cast(list[LeaderRequest], requests)


def encode_outcomes(applied_index: int, outcomes: Iterable[Outcome]) -> bytes:
    """The answer to such a frame: how far the leader is, then one outcome for each request, in its order."""
    return pack([VERSION, applied_index, *map(_outcome_fields, outcomes)])


def decode_outcomes(frame: bytes, *, count: int) -> tuple[int, list[Outcome]]:
    """The leader's applied index and as many outcomes as requests were sent, or `MalformedMessage`."""
    values = _versioned(frame)
    if len(values) != count + 1 or type(values[0]) is not int:
        raise MalformedMessage(f"{len(values) - 1} outcomes for {count} requests")
    return values[0], [_outcome(row) for row in values[1:]]


def encode_hello(hello: Hello) -> bytes:
    return pack([VERSION, hello.token, hello.client_id])


def decode_hello(frame: bytes) -> Hello:
    """The first frame of a client."""
    hello = cast(Hello, _HELLO.build(_versioned(frame)))
    if len(hello.client_id) != CLIENT_ID_BYTES:
        raise MalformedMessage(f"a client id of {len(hello.client_id)} bytes")
    return hello


def encode_welcome(applied_index: int | QueueError) -> bytes:
    """The answer to a hello: how far this node is, or why the client may not come in."""
    if isinstance(applied_index, QueueError):
        return pack([VERSION, *_outcome_fields(applied_index)])
    return pack([VERSION, 0, applied_index])


def decode_welcome(frame: bytes) -> int:
    """The node's applied index. Raises what it refused the client with."""
    values = _versioned(frame)
    if len(values) < 2 or values[0] != 0 or type(values[1]) is not int:
        raise error_from_fields(values)
    return values[1]


def encode_ask(number: int, timeout_ms: int, request: Request) -> bytes:
    return pack([number, timeout_ms, _request_fields(request)])


def decode_ask(frame: bytes) -> Ask:
    """One request of a client."""
    values = unpack(frame)
    if len(values) < 3 or type(values[0]) is not int or type(values[1]) is not int:
        raise MalformedMessage("no request")
    return Ask(values[0], values[1], _request(values[2]))


def encode_response(number: int, applied_index: int, outcome: Outcome) -> bytes:
    return pack([number, applied_index, *_outcome_fields(outcome)])


def decode_response(frame: bytes) -> tuple[int, int, Outcome]:
    """(number of the request, applied index of the node, outcome)."""
    values = unpack(frame)
    if len(values) < 3 or type(values[0]) is not int or type(values[1]) is not int:
        raise MalformedMessage("no response")
    return values[0], values[1], _outcome(values[2:])


def encode_jobs(jobs: Iterable[Job], *, is_logged: bool = True) -> bytes:
    """What a reserve delivers; one that did not enter the log may be asked again under its number."""
    return pack([0 if is_logged else 1, *map(job_fields, jobs)])


def decode_jobs(data: bytes) -> list[Job]:
    return [Job(*row[:_JOB_SIZE]) for row in unpack(data)[1:]]


def encode_views(views: Sequence[JobView]) -> bytes:
    return pack([0, *map(job_fields, views)])


def decode_views(data: bytes) -> list[JobView]:
    rows = unpack(data)[1:]
    for row in rows:
        for place in _LISTS:
            row[place : place + 1] = [tuple(found) for found in row[place : place + 1]]
    return [JobView(*row[: len(_VIEW)]) for row in rows]


def encode_stats(stats: Mapping[str, TopicStats]) -> bytes:
    return pack([0, *([topic, *job_fields(row)] for topic, row in stats.items())])


def decode_stats(data: bytes) -> dict[str, TopicStats]:
    return {row[0]: TopicStats(*row[1 : _STATS_SIZE + 1]) for row in unpack(data)[1:]}


def _versioned(data: bytes) -> list[Any]:
    values = unpack(data)
    version = values.pop(0)
    if version != VERSION:
        raise UnknownVersion(version)
    return values


def _request_fields(request: Request) -> tuple[Any, ...]:
    number = _KINDS[type(request)]
    if isinstance(request, tuple):
        return (number, *request)
    return (number, *_SHAPES[number].values_of(request))


def _request(values: Any) -> Request:
    if type(values) is not list or not values:
        raise MalformedMessage("no request")
    number = values.pop(0)
    shape = _SHAPES.get(number) if type(number) is int else None
    if shape is None:
        raise MalformedMessage("a request of no known kind")
    return cast(Request, shape.build(values))


def _outcome_fields(outcome: Outcome) -> list[Any]:
    return error_fields(outcome) if isinstance(outcome, QueueError) else [0, outcome]


def _outcome(values: Any) -> Outcome:
    if type(values) is not list or not values:
        raise MalformedMessage("no outcome")
    if values[0] != 0:
        return error_from_fields(values)
    if len(values) < 2 or type(values[1]) is not bytes:
        raise MalformedMessage("an outcome without bytes")
    return values[1]
