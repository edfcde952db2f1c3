"""With one voter and a learner in reach, an answer waits for the learner's disk too, but not for long."""

from pathlib import Path
from random import Random

from replicated_queue.codec import Frame
from replicated_queue.raft.config import RaftConfig
from replicated_queue.raft.log import RaftLog
from replicated_queue.raft.membership import Membership
from replicated_queue.raft.messages import AppendResponse, HeartbeatResponse, Message
from replicated_queue.raft.raft import Raft
from replicated_queue.replica import Replica
from replicated_queue.second_copy import WAIT_SECONDS, SecondCopy, waits_for_learner
from replicated_queue.service import ONE_COPY
from replicated_queue.storage.disk import Disk
from tests.replicated_queue.service_group import Journal, ServiceGroup, proposed
from tests.replicated_queue.test_slow_disks import StallingDisk
from tests.waiting import eventually


class Leader:
    """Voter 1 of a group with these learners, and the results that it holds."""

    def __init__(self, *learners: int) -> None:
        self.now = 100.0
        self.copies = SecondCopy()
        raft = Raft(
            me=1,
            membership=Membership.of((1,), learners),
            random=Random(1),
            config=RaftConfig(learner_beats=4),
            log=RaftLog(),
        )
        self.replica = Replica(raft=raft, state_machine=Journal(), tick_seconds=0.01, now=self.now)
        raft.campaign()
        self.turn()
        for learner in learners:
            self.hear(HeartbeatResponse(sender=learner, to=1, term=raft.term))

    def hear(self, message: Message) -> None:
        self.replica.receive(Frame(message, 0), now=self.now)

    def copied(self, learner: int, index: int) -> None:
        self.hear(AppendResponse(sender=learner, to=1, term=self.replica.raft.term, index=index))

    def put(self) -> int:
        index = self.replica.propose([b"put"], now=self.now)
        self.turn()
        return index

    def turn(self) -> None:
        while (ready := self.replica.ready()) is not None:
            self.replica.raft.persisted(ready.term, ready.last_index)
            for index, result in self.replica.apply(ready.committed):
                self.copies.hold(index, result, now=self.now)

    def answered(self) -> list[int]:
        return [index for index, _ in self.copies.release(self.replica, now=self.now)]


def test_an_answer_waits_until_a_learner_has_its_entry_on_the_disk() -> None:
    leader = Leader(2, 3)
    first, second = leader.put(), leader.put()
    assert leader.answered() == []

    leader.copied(3, first)

    assert leader.answered() == [first]
    leader.copied(2, second)
    assert leader.answered() == [second]


def test_a_learner_that_takes_too_long_is_not_waited_for_again_until_it_has_caught_up() -> None:
    leader = Leader(2)
    first = leader.put()
    assert leader.copies.next_deadline() == leader.now + WAIT_SECONDS

    leader.now += WAIT_SECONDS
    assert leader.answered() == [first]
    second = leader.put()
    assert leader.answered() == [second] and leader.copies.is_missed

    leader.copied(2, second)
    leader.answered()
    assert not leader.copies.is_missed
    leader.put()
    assert leader.answered() == []


def test_nobody_waits_for_a_learner_that_is_out_of_reach() -> None:
    leader = Leader(2)
    leader.now += 60.0

    index = leader.put()

    assert leader.answered() == [index] and not leader.copies.is_missed


def test_only_a_lone_voter_with_learners_waits() -> None:
    assert waits_for_learner(Leader(2).replica)
    assert not waits_for_learner(Leader().replica)


async def test_a_learner_whose_disk_stands_still_costs_a_warning_and_no_answer(tmp_path: Path) -> None:
    disks: dict[Path, StallingDisk] = {}

    def open_disk(directory: Path) -> Disk:
        disks[directory] = StallingDisk(directory)
        return disks[directory]

    async with ServiceGroup(tmp_path, voters=(1,), learners=(2,), open_disk=open_disk) as group:
        leader = await group.elected()
        await eventually(lambda: all(one.is_active for one in leader.followers()))
        await proposed(leader, b"on two disks")
        await eventually(lambda: leader.warnings == ())
        disks[tmp_path / "2"].go.clear()

        await proposed(leader, b"on one")

        assert leader.warnings == (ONE_COPY,)
        disks[tmp_path / "2"].go.set()
        await eventually(lambda: leader.warnings == ())
