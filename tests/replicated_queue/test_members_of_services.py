"""Members that come, learn, vote and go, on running services: what the shell makes of the algorithm's changes."""

import asyncio
from pathlib import Path

import pytest

from replicated_queue.autopilot import Autopilot
from replicated_queue.errors import NotLeader, OutcomeUnknown
from replicated_queue.raft.autopilot import AutopilotRules
from replicated_queue.raft.membership import Change, ChangeKind, ChangeRefused, Membership
from replicated_queue.service import ReplicaService
from tests.replicated_queue.service_group import ServiceGroup, proposed
from tests.waiting import eventually

ADD, LEARN, REMOVE = ChangeKind.ADD_VOTER, ChangeKind.ADD_LEARNER, ChangeKind.REMOVE
FAST = {
    "heartbeat_seconds": 0.05,
    "learner_heartbeat_seconds": 0.2,
    "election_timeout_seconds": 0.3,
    "segment_bytes": 64 * 1024,
    "snapshot_floor_bytes": 100_000,
    "snapshot_factor": 1,
    "kept_log_bytes": 10_000,
}


async def fill(leader: ReplicaService, count: int) -> list[bytes]:
    data = [b"%d " % number * 200 for number in range(count)]
    for begin in range(0, count, 100):
        await asyncio.gather(*(proposed(leader, one) for one in data[begin : begin + 100]))
    return data


async def test_a_founder_that_only_learns_has_the_log_and_hears_the_leader(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, voters=(1,), learners=(2,), **FAST) as group:
        leader = await group.elected()

        await proposed(leader, b"one")

        learner = group.services[2]
        await eventually(lambda: group.journals[2].data == [b"one"])
        await eventually(lambda: learner.has_quorum and learner.leader_id == 1)
        assert learner.membership == leader.membership == Membership.of((1,), (2,))


async def test_a_lone_voter_goes_on_without_its_learner_and_the_learner_not_without_it(
    tmp_path: Path,
) -> None:
    async with ServiceGroup(tmp_path, voters=(1,), learners=(2,), **FAST) as group:
        leader = await group.elected()
        await group.stop(2)

        await proposed(leader, b"alone")

        learner = group.start(2)
        await eventually(lambda: group.journals[2].data == [b"alone"])
        await group.stop(1, resets_links=True)
        await eventually(lambda: not learner.has_quorum)
        assert not learner.is_leader


async def test_a_newcomer_gets_the_log_is_promoted_and_counts(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, voters=(1,), **FAST) as group:
        leader = await group.elected()
        await proposed(leader, b"before")
        for peer in (2, 3):
            group.start(peer)
            await leader.change_membership(Change(LEARN, peer))
            await eventually(lambda: all(one.is_active for one in leader.followers()))
            await leader.change_membership(Change(ADD, peer))
        await eventually(lambda: all(one.membership == leader.membership for one in group.services.values()))

        await group.stop(1, resets_links=True)
        successor = await group.elected()
        await proposed(successor, b"after")

        assert successor.membership == Membership.of((1, 2, 3))
        await eventually(
            lambda: all(group.journals[peer].data == [b"before", b"after"] for peer in group.services)
        )


async def test_a_newcomer_takes_a_snapshot_that_was_taken_before_it_came(tmp_path: Path) -> None:
    """Checklist 1.21: the snapshot does not name it, the log behind it does."""
    async with ServiceGroup(tmp_path, voters=(1,), **FAST) as group:
        leader = await group.elected()
        data = await fill(leader, 600)
        await eventually(
            lambda: leader._replica is not None and leader._replica.raft.log.base.index > 100,
            within_seconds=20,
        )
        newcomer = group.start(2)

        await leader.change_membership(Change(LEARN, 2))

        await eventually(lambda: group.journals[2].data == data, within_seconds=20)
        await eventually(lambda: newcomer.membership == Membership.of((1,), (2,)))
        assert group.fetched > 0


async def test_who_belongs_is_known_again_after_a_restart_from_log_and_from_snapshot(tmp_path: Path) -> None:
    """Checklist 1.21."""
    async with ServiceGroup(tmp_path, voters=(1,), **FAST) as group:
        leader = await group.elected()
        group.start(2)
        await leader.change_membership(Change(LEARN, 2))
        await group.stop(1)
        leader = group.start(1)
        await group.elected()
        await eventually(lambda: leader.membership == Membership.of((1,), (2,)))
        await fill(leader, 600)
        await eventually(lambda: leader._replica is not None and leader._replica.raft.log.base.index > 100)
        await group.stop(1)
        await group.stop(2)

        for peer in (1, 2):
            group.start(peer)

        for peer in (1, 2):
            known = group.services[peer]
            await eventually(lambda known=known: known.membership == Membership.of((1,), (2,)))


async def test_a_removed_leader_steps_down_and_the_others_elect_one_of_themselves(tmp_path: Path) -> None:
    """Checklist 1.22."""
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        gone = group.id_of(leader)
        told: list[Membership] = []
        leader.on_membership(told.append)

        await leader.change_membership(Change(REMOVE, gone))

        await eventually(lambda: not leader.is_leader)
        assert told and gone not in told[-1]
        successor = await group.elected()
        assert group.id_of(successor) != gone
        await proposed(successor, b"without it")
        assert not group.journals[gone].data


