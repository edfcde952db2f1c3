"""Bundles, and the frames between clients, brokers and the leader, to msgpack and back.

Every bundle and every frame but the client's requests begins with a version; a frame of a newer one is
refused, and fields appended by a newer program are skipped.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, cast

from replicated_queue.errors import MalformedMessage, QueueError, UnknownVersion
from replicated_queue.queue.codec import (
    JOBS,
    Values,
    error_fields,
    error_from_fields,
    error_of,
    is_refusal,
    job_fields,
    pack,
    refusal_values,
    unpack,
    unpack_all,
)
from replicated_queue.queue.job import Job, JobView, TopicStats
from replicated_queue.queue.message_shape import MessageShape
from replicated_queue.requests import (
    Ask,
    ConfirmLeader,
    ExtendLease,
    ForgetWaiter,
    Hello,
    LeaderRequest,
    ReadFirst,
    ReadJob,
    ReadJobs,
    ReadStats,
    Request,
    Submit,
    Withdraw,
)
from replicated_queue.sessions import CLIENT_ID_BYTES, MAX_SLOTS, Answer, Bundle

VERSION: Final = 1
MAX_FRAME_BYTES: Final = 2 * 1024 * 1024
MAX_BUNDLE_BYTES: Final = 256 * 1024
LENGTH: Final = struct.Struct(">I")  # before every frame of a client and to it
_OPTIONAL_NUMBER: Final = (int, type(None))
_OPTIONAL_TEXT: Final = (str, type(None))
_SHAPES: Final[dict[int, MessageShape]] = {
    3: MessageShape(ExtendLease, ((int,), (int,), _OPTIONAL_NUMBER, (bool,))),
    4: MessageShape(ForgetWaiter, ((bytes,), (int,), (int,))),
    5: MessageShape(ReadStats, (_OPTIONAL_TEXT, (bool,))),
    6: MessageShape(ReadJob, ((int,), (bool,))),
    7: MessageShape(ReadJobs, ((str,), _OPTIONAL_TEXT, (int,), (int,), (bool,))),
    8: MessageShape(Withdraw, ()),
    9: MessageShape(ReadFirst, ((str,), (str,), (bool,))),
    10: MessageShape(ConfirmLeader, ()),
}
_VIEW: Final = [field.name for field in fields(JobView)]
_LISTS: Final = (_VIEW.index("reasons"), _VIEW.index("needs"))
_JOB_SIZE: Final = len(Job._fields)
_STATS_SIZE: Final = len(fields(TopicStats))
_KINDS: Final = {shape.kind: number for number, shape in _SHAPES.items()}
_SUBMIT: Final = 1
_BUNDLE: Final = ((str,), (bytes, type(None)), (int,), (bool,), (list,))
STILL_WAITS: Final = False  # in the place of an outcome: it comes later, under its own number
_HELLO: Final = MessageShape(Hello, ((bytes,), (bytes,)))
Outcome = Answer | QueueError  # of one request: what was answered, or why nothing was
Outcomes = Sequence[Outcome] | QueueError  # of all requests of a bundle, or why there are none


def encode_bundle(bundle: Bundle) -> bytes:
    """Its bytes: those that enter the log. Raises `MalformedMessage` for what no entry has room for."""
    domain, requests, client_id, since, single_shot, _ = bundle
    data = pack((VERSION, domain, client_id, since, single_shot, requests))
    if len(data) > MAX_BUNDLE_BYTES:
        raise MalformedMessage(f"an entry of {len(data)} bytes, more than {MAX_BUNDLE_BYTES}")
    return data


def decode_bundle(data: bytes) -> Bundle:
    """One bundle. Raises `MalformedMessage`, or `UnknownVersion` for one that a newer program wrote."""
    return _bundle(unpack(data))


def decode_entry(data: bytes) -> list[Bundle]:
    """The bundles of an entry of the log, one behind the other. Raises as `decode_bundle` does."""
    return [_bundle(values) for values in unpack_all(data)]


def submit(bundle: Bundle, *, waits: Sequence[int] = (), repeated: bool = False) -> Submit:
    """Bundle and bytes. Raises `MalformedMessage` for what no entry has room for."""
    return Submit(encode_bundle(bundle), bundle, waits, repeated)


def encode_requests(requests: Iterable[LeaderRequest]) -> bytes:
    """A frame from one broker to another."""
    return pack([VERSION, *map(_request_fields, requests)])


def decode_requests(frame: bytes) -> list[LeaderRequest]:
    """What another broker asks of this one."""
    requests = [_request(values) for values in _versioned(frame)]
    if not all(isinstance(request, LeaderRequest) for request in requests):
        raise MalformedMessage("a question that is not for the leader")
    return cast(list[LeaderRequest], requests)


def encode_answers(applied_index: int, answers: Iterable[Outcomes]) -> bytes:
    """The answer to such a frame: how far the leader is, then what came of each request, in its order."""
    return pack([VERSION, applied_index, *map(_outcomes_fields, answers)])


def decode_answers(frame: bytes, *, sizes: Sequence[int]) -> tuple[int, list[Outcomes]]:
    """The leader's applied index and for each request as many outcomes as `sizes` says, or one error.

    Raises `MalformedMessage`.
    """
    values = _versioned(frame)
    if len(values) != len(sizes) + 1 or type(values[0]) is not int:
        raise MalformedMessage(f"{len(values) - 1} answers to {len(sizes)} requests")
    return values[0], [_outcomes(row, size) for row, size in zip(values[1:], sizes, strict=True)]


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
        return pack([VERSION, *error_fields(applied_index)])
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


def encode_response(number: int, applied_index: int, outcomes: Iterable[Outcome]) -> bytes:
    """Outcomes of the client's requests from `number` on; an error stands as a refusal does."""
    plain = [refusal_values(found) if isinstance(found, QueueError) else found for found in outcomes]
    return pack([number, applied_index, *plain])


