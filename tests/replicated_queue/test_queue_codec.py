"""Bytes of the queue: what goes in comes out, and strangers' bytes raise the typed error alone."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicated_queue import errors
from replicated_queue.errors import MalformedMessage, QueueError, UnknownVersion
from replicated_queue.queue.codec import (
    apply_encoded,
    decode_command,
    decode_result,
    encode_command,
    encode_result,
    error_fields,
    error_from_fields,
)
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
from replicated_queue.queue.job import Job
from replicated_queue.queue.priority_queue import PriorityQueue
from replicated_queue.request_codec import (
    decode_ask,
    decode_envelope,
    decode_hello,
    decode_jobs,
    decode_outcomes,
    decode_requests,
    decode_response,
    decode_welcome,
    encode_ask,
    encode_envelope,
    encode_hello,
    encode_jobs,
    encode_outcomes,
    encode_requests,
    encode_response,
    encode_welcome,
)
from replicated_queue.requests import (
    ExtendLease,
    ForgetWaiter,
    Hello,
    LeaderRequest,
    ReadJobs,
    ReserveJobs,
    Submit,
    Withdraw,
)
from replicated_queue.sessions import Envelope

PUT = Put("mail", b"\0data", 1, 2, 3_000, 4, "key", True)
COMMANDS: list[Command] = [
    PUT,
    Put("mail", b""),
    Put("mail", b"", backoff_ms=5_000, needs=("arch=aarch64", "builder=go"), ages=False),
    PutMany((PUT, Put("bills", b"x"))),
    Reserve(("mail", "bills"), "w1", 5_000, 3, True),
    Reserve(("mail",)),
    Reserve(("mail",), has=("arch=aarch64",)),
    Nack(1, 2),
    SetTopic("mail", 10, 1_000, 60_000, True, True),
    SetTopic("mail", is_draining=False),
    Ack(1, 2, b"result", True),
    AckMany(((1, 2), (3, 4))),
    Nack(1, 2, 3, "because", True),
    Bury(1, 2, "because"),
    Kick("mail", 10),
    KickJob(1),
    Nack(1, 2, 3, "", False, 7),
    Bury(1, 2, "", False, 7),
    ReserveJob(1, "w1", 5_000),
    GiveBack(((1, 2),)),
    Pause("mail", 1_000),
    Purge("mail", 5),
    Cancel(1),
    Cancel(1, 2, True, True),
    ExpireLease(1, 2),
]
RESULTS: list[Result] = [
    Created((1, 2)),
    Reserved(7, (1,)),
    Reserved(7),
    Done(),
    Acked((3,)),
    Kicked(4),
    Purged(5),
]
ERRORS: list[QueueError] = [
    errors.LeaseLost(job_id=7),
    errors.QueueFull(what="10 jobs"),
    errors.JobNotFound(job_id=7),
    errors.AlreadyDone(job_id=7, state="succeeded"),
    errors.Duplicate(job_id=7),
    errors.WrongState(job_id=7, state="leased", wanted="buried"),
    errors.SessionExpired(),
    errors.InvalidTopic(topic="-x"),
    errors.ReservedTopic(topic="pinode.x"),
    errors.JobTooLarge(what="data", size_bytes=2, bound_bytes=1),
    errors.InvalidRequest("no"),
    errors.TopicDraining(topic="mail"),
    errors.NotLeader(5),
    errors.NotLeader(),
    errors.NoQuorum(waited_seconds=1.5),
    errors.Busy(0.2),
    errors.OutcomeUnknown("the put"),
    errors.NotAuthorized(),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_commands_come_back_as_they_went(command: Command) -> None:
    assert decode_command(encode_command(command)) == command


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_results_come_back_as_they_went(result: Result) -> None:
    assert decode_result(encode_result(result)) == result


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_come_back_as_the_same_type_and_say_the_same(error: QueueError) -> None:
    back = error_from_fields(error_fields(error))

    assert type(back) is type(error)
    assert str(back) == str(error)


def test_a_refusal_is_raised_where_its_result_is_read() -> None:
    with pytest.raises(errors.LeaseLost) as refused:
        decode_result(encode_result(errors.LeaseLost(job_id=7)))

    assert refused.value.job_id == 7


def test_a_field_of_a_newer_version_is_skipped_and_a_missing_one_has_its_default() -> None:
    longer = msgpack.packb([*msgpack.unpackb(encode_command(PUT)), "new field"])
    shorter = msgpack.packb(msgpack.unpackb(encode_command(PUT))[:3])

    assert decode_command(longer) == PUT
    assert decode_command(shorter) == Put(PUT.topic, PUT.data)


def test_a_command_of_a_newer_version_stops_the_node_rather_than_be_skipped() -> None:
    """Checklist 1.40."""
    with pytest.raises(UnknownVersion):
        apply_encoded(PriorityQueue(), msgpack.packb([63, "new"]), index=1, now=0)


@pytest.mark.parametrize(
    "values",
    [
        [1, "mail"],
        [1, b"mail", b""],
        [1, "mail", "text"],
        [1, "mail", b"", True],
        [1, "mail", b"", 1.5],
        [2, [["mail"]]],
        [2, [1]],
        [3, "mail"],
        [3, [b"mail"]],
        [5, [[1]]],
        [5, [[1, "2"]]],
        [65, [1]],
    ],
)
def test_a_command_of_wrong_shape_is_malformed_and_the_same_refusal_on_every_replica(
    values: list[object],
) -> None:
    data = msgpack.packb(values)
    with pytest.raises(MalformedMessage):
        decode_command(data)

    with pytest.raises(MalformedMessage):
        decode_result(apply_encoded(PriorityQueue(), data, index=1, now=0))


def test_envelopes_and_frames_come_back_as_they_went() -> None:
    client_id = bytes(range(16))
    envelope = Envelope("queue", b"command", client_id, 3, 4, 5)
    requests: list[LeaderRequest] = [
        Submit(b"entry"),
        ReserveJobs(b"entry", 500, True),
        ExtendLease(1, 2, None),
        ForgetWaiter(client_id, 1, 2),
    ]
    question = ReadJobs("mail", "ready", 5, 10)
    outcomes: list[bytes | QueueError] = [b"done", errors.NotLeader(3)]
    job = Job(1, "mail", b"x", 3, 1, 9, 60.0)

    assert decode_envelope(encode_envelope(envelope)) == envelope
    assert decode_requests(encode_requests(requests)) == requests
    assert decode_hello(encode_hello(Hello(b"token", client_id))) == Hello(b"token", client_id)
    assert decode_welcome(encode_welcome(17)) == 17
    assert decode_ask(encode_ask(5, 100, question)).request == question
    assert decode_ask(encode_ask(5, 0, Withdraw())).number == 5
    assert decode_response(encode_response(5, 17, b"bytes")) == (5, 17, b"bytes")
    assert decode_jobs(encode_jobs([job])) == [job]
    index, back = decode_outcomes(encode_outcomes(8, outcomes), count=2)
    assert (index, back[0]) == (8, b"done")
    assert isinstance(back[1], errors.NotLeader)


def test_a_refused_hello_is_raised() -> None:
    with pytest.raises(errors.NotAuthorized):
        decode_welcome(encode_welcome(errors.NotAuthorized()))


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope("queue", b"", b"short"),
        Envelope("queue", b"", bytes(16), slot=1_024),
        Envelope("queue", b"", bytes(16), slot=-1),
    ],
)
def test_an_envelope_outside_its_bounds_is_malformed(envelope: Envelope) -> None:
    with pytest.raises(MalformedMessage):
        decode_envelope(encode_envelope(envelope))


DECODERS = [
    decode_command,
    decode_result,
    decode_envelope,
    decode_requests,
    lambda data: decode_outcomes(data, count=1),
    decode_hello,
    decode_welcome,
    decode_ask,
    decode_response,
]
GOOD = [
    *map(encode_command, COMMANDS),
    *map(encode_result, RESULTS),
    encode_envelope(Envelope("queue", b"x", bytes(16), 1, 2, 3)),
    encode_requests([Submit(b"x"), ReserveJobs(b"x", 1, True)]),
    encode_ask(1, 2, ReadJobs("mail")),
    encode_response(1, 2, errors.Busy()),
]


def decode_with_all(data: bytes) -> None:
    for decode in DECODERS:
        try:
            decode(data)
        except QueueError:
            pass


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_the_typed_error(data: bytes) -> None:
    decode_with_all(data)


@given(st.sampled_from(GOOD), st.data())
def test_damaged_messages_decode_or_raise_the_typed_error(message: bytes, data: st.DataObject) -> None:
    damaged = bytearray(message)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    decode_with_all(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(st.integers(0, 130), st.lists(PLAIN, max_size=10))
def test_messages_of_any_values_decode_or_raise_the_typed_error(kind: int, values: list[object]) -> None:
    decode_with_all(msgpack.packb([kind, *values]))