async def test_a_lone_voter_has_nobody_to_hand_over_to_and_does_not_wait(tmp_path: Path) -> None:
    settings = {**FAST, "election_timeout_seconds": 60.0}
    async with ServiceGroup(tmp_path, voters=(1,), learners=(2,), **settings) as group:
        leader = await group.elected()

        async with asyncio.timeout(30):
            await leader.transfer_leadership()

        assert leader.is_leader


async def test_a_removed_node_that_goes_on_disrupts_nobody(tmp_path: Path) -> None:
    """Checklist 1.22."""
    async with ServiceGroup(tmp_path, voters=(1, 2, 3, 4), **FAST) as group:
        leader = await group.elected()
        removed = next(peer for peer in group.voters if peer != group.id_of(leader))
        group.cut_off = {removed}  # so that it never hears of it
        await leader.change_membership(Change(REMOVE, removed))
        term = leader.term
        group.cut_off = set()
        outsider = group.services[removed]
        await eventually(lambda: outsider.leader_id is None)

        await proposed(leader, b"undisturbed")

        assert leader.is_leader and leader.term == term
        assert outsider.term <= term


async def test_only_the_leader_changes_who_belongs_and_one_step_at_a_time(tmp_path: Path) -> None:
    """Checklist 1.20."""
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        follower = next(one for one in group.services.values() if one is not leader)
        with pytest.raises(NotLeader):
            await follower.change_membership(Change(LEARN, 4))
        await proposed(leader, b"opened")

        answers = await asyncio.gather(
            leader.change_membership(Change(LEARN, 4)),
            leader.change_membership(Change(LEARN, 5)),
            return_exceptions=True,
        )

        assert answers[0] is None and isinstance(answers[1], ChangeRefused)
        await eventually(lambda: all(4 in one.membership for one in group.services.values()))


async def test_a_change_whose_leader_was_cut_off_has_an_unknown_outcome(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        await proposed(leader, b"opened")
        group.cut_off = {group.id_of(leader)}

        with pytest.raises(OutcomeUnknown):
            await leader.change_membership(Change(LEARN, 4))

        successor = await group.elected()
        assert 4 not in successor.membership


class Piloted:
    """A group whose replicas have autopilots, over one register of nodes: id, and whether it is alive."""

    def __init__(self, group: ServiceGroup, **rules: float) -> None:
        self.registered: dict[int, bool] = {}
        self._group = group
        self._rules = AutopilotRules(**rules)  # type: ignore[arg-type]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Piloted":
        for peer in list(self._group.services):
            self.fly(peer)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def fly(self, peer: int) -> None:
        """A node is there, registered and alive."""
        self.registered[peer] = True
        pilot = Autopilot(
            self._group.services[peer], lambda: self.registered, rules=self._rules, round_seconds=0.02
        )
        self._tasks.append(asyncio.get_running_loop().create_task(pilot.run()))


async def test_an_autopilot_takes_in_who_is_registered_and_makes_three_of_them_voters(tmp_path: Path) -> None:
    """Checklist 1.23."""
    async with ServiceGroup(tmp_path, voters=(1,), **FAST) as group:
        leader = await group.elected()
        await proposed(leader, b"alone")
        async with Piloted(group, stable_seconds=0.3, calm_seconds=0.3) as piloted:
            group.start(2)
            piloted.fly(2)
            await eventually(lambda: leader.membership == Membership.of((1,), (2,)))
            group.start(3)
            piloted.fly(3)
            await eventually(lambda: leader.membership == Membership.of((1, 2, 3)))
            group.start(4)
            piloted.fly(4)
            await eventually(lambda: leader.membership == Membership.of((1, 2, 3), (4,)))

            await group.stop(1, resets_links=True)

            successor = await group.elected()
            await proposed(successor, b"without it")


async def test_an_autopilot_replaces_a_voter_that_is_gone_and_one_that_is_removed(tmp_path: Path) -> None:
    """Checklist 1.26."""
    async with ServiceGroup(tmp_path, learners=(4, 5), **FAST) as group:
        leader = await group.elected()
        me = group.id_of(leader)
        gone, removed = (peer for peer in group.voters if peer != me)
        async with Piloted(group, stable_seconds=0.3, calm_seconds=0.3, gone_seconds=1.5) as piloted:
            await group.stop(gone)
            piloted.registered[gone] = False
            await eventually(lambda: set(leader.membership.voters.ids) == {me, removed, 4}, within_seconds=15)
            assert gone in leader.membership.learners

            del piloted.registered[removed]

            await eventually(lambda: set(leader.membership.voters.ids) == {me, 4, 5}, within_seconds=15)
            assert removed not in leader.membership


async def test_a_leader_that_is_removed_from_the_register_hands_over_and_is_taken_out(tmp_path: Path) -> None:
    """Checklist 1.22."""
    async with ServiceGroup(tmp_path, learners=(4,), **FAST) as group:
        leader = await group.elected()
        me = group.id_of(leader)
        async with Piloted(group, stable_seconds=0.2, calm_seconds=0.2) as piloted:
            del piloted.registered[me]

            def is_out() -> bool:
                heir = group.leader
                return heir is not None and heir is not leader and me not in heir.membership

            await eventually(is_out, within_seconds=15)
            assert set(group.leader.membership.voters.ids) == {1, 2, 3, 4} - {me}  # type: ignore[union-attr]
