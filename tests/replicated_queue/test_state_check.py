"""A replica whose state is another than the leader's notices, says so, and becomes what the leader's is."""

import asyncio
from collections.abc import Generator
from pathlib import Path

import msgpack
import pytest

from replicated_queue.codec import Checkpoint, decode_frame, encode_frame
from replicated_queue.errors import MalformedMessage
from replicated_queue.raft.messages import Heartbeat, HeartbeatResponse
from replicated_queue.service import ReplicaService
from tests.replicated_queue.service_group import Journal, ServiceGroup, proposed
from tests.waiting import eventually

FAST = {"heartbeat_seconds": 0.05, "election_timeout_seconds": 0.5, "segment_bytes": 64 * 1024}
QUIET = {**FAST, "quiet_seconds": 0.1}


async def fill(leader: ReplicaService, count: int, *, start: int = 0) -> list[bytes]:
    data = [b"%d" % number for number in range(start, start + count)]
    await asyncio.gather(*(proposed(leader, one) for one in data))
    return data


def plant(journal: Journal) -> None:
    """As if a bit had flipped in memory."""
    index, now, command = journal.commands[3]
    journal.commands[3] = (index, now, command + b"!")


async def test_a_state_that_differs_is_replaced_by_the_leaders_and_the_log_goes_on(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **QUIET) as group:
        leader = await group.elected()
        data = await fill(leader, 20)
        wrong = next(peer for peer in group.voters if peer != group.id_of(leader))
        await eventually(lambda: group.journals[wrong].data == data)

        plant(group.journals[wrong])

        await eventually(lambda: group.journals[wrong].data == data, within_seconds=20)
        (warning,) = group.services[wrong].warnings
        assert "was not what the leader knew" in warning
        assert all(not group.services[peer].warnings for peer in group.voters if peer != wrong)
        data += await fill(await group.elected(), 20, start=20)
        await eventually(lambda: all(journal.data == data for journal in group.journals.values()))


async def test_what_replaced_it_is_there_after_a_restart(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **QUIET) as group:
        leader = await group.elected()
        data = await fill(leader, 20)
        wrong = next(peer for peer in group.voters if peer != group.id_of(leader))
        await eventually(lambda: group.journals[wrong].data == data)
        plant(group.journals[wrong])
        snapshots = tmp_path / str(wrong)
        await eventually(lambda: group.journals[wrong].data == data, within_seconds=20)
        await eventually(lambda: [*snapshots.glob("*.snapshot")])
        data += await fill(await group.elected(), 10, start=20)
        await eventually(lambda: group.journals[wrong].data == data)

        await group.stop(wrong)
        group.start(wrong)

        await eventually(lambda: group.journals[wrong].data == data, within_seconds=10)


async def test_what_was_applied_while_the_state_was_on_its_way_is_run_again(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **QUIET) as group:
        leader = await group.elected()
        data = await fill(leader, 20)
        wrong = next(peer for peer in group.voters if peer != group.id_of(leader))
        await eventually(lambda: group.journals[wrong].data == data)
        group.holds_fetches.clear()
        plant(group.journals[wrong])
        await eventually(lambda: group.is_fetching, within_seconds=10)

        service = group.services[wrong]
        restore = group.journals[wrong].restore

        def late(chunks):  # type: ignore[no-untyped-def]
            become = yield from restore(chunks)
            target = leader.last_index + 5
            for number in range(20, 25):
                data.append(b"%d" % number)
                proposed(leader, data[-1])
            while service.applied_index < target:
                yield
            return become

        group.journals[wrong].restore = late  # type: ignore[method-assign]
        group.holds_fetches.set()

        await eventually(lambda: len(data) == 25 and group.journals[wrong].data == data, within_seconds=10)


class OtherProgram(Journal):
    """Hashes other things, as a program of another version does."""

    def digest_steps(self) -> Generator[None, None, bytes]:
        yield
        return b"another " + b"x" * 32


async def test_states_of_programs_that_hash_other_things_are_not_compared(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **QUIET) as group:
        leader = await group.elected()
        data = await fill(leader, 5)
        other = next(peer for peer in group.voters if peer != group.id_of(leader))
        await eventually(lambda: group.journals[other].data == data)

        group.services[other]._state_check._state_machine = OtherProgram()
        plant(group.journals[other])
        third = next(peer for peer in group.voters if peer not in (other, group.id_of(leader)))
        plant(group.journals[third])

        await eventually(lambda: group.services[third].warnings, within_seconds=10)
        assert not group.services[other].warnings


async def test_a_check_is_given_up_when_something_is_applied_meanwhile(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **QUIET) as group:
        leader = await group.elected()
        began = asyncio.Event()

        def endless() -> Generator[None, None, bytes]:
            while True:
                began.set()
                yield

        group.journals[group.id_of(leader)].digest_steps = endless  # type: ignore[method-assign]
        await asyncio.wait_for(began.wait(), 10)
        await fill(leader, 1)

        await eventually(lambda: leader._state_check._task is None)


def test_a_heartbeat_tells_what_the_state_is_and_one_of_an_older_program_does_not() -> None:
    heartbeat = Heartbeat(sender=1, to=2, term=3, commit=4)
    checkpoint = Checkpoint(4, b"queue  1" + b"d" * 16)

    told = decode_frame(encode_frame(heartbeat, now=5, checkpoint=checkpoint), sender=1, to=2)

    assert (told.message, told.checkpoint) == (heartbeat, checkpoint)
    assert decode_frame(encode_frame(heartbeat, now=5), sender=1, to=2).checkpoint is None
    older = msgpack.packb(msgpack.unpackb(encode_frame(heartbeat, now=5))[:-2])
    assert decode_frame(older, sender=1, to=2).checkpoint is None
    answer = HeartbeatResponse(sender=1, to=2, term=3)
    assert decode_frame(encode_frame(answer, now=5, checkpoint=checkpoint), sender=1, to=2).checkpoint is None


@pytest.mark.parametrize("digest", [b"x" * 65])
def test_a_digest_over_its_bound_is_malformed(digest: bytes) -> None:
    frame = encode_frame(Heartbeat(sender=1, to=2, term=3, commit=4), now=5, checkpoint=Checkpoint(4, digest))

    with pytest.raises(MalformedMessage):
        decode_frame(frame, sender=1, to=2)
