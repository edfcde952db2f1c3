"""Bytes of the queue: what goes in comes out, and strangers' bytes raise the typed error alone."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicated_queue import errors
from replicated_queue.errors import MalformedMessage, QueueError, UnknownVersion
from replicated_queue.queue.codec import (
    apply_values,
    command_of,
    command_values,
    error_fields,
    error_from_fields,
    pack,
    result_of,
    result_values,
    unpack,
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
    STILL_WAITS,
    Outcomes,
    decode_answers,
    decode_ask,
    decode_bundle,
    decode_entry,
    decode_hello,
    decode_requests,
    decode_response,
    decode_stats,
    decode_views,
    decode_welcome,
    encode_answers,
    encode_ask,
    encode_bundle,
    encode_hello,
    encode_requests,
    encode_response,
    encode_welcome,
    jobs_of,
    jobs_values,
    submit,
)
from replicated_queue.requests import (
    ExtendLease,
    ForgetWaiter,
    Hello,
    LeaderRequest,
    ReadJobs,
    Withdraw,
)
from replicated_queue.sessions import Bundle, single

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
    errors.KeyReused(),
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
    assert command_of(unpack(pack(command_values(command)))) == command
    assert command_of(command_values(command)) == command


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_results_come_back_as_they_went(result: Result) -> None:
    assert result_of(unpack(pack(result_values(result)))) == result
    assert result_of(result_values(result)) == result


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_come_back_as_the_same_type_and_say_the_same(error: QueueError) -> None:
    back = error_from_fields(error_fields(error))

    assert type(back) is type(error)
    assert str(back) == str(error)


def test_a_refusal_is_raised_where_its_result_is_read() -> None:
    with pytest.raises(errors.LeaseLost) as refused:
        result_of(result_values(errors.LeaseLost(job_id=7)))

    assert refused.value.job_id == 7


def test_a_field_of_a_newer_version_is_skipped_and_a_missing_one_has_its_default() -> None:
    longer = [*command_values(PUT), "new field"]
    shorter = command_values(PUT)[:3]

    assert command_of(longer) == PUT
    assert command_of(shorter) == Put(PUT.topic, PUT.data)


def test_a_command_of_a_newer_version_stops_the_node_rather_than_be_skipped() -> None:
    """Checklist 1.40."""
    with pytest.raises(UnknownVersion):
        apply_values(PriorityQueue(), [63, "new"], index=1, now=0)


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
    with pytest.raises(MalformedMessage):
        command_of(values)

    with pytest.raises(MalformedMessage):
        result_of(apply_values(PriorityQueue(), values, index=1, now=0))


def test_bundles_and_frames_come_back_as_they_went() -> None:
    client_id = bytes(range(16))
    one = Bundle("queue", [3, 4, [1, "mail", b"x"], 5, 6, [4, 1, 2]], client_id, 5)
    other = Bundle("registry", [0, 1, b"command"], client_id, 0, True)
    requests: list[LeaderRequest] = [
        submit(one, waits=[0, 500]),
        submit(other, waits=[], repeated=True),
        ExtendLease(1, 2, None),
        ForgetWaiter(client_id, 1, 2),
    ]
    question = ReadJobs("mail", "ready", 5, 10)
    outcomes: list[Outcomes] = [[[67], None], errors.NotLeader(3)]
    jobs = [Job(1, "mail", b"x", 3, 1, 9, 60.0)]

    assert decode_bundle(encode_bundle(one)) == one
    assert decode_entry(encode_bundle(one) + encode_bundle(other)) == [one, other]
    assert decode_requests(encode_requests(requests)) == requests
    assert decode_hello(encode_hello(Hello(b"token", client_id))) == Hello(b"token", client_id)
    assert decode_welcome(encode_welcome(17)) == 17
    assert decode_ask(encode_ask(5, 100, question)).request == question
    assert decode_ask(encode_ask(5, 0, Withdraw())).number == 5
    assert decode_response(encode_response(5, 17, [b"x", STILL_WAITS])) == (5, 17, [b"x", STILL_WAITS])
    assert jobs_of(jobs_values(jobs)) == jobs_of(unpack(pack(jobs_values(jobs)))) == jobs
    index, back = decode_answers(encode_answers(8, outcomes), sizes=[2, 1])
    assert (index, back[0]) == (8, [[67], None])
    assert isinstance(back[1], errors.NotLeader)


def test_a_refused_hello_is_raised() -> None:
    with pytest.raises(errors.NotAuthorized):
        decode_welcome(encode_welcome(errors.NotAuthorized()))


@pytest.mark.parametrize(
    "bundle",
    [
        single("queue", [1], b"short"),
        single("queue", [1], bytes(16), slot=1_024),
        single("queue", [1], bytes(16), slot=-1),
        Bundle("queue", [], bytes(16)),
        Bundle("queue", [0, 1, [1], 2], bytes(16)),
        Bundle("queue", [0, "1", [1]], bytes(16)),
        Bundle("queue", [0, True, [1]], bytes(16)),
        Bundle("queue", [0, 1, bytes(256 * 1024)], bytes(16)),
    ],
)
def test_a_bundle_outside_its_bounds_is_malformed(bundle: Bundle) -> None:
    with pytest.raises(MalformedMessage):
        decode_bundle(encode_bundle(bundle))


def test_as_many_waits_as_requests_or_none() -> None:
    two = Bundle("queue", [0, 1, [1], 1, 1, [1]], bytes(16))

    with pytest.raises(MalformedMessage):
        decode_requests(encode_requests([submit(two, waits=[1])]))


def test_outcomes_of_another_number_than_the_requests_are_malformed() -> None:
    with pytest.raises(MalformedMessage):
        decode_answers(encode_answers(8, [[[67]]]), sizes=[2])


BUNDLE = Bundle("queue", [3, 4, command_values(PUT), 5, 6, [4, 1, 2]], bytes(16), 5)
DECODERS = [
    lambda data: command_of(unpack(data)),
    lambda data: result_of(unpack(data)),
    lambda data: jobs_of(unpack(data)),
    decode_bundle,
    decode_entry,
    decode_requests,
    lambda data: decode_answers(data, sizes=[1]),
    decode_hello,
    decode_welcome,
    decode_ask,
    decode_response,
    decode_views,
    decode_stats,
]
GOOD = [
    *(pack(command_values(command)) for command in COMMANDS),
    *(pack(result_values(result)) for result in RESULTS),
    pack(jobs_values([Job(1, "mail", b"x", 3, 1, 9, 60.0)])),
    encode_bundle(BUNDLE),
    encode_bundle(BUNDLE) * 2,
    encode_requests([submit(BUNDLE, waits=[1, 2]), submit(BUNDLE, repeated=True)]),
    encode_answers(8, [[[67], None], errors.NotLeader(3)]),
    encode_ask(1, 2, ReadJobs("mail")),
    encode_ask(1, 2, submit(BUNDLE)),
    encode_response(1, 2, [errors.Busy(), [67]]),
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


@pytest.mark.parametrize("row", [None, 7, [], [1], {}, "text"])
def test_a_row_that_is_none_is_malformed(row: object) -> None:
    for decode in (lambda: jobs_of([71, True, row]), lambda: decode_views(pack([0, row]))):
        with pytest.raises(MalformedMessage):
            decode()
    with pytest.raises(MalformedMessage):
        decode_stats(pack([0, row]))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(st.integers(0, 130), st.lists(PLAIN, max_size=10))
def test_messages_of_any_values_decode_or_raise_the_typed_error(kind: int, values: list[object]) -> None:
    decode_with_all(msgpack.packb([kind, *values]))
