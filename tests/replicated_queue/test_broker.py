"""Any node takes requests; the leader does them, each once, whatever happens on the way."""

import asyncio

import msgpack
import pytest

from replicated_queue.errors import (
    InvalidRequest,
    InvalidTopic,
    KeyReused,
    LeaseLost,
    MalformedMessage,
    NoQuorum,
    OutcomeUnknown,
    QueueError,
    ReservedTopic,
    UnknownVersion,
)
from replicated_queue.queue.codec import command_values, result_of
from replicated_queue.queue.commands import Put, Reserve
from replicated_queue.request_codec import decode_answers, encode_requests, submit
from replicated_queue.sessions import SingleShot, single
from tests.replicated_queue.fake_group import FakeGroup
from tests.waiting import eventually


async def test_a_put_on_any_node_is_seen_by_all() -> None:
    async with FakeGroup() as group:
        for node_id, broker in group.brokers.items():
            await broker.put("mail", b"from %d" % node_id)

        assert group.data_of() == [b"from 1", b"from 2", b"from 3"]


async def test_requests_of_one_turn_travel_to_the_leader_in_one_frame() -> None:
    async with FakeGroup() as group:
        await asyncio.gather(*(group.brokers[2].put("mail", b"%d" % number) for number in range(50)))

        assert group.data_of() == [b"%d" % number for number in range(50)]
        assert group.transports[2].calls == 1


async def test_a_worker_on_any_node_takes_a_job_and_acknowledges_it() -> None:
    async with FakeGroup() as group:
        job_id = await group.brokers[1].put("mail", b"work", priority=1)

        job = await group.brokers[2].reserve("mail", worker="w")
        assert job is not None
        await group.brokers[3].ack(job, result=b"sent")

        view = await group.brokers[1].peek(job_id)
        assert (job.id, job.data, job.attempts, job.lease_seconds) == (job_id, b"work", 1, 60.0)
        assert (view.state, view.result, view.worker) == ("succeeded", b"sent", "w")


async def test_what_a_node_has_put_it_can_read_at_once() -> None:
    async with FakeGroup() as group:
        job_id = await group.brokers[3].put("mail", b"work", delay=60)

        assert (await group.brokers[3].peek(job_id)).state == "delayed"
        assert (await group.brokers[3].stats("mail")).delayed == 1
        assert [view.id for view in await group.brokers[3].list("mail")] == [job_id]


async def test_an_answer_tells_how_far_the_leader_is_with_what_was_asked() -> None:
    """By that index the asking node knows when its own reads show what it has done."""
    async with FakeGroup() as group:
        put = submit(single("queue", command_values(Put("mail", b"x"))))

        index, _ = decode_answers(await group.brokers[1].answer(encode_requests([put])), sizes=[1])

        assert index == group.logs[1].applied_index == 1


@pytest.mark.parametrize("asked_at", [1, 2])
@pytest.mark.parametrize("lose", [True, False])
async def test_a_put_over_a_change_of_leader_is_done_exactly_once(asked_at: int, lose: bool) -> None:
    """Checklist 3.4: whether the old leader's entry survived or not."""
    async with FakeGroup() as group:
        group.is_held = True
        put = asyncio.create_task(group.brokers[asked_at].put("mail", b"once"))
        await eventually(lambda: group.open)

        group.elect(3, lose=lose)
        group.release()
        await put

        assert group.data_of() == [b"once"]


async def test_an_ack_over_a_change_of_leader_is_done_once_and_answered_as_done() -> None:
    async with FakeGroup() as group:
        await group.brokers[1].put("mail", b"work")
        job = await group.brokers[2].reserve("mail")
        assert job is not None
        group.is_held = True
        ack = asyncio.create_task(group.brokers[2].ack(job))
        await eventually(lambda: group.open)

        group.elect(3)
        group.release()

        await ack


async def test_a_put_whose_answer_was_lost_is_asked_again_and_done_once() -> None:
    async with FakeGroup() as group:
        group.transports[2].lose_answers = 2

        await group.brokers[2].put("mail", b"once")

        assert group.data_of() == [b"once"]
        assert group.transports[2].calls == 3


@pytest.mark.parametrize("jobs", [[b"first"], [b"first", b"second"]])
async def test_a_reserve_whose_answer_was_lost_gets_the_same_job_and_token(jobs: list[bytes]) -> None:
    """Checklist 3.3: also when no other job is there."""
    async with FakeGroup() as group:
        for data in jobs:
            await group.brokers[1].put("mail", data)
        group.transports[2].lose_answers = 1

        job = await group.brokers[2].reserve("mail")

        assert job is not None
        leased = [(job_id, token) for job_id, token, _ in group.logs[1].machine.queue.leases()]
        assert leased == [(job.id, job.token)]
        assert job.data == b"first"


async def test_a_reserve_that_waits_over_a_change_of_leader_goes_on_waiting() -> None:
    async with FakeGroup() as group:
        waiting = asyncio.create_task(group.brokers[2].reserve("mail", wait=20))
        await eventually(lambda: group.brokers[1]._desk.waiting_count == 1)

        group.elect(3)
        await eventually(lambda: group.brokers[3]._desk.waiting_count == 1)
        await group.brokers[1].put("mail", b"work")
        job = await waiting

        assert job is not None
        assert job.data == b"work"


