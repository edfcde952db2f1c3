"""What is asked in one turn travels, is logged and is answered together, and each request is judged for itself."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from replicated_queue.answer_size import MEBIBYTE, divided, told_together
from replicated_queue.client import QueueClient
from replicated_queue.codec import STAMP
from replicated_queue.errors import LeaseLost, QueueError
from replicated_queue.proposals import Proposal, Proposals
from replicated_queue.queue.codec import command_values, result_of
from replicated_queue.queue.commands import Ack, Put, Reserve, Reserved
from replicated_queue.queue.job import Job
from replicated_queue.queue_state import QueueStateMachine
from replicated_queue.request_codec import decode_bundle, decode_entry, encode_bundle, jobs_values, submit
from replicated_queue.requests import Submit
from replicated_queue.sessions import Bundle, single
from tests.replicated_queue.fake_group import FakeGroup
from tests.replicated_queue.queue_servers import TOKEN, QueueServer, ThrowawayCA
from tests.replicated_queue.service_group import ServiceGroup
from tests.waiting import eventually

ANNA = b"anna............"


def bundle_of(*commands: Any, client_id: bytes = ANNA, sequence: int = 1) -> Bundle:
    requests = [
        part for slot, command in enumerate(commands) for part in (slot, sequence, command_values(command))
    ]
    return Bundle("queue", requests, client_id)


def test_two_reserves_of_one_entry_have_different_tokens_and_later_ones_higher() -> None:
    """Checklist 3.1: a job may come back and go to another worker within one entry."""
    machine = QueueStateMachine()
    machine.apply(encode_bundle(bundle_of(Put("mail", b""), Put("mail", b""))), index=1, now=0)
    reserves = bundle_of(Reserve(("mail",)), Reserve(("mail",)), sequence=2)

    answers = machine.apply(
        encode_bundle(reserves) + encode_bundle(single("queue", [3, ["mail"]])), index=2, now=0
    )
    later = machine.apply(
        encode_bundle(bundle_of(Put("mail", b""), Reserve(("mail",)), sequence=3)), index=3, now=0
    )

    first, second, none = map(result_of, answers)
    third = result_of(later[1])
    assert isinstance(first, Reserved) and isinstance(second, Reserved) and isinstance(third, Reserved)
    assert first.token < second.token < third.token
    assert isinstance(none, Reserved) and none.job_ids == ()


def test_what_the_leader_decoded_before_is_applied_as_what_the_others_decode() -> None:
    """Checklist 1.39."""
    leader, follower = QueueStateMachine(), QueueStateMachine()
    commands = [Put("mail", b"x", dedupe_key="k"), Put("mail", b"y"), Reserve(("mail",)), Ack(1, 1)]
    bundles = [bundle_of(*commands), bundle_of(Reserve(("mail", "bills")), client_id=b"b" * 16)]
    entry = b"".join(map(encode_bundle, bundles))
    read = [
        bundles[0]._replace(commands=commands),
        bundles[1]._replace(commands=[Reserve(("mail", "bills"))]),
    ]

    answers = leader.apply(entry, index=1, now=5, parts=read)

    assert answers == follower.apply(entry, index=1, now=5)
    assert leader.digest() == follower.digest()


def test_proposals_of_one_turn_share_entries_as_far_as_they_may() -> None:
    proposals = Proposals()
    for size, is_alone in ((40, False), (50, False), (20, False), (10, True), (10, False)):
        proposals.add(Proposal(bytes(size), print, bundle_of(Put("mail", b"")), is_alone), size_bytes=size)
    proposals.add(Proposal(b"no part", print), size_bytes=7)

    entries = proposals.take_new(max_bytes=100)

    assert [[len(proposal.data) for proposal in entry] for entry in entries] == [
        [40, 50],
        [20],
        [10],
        [10],
        [7],
    ]
    assert len(proposals) == 0


def test_each_proposer_hears_of_its_own_requests() -> None:
    proposals = Proposals()
    heard: list[tuple[str, Any]] = []
    for name, size in (("one", 2), ("other", 1)):
        part = bundle_of(*[Put("mail", b"")] * size)
        proposals.add(
            Proposal(b"", lambda found, name=name: heard.append((name, found)), part, False), size_bytes=0
        )
    proposals.appended(7, proposals.take_new(max_bytes=100), term=3)

    parts, elsewhere = proposals.parts_of(7, 3), proposals.parts_of(7, 4)
    proposals.applied(7, ["a", "b", "c"])

    assert [part.size for part in parts] == [2, 1]
    assert not elsewhere
    assert heard == [("one", ["a", "b"]), ("other", ["c"])]


async def test_bundles_of_one_turn_become_one_entry_on_the_disk(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, voters=(1,)) as group:
        leader = await group.elected()
        await eventually(lambda: leader.is_leading)
        heard: list[Any] = []
        bundles = [bundle_of(Put("mail", b"%d" % number)) for number in range(3)]
        for bundle in bundles:
            leader.propose(encode_bundle(bundle), heard.append, part=bundle)
        leader.propose(b"alone", heard.append)

        await eventually(lambda: len(heard) == 4)

        first, second = group.journals[1].data
        assert [decode_bundle(encode_bundle(bundle)) for bundle in bundles] == decode_entry(first)
        assert second == b"alone"
        assert len(first) + STAMP.size < 256


async def test_requests_of_one_turn_of_a_client_are_one_entry_and_refused_one_by_one(tmp_path: Path) -> None:
    ca = ThrowawayCA(tmp_path)
    async with FakeGroup() as group:
        server = await QueueServer(group.brokers[1], ca.server_context()).start()
        async with QueueClient([server.address], token=TOKEN, ca=ca.ca_file) as client:
            lost = Job(7, "mail", b"", 3, 1, 7, 60.0)

            answers = await asyncio.gather(
                client.put("mail", b"a"), client.ack(lost), client.put("mail", b"b"), return_exceptions=True
            )

        await server.stop()
        assert answers[0] == 1 and answers[2] == 2
        assert isinstance(answers[1], QueueError) and not isinstance(answers[1], LeaseLost)
        assert len(group.entries) == 1


@pytest.mark.parametrize("asked_at", [1, 2])
async def test_many_large_jobs_that_are_reserved_together_come_in_frames_that_hold_them(
    tmp_path: Path, asked_at: int
) -> None:
    ca = ThrowawayCA(tmp_path)
    async with FakeGroup() as group:
        server = await QueueServer(group.brokers[asked_at], ca.server_context()).start()
        async with QueueClient([server.address], token=TOKEN, ca=ca.ca_file) as client:
            datas = [b"%05d" % number + bytes(60_000) for number in range(150)]
            await client.put_many("mail", datas)

            jobs = await asyncio.gather(*(client.reserve("mail") for _ in datas))

        await server.stop()
        assert sorted(job.data for job in jobs if job is not None) == datas
        assert all(size < 8 * MEBIBYTE for size in group.transports[2].answer_bytes)


def test_answers_are_divided_by_what_they_can_be_and_by_what_they_are() -> None:
    small, large = Reserve(("mail",)), Reserve(("mail",), count=1_000)
    jobs = jobs_values([Job(1, "mail", bytes(60_000), 3, 1, 9, 60.0)])

    assert list(divided([Put("mail", b"")] * 1_000)) == [range(1_000)]
    assert [len(places) for places in divided([small] * 100)] == [95, 5]
    assert [len(places) for places in divided([large] * 8)] == [5, 3]
    assert [len(part) for part in told_together([(67,)] * 9 + [jobs] * 10)] == [17, 2]
    assert list(told_together([])) == [[]]


async def test_of_a_bundle_that_finds_one_job_the_other_reserve_waits_by_itself() -> None:
    async with FakeGroup() as group:
        broker = group.brokers[1]
        await broker.put("mail", b"first")
        commands = [Reserve(("mail",)), Reserve(("mail",)), Put("bills", b"x")]
        asked = submit(bundle_of(*commands)._replace(commands=commands), waits=[20_000, 20_000, 0])
        heard: dict[int, Any] = {}

        def done(place: int, outcomes: Any) -> None:
            heard.update(enumerate(outcomes, place))

        broker.begin(asked, timeout_seconds=5, done=done)
        await eventually(lambda: broker._desk.waiting_count == 1)
        await broker.put("mail", b"second")
        await eventually(lambda: type(heard[1]) is tuple)

        assert [heard[place][2].data for place in (0, 1)] == [b"first", b"second"]
        assert len(group.entries) == 4


async def test_one_request_of_a_bundle_is_withdrawn_and_the_others_go_on() -> None:
    async with FakeGroup() as group:
        broker = group.brokers[1]
        group.is_held = True
        commands = [Put("mail", b"x"), Reserve(("bills",))]
        asked = submit(bundle_of(*commands)._replace(commands=commands), waits=[0, 20_000])
        heard: list[Any] = []
        parcel = broker.begin(asked, timeout_seconds=5, done=lambda _, outcomes: heard.extend(outcomes))

        broker.withdraw(parcel, 1)
        group.release()

        await eventually(lambda: heard)
        assert broker._desk.waiting_count == 0
        assert result_of(heard[0]).job_ids == (1,)  # type: ignore[union-attr]


@pytest.mark.parametrize("asked_at", [1, 2])
@pytest.mark.parametrize("lose", [True, False])
async def test_a_bundle_over_a_change_of_leader_is_done_once(asked_at: int, lose: bool) -> None:
    """Checklist 1.37, 3.4."""
    async with FakeGroup() as group:
        group.is_held = True
        commands = [Put("mail", b"%d" % number) for number in range(5)]
        asked: Submit = submit(bundle_of(*commands)._replace(commands=commands))
        heard: list[Any] = []
        broker = group.brokers[asked_at]
        broker.begin(asked, timeout_seconds=5, done=lambda _, outcomes: heard.extend(outcomes))
        await eventually(lambda: group.open)

        group.elect(3, lose=lose)
        group.release()

        await eventually(lambda: heard)
        assert [result_of(answer).job_ids for answer in heard] == [(n,) for n in range(1, 6)]  # type: ignore[union-attr]
        assert group.data_of() == [b"%d" % number for number in range(5)]