def decode_response(frame: bytes) -> tuple[int, int, list[Outcome]]:
    """(number of the first request, applied index of the node, outcomes)."""
    values = unpack(frame)
    if len(values) < 3 or type(values[0]) is not int or type(values[1]) is not int:
        raise MalformedMessage("no response")
    return values[0], values[1], values[2:]


def jobs_values(jobs: Iterable[Job], *, is_logged: bool = True) -> Values:
    """What a reserve delivers; one that did not enter the log may be asked again under its number."""
    return (JOBS, is_logged, *jobs)


def jobs_of(values: Any) -> list[Job]:
    """The jobs, or raises the refusal that stands in their place."""
    if is_refusal(values):
        raise error_of(values)
    if type(values) not in (list, tuple) or len(values) < 2 or values[0] != JOBS:
        raise MalformedMessage("no jobs")
    try:
        return [Job(*row[:_JOB_SIZE]) for row in values[2:]]
    except TypeError as error:
        raise MalformedMessage(f"a job that is none: {error}") from error


def encode_views(views: Sequence[JobView]) -> bytes:
    return pack([0, *map(job_fields, views)])


def decode_views(data: bytes) -> list[JobView]:
    rows = unpack(data)[1:]
    try:
        for row in rows:
            for place in _LISTS:
                row[place : place + 1] = [tuple(found) for found in row[place : place + 1]]
        return [JobView(*row[: len(_VIEW)]) for row in rows]
    except TypeError as error:
        raise MalformedMessage(f"no views of jobs: {error}") from error


def encode_stats(stats: Mapping[str, TopicStats]) -> bytes:
    return pack([0, *([topic, *job_fields(row)] for topic, row in stats.items())])


def decode_stats(data: bytes) -> dict[str, TopicStats]:
    try:
        return {row[0]: TopicStats(*row[1 : _STATS_SIZE + 1]) for row in unpack(data)[1:]}
    except (TypeError, LookupError) as error:
        raise MalformedMessage(f"no counts of topics: {error}") from error


def _versioned(data: bytes) -> list[Any]:
    values = unpack(data)
    version = values.pop(0)
    if version != VERSION:
        raise UnknownVersion(version)
    return values


def _bundle(values: list[Any]) -> Bundle:
    if values[0] != VERSION:
        raise UnknownVersion(values[0])
    fields = values[1:6]
    if len(fields) < len(_BUNDLE) or not all(
        type(value) in allowed for value, allowed in zip(fields, _BUNDLE, strict=True)
    ):
        raise MalformedMessage("a bundle with wrong fields")
    domain, client_id, since, single_shot, requests = fields
    if client_id is not None and len(client_id) != CLIENT_ID_BYTES:
        raise MalformedMessage(f"a client id of {len(client_id)} bytes")
    slots, sequences = requests[::3], requests[1::3]
    if not requests or len(requests) % 3 or {*map(type, slots), *map(type, sequences)} != {int}:
        raise MalformedMessage("a bundle without requests, or that are none")
    if min(slots) < 0 or max(slots) >= MAX_SLOTS:
        raise MalformedMessage(f"slots from {min(slots)} to {max(slots)}")
    return Bundle(domain, requests, client_id, since, single_shot)


def _request_fields(request: Request) -> tuple[Any, ...]:
    if isinstance(request, Submit):
        return (_SUBMIT, request.data, request.waits, request.repeated)
    number = _KINDS[type(request)]
    return (number, *_SHAPES[number].values_of(request))


def _request(values: Any) -> Request:
    if type(values) is not list or not values:
        raise MalformedMessage("no request")
    number = values.pop(0)
    if number == _SUBMIT:
        return _submit(values)
    shape = _SHAPES.get(number) if type(number) is int else None
    if shape is None:
        raise MalformedMessage("a request of no known kind")
    return cast(Request, shape.build(values))


def _submit(values: list[Any]) -> Submit:
    if [type(value) for value in values[:3]] != [bytes, list, bool]:
        raise MalformedMessage("a bundle that is none")
    data, waits, repeated = values[:3]
    bundle = decode_bundle(data)
    if waits and (len(waits) != bundle.size or {*map(type, waits)} != {int}):
        raise MalformedMessage(f"{len(waits)} waits for {bundle.size} requests")
    return Submit(data, bundle, waits, repeated)


def _outcomes_fields(outcomes: Outcomes) -> list[Any]:
    return error_fields(outcomes) if isinstance(outcomes, QueueError) else [0, *outcomes]


def _outcomes(values: Any, size: int) -> Outcomes:
    if type(values) is not list or not values:
        raise MalformedMessage("no outcome")
    if values[0] != 0:
        return error_from_fields(values)
    if len(values) != size + 1:
        raise MalformedMessage(f"{len(values) - 1} outcomes for {size} requests")
    return values[1:]