async def test_without_a_leader_a_put_fails_at_its_deadline_and_says_why() -> None:
    async with FakeGroup(leader=None, timeout_seconds=0.1) as group:
        with pytest.raises(
            NoQuorum, match=r"no majority of the nodes could be reached within \d\.\d s"
        ) as failed:
            await group.brokers[1].put("mail", b"work")

        assert "nothing was" in str(failed.value)
        assert group.entries == []


async def test_a_leader_that_cannot_be_reached_did_nothing() -> None:
    async with FakeGroup(timeout_seconds=0.1) as group:
        group.transports[2].refuse_calls = 1_000

        with pytest.raises(NoQuorum):
            await group.brokers[2].put("mail", b"work")


async def test_a_put_that_was_sent_and_never_answered_may_have_been_done() -> None:
    """ "Failed" and "unknown" are told apart."""
    async with FakeGroup(timeout_seconds=0.1) as group:
        group.is_held = True

        with pytest.raises(OutcomeUnknown):
            await group.brokers[1].put("mail", b"work")


async def test_a_silent_leader_is_left_for_the_new_one() -> None:
    async with FakeGroup() as group:
        group.transports[2].is_silent = True
        put = asyncio.create_task(group.brokers[2].put("mail", b"once"))
        await eventually(lambda: group.transports[2].calls == 1)
        group.transports[2].is_silent = False

        group.elect(3)
        await put

        assert group.data_of() == [b"once"]


async def test_a_busy_leader_is_asked_again() -> None:
    async with FakeGroup() as group:
        group.busy = 3

        await group.brokers[1].put("mail", b"work")

        assert group.data_of() == [b"work"]


async def test_a_refusal_arrives_as_the_error_it_is() -> None:
    async with FakeGroup() as group:
        await group.brokers[1].put("mail", b"work")
        job = await group.brokers[2].reserve("mail", lease=0.1)
        assert job is not None
        await eventually(lambda: group.logs[1].machine.queue.jobs[job.id].state == "ready")

        for verb in (group.brokers[2].ack, group.brokers[2].extend, group.brokers[3].nack):
            with pytest.raises(LeaseLost):
                await verb(job)
        with pytest.raises(InvalidTopic):
            await group.brokers[2].put("-mail", b"")


async def test_an_idempotency_key_works_across_nodes() -> None:
    async with FakeGroup() as group:
        answers = [
            await group.brokers[node_id].submit("queue", Put("mail", b"once"), once=SingleShot(b"deploy 42"))
            for node_id in (1, 2, 3)
        ]

        assert len({result_of(answer) for answer in answers}) == 1
        assert group.data_of() == [b"once"]


async def test_an_idempotency_key_for_something_else_is_refused_on_every_node() -> None:
    async with FakeGroup() as group:
        await group.brokers[1].submit("queue", Put("mail", b"once"), once=SingleShot(b"a", fingerprint=1))

        for node_id in (1, 2, 3):
            with pytest.raises(KeyReused):
                again = SingleShot(b"a", fingerprint=2)
                await group.brokers[node_id].submit("queue", Put("mail", b"other"), once=again)

        assert group.data_of() == [b"once"]


async def test_a_reserve_that_is_repeated_under_one_key_gets_the_job_it_holds_already() -> None:
    async with FakeGroup() as group:
        for data in (b"first", b"second"):
            await group.brokers[1].put("mail", data)
        command, once = Reserve(("mail",)), SingleShot(b"reserve 1")

        (first,) = await group.brokers[2].reserve_once(command, once, wait=0, repeated=False)
        (again,) = await group.brokers[3].reserve_once(command, once, wait=0, repeated=True)

        assert (first.data, again) == (b"first", first)


async def test_a_reserve_under_a_key_waits_for_a_job_as_others_do() -> None:
    async with FakeGroup() as group:
        waiting = asyncio.ensure_future(
            group.brokers[2].reserve_once(Reserve(("mail",)), SingleShot(b"a"), wait=60, repeated=False)
        )
        await eventually(lambda: group.brokers[1]._desk.waiting_count == 1)

        await group.brokers[1].put("mail", b"late")

        assert [job.data for job in await waiting] == [b"late"]


async def test_two_that_wait_under_one_key_are_both_given_the_job_and_ask_no_more_than_once() -> None:
    async with FakeGroup() as group:
        waiting = []
        for node_id in (2, 3):
            asked = group.brokers[node_id].reserve_once(
                Reserve(("mail",)), SingleShot(b"a"), wait=60, repeated=False
            )
            waiting.append(asyncio.ensure_future(asked))
            transport = group.transports[node_id]
            await eventually(lambda transport=transport: transport.calls >= 2)  # type: ignore[misc]

        await group.brokers[1].put("mail", b"the only one")
        async with asyncio.timeout(5):
            found = await asyncio.gather(*waiting)

        assert [[job.data for job in jobs] for jobs in found] == [[b"the only one"]] * 2
        assert [group.transports[node_id].calls for node_id in (2, 3)] == [2, 2]


async def test_one_that_waits_under_a_key_goes_on_when_another_one_has_left() -> None:
    async with FakeGroup() as group:
        waiting = []
        for node_id in (2, 3):
            asked = group.brokers[node_id].reserve_once(
                Reserve(("mail",)), SingleShot(b"a"), wait=60, repeated=False
            )
            waiting.append(asyncio.ensure_future(asked))
            transport = group.transports[node_id]
            await eventually(lambda transport=transport: transport.calls >= 2)  # type: ignore[misc]
        waiting[0].cancel()
        await asyncio.gather(waiting[0], return_exceptions=True)

        await group.brokers[1].put("mail", b"late")

        async with asyncio.timeout(5):
            assert [job.data for job in await waiting[1]] == [b"late"]


async def test_only_the_platform_has_topics_of_the_platform() -> None:
    async with FakeGroup() as group:
        broker = group.brokers[2]
        await broker.platform_queue.put("pinode.builds", b"build")

        with pytest.raises(ReservedTopic):
            await broker.put("pinode.builds", b"")
        with pytest.raises(ReservedTopic):
            await broker.stats("pinode.builds")
        assert await broker.topics() == {}
        assert set(await broker.platform_queue.topics()) == {"pinode.builds"}
        job = await broker.platform_queue.reserve("pinode.builds")
        assert job is not None
        await broker.platform_queue.ack(job)


async def test_what_no_replica_could_apply_does_not_enter_the_log() -> None:
    """Checklist 1.40: a newer node hands in a command this leader does not know."""
    async with FakeGroup() as group:
        unknown, elsewhere = single("queue", [63, "new"]), single("weather", b"")
        crowded = elsewhere._replace(domain="registry", requests=[0, 1, b"one", 0, 2, b"two"])
        frame = encode_requests(map(submit, (unknown, elsewhere, crowded)))

        _, outcomes = decode_answers(await group.brokers[1].answer(frame), sizes=[1, 1, 2])

        assert all(isinstance(outcome, QueueError) for outcome in outcomes)
        assert all(isinstance(outcome, InvalidRequest) for outcome in outcomes[1:])
        assert group.entries == []


@pytest.mark.parametrize("frame", [b"", b"junk", msgpack.packb([2, []]), msgpack.packb([1, [99]])])
async def test_frames_that_cannot_be_read_are_answered_with_the_reason(frame: bytes) -> None:
    async with FakeGroup() as group:
        _, outcomes = decode_answers(await group.brokers[1].answer(frame), sizes=[1])

        assert isinstance(outcomes[0], MalformedMessage | UnknownVersion | QueueError)


async def test_many_jobs_at_a_time() -> None:
    async with FakeGroup() as group:
        broker = group.brokers[2]
        ids = await broker.put_many("mail", [bytes(1_000)] * 300)
        jobs = await broker.reserve_many("mail", 200)
        await broker.nack(jobs[0])

        with pytest.raises(LeaseLost) as lost:
            await broker.ack_many(jobs)

        assert len(set(ids)) == 300
        assert lost.value.job_ids == (jobs[0].id,)
        assert (await broker.stats("mail")).ready == 101


async def test_a_read_on_any_node_shows_what_any_other_has_answered() -> None:
    """Checklist 1.16: a node that is behind finds out how far it must be, and waits for that."""
    async with FakeGroup() as group:
        group.behind = {2}
        await group.brokers[3].put("mail", b"x")

        asked = asyncio.create_task(group.brokers[2].stats("mail"))
        await eventually(lambda: group.brokers[2]._behind)
        group.catch_up()

        assert (await asked).ready == 1


async def test_a_node_that_does_not_catch_up_in_time_says_so() -> None:
    async with FakeGroup() as group:
        group.behind = {2}
        await group.brokers[2].put("mail", b"x")

        assert not await group.brokers[2].catch_up(timeout_seconds=0.0)
        group.catch_up()
        assert await group.brokers[2].catch_up(timeout_seconds=0.0)


async def test_a_node_that_is_behind_shows_its_own_changes() -> None:
    """A put is answered when the node that took it has applied it too."""
    async with FakeGroup() as group:
        group.behind = {2}

        asked = asyncio.create_task(group.brokers[2].put("mail", b"x"))
        await eventually(lambda: group.brokers[2]._behind)
        group.catch_up()

        await asked


async def test_many_jobs_are_kicked_in_commands_of_a_thousand_and_never_delayed_after_buried_ones() -> None:
    async with FakeGroup(size=1) as group:
        broker = group.brokers[1]
        for _ in range(5):
            await broker.put_many("later", [b"x"] * 500, delay=600)
        job_id = await broker.put("later", b"y")
        job = await broker.reserve("later")
        assert job is not None and job.id == job_id
        await broker.bury(job)
        before = group.logs[1].applied_index

        assert await broker.kick("later", 100_000) == 1
        assert await broker.kick("later", 100_000) == 2_500
        assert await broker.kick("later", 100_000) == 0

        assert (await broker.stats("later")).ready == 2_501
        assert group.logs[1].applied_index - before == 5
