"""Which chunks of a slug are asked of whom (the rules of `FetchPlan`), without a node or a disk."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pinode.slugs.fetch_plan import MOST_RUN, SLOW_SECONDS, FetchPlan


def deliver(plan: FetchPlan, holder: str, run: Sequence[int], *, now: float = 0.0) -> None:
    for chunk in run:
        assert plan.arrived(holder, chunk, now=now)


def test_holders_are_asked_for_different_chunks_in_runs_that_grow_shorter() -> None:
    plan = FetchPlan(chunks=100)
    plan.join("a")
    plan.join("b")

    runs = [plan.next_run("a", now=0), plan.next_run("b", now=0)]
    while not plan.is_complete:
        deliver(plan, "a", runs[-2])
        deliver(plan, "b", runs[-1])
        runs += [plan.next_run("a", now=0), plan.next_run("b", now=0)]

    assert sorted(chunk for run in runs for chunk in run) == list(range(100))
    assert len(runs[0]) == MOST_RUN and len(runs[-3]) <= 1


def test_what_a_dead_holder_owed_is_asked_of_another() -> None:
    plan = FetchPlan(chunks=4)
    plan.join("a")
    run = plan.next_run("a", now=0)
    assert list(run) == [0, 1]
    assert plan.arrived("a", 0, now=0)

    plan.leave("a")
    plan.join("b")

    assert list(plan.next_run("b", now=0)) == [1]


def test_chunks_from_before_are_not_asked_for() -> None:
    plan = FetchPlan(chunks=4, have=(0, 1, 3))
    plan.join("a")

    assert list(plan.next_run("a", now=0)) == [2]


def test_a_chunk_of_a_slow_holder_is_asked_of_one_other_and_the_first_to_deliver_counts() -> None:
    plan = FetchPlan(chunks=1)
    for holder in ("slow", "idle", "third"):
        plan.join(holder)
    assert plan.next_run("slow", now=0)
    assert not plan.next_run("idle", now=SLOW_SECONDS - 0.1)

    assert list(plan.next_run("idle", now=SLOW_SECONDS)) == [0]
    assert not plan.next_run("third", now=SLOW_SECONDS)

    assert plan.arrived("idle", 0, now=SLOW_SECONDS)
    assert not plan.is_awaited("slow")
    assert not plan.arrived("slow", 0, now=9)


def test_a_holder_whose_whole_slug_was_wrong_is_out() -> None:
    plan = FetchPlan(chunks=1)
    plan.join("liar")
    deliver(plan, "liar", plan.next_run("liar", now=0))

    plan.doubt()

    assert plan.is_liar("liar") and not plan.is_complete
    assert not plan.next_run("liar", now=0)


def test_of_two_who_delivered_a_wrong_slug_one_delivers_alone() -> None:
    plan = FetchPlan(chunks=4)
    for holder in ("a", "b"):
        plan.join(holder)
    while not plan.is_complete:
        for holder in ("a", "b"):
            deliver(plan, holder, plan.next_run(holder, now=0))

    plan.doubt()

    assert not plan.is_liar("a") and not plan.is_liar("b")
    alone = next(holder for holder in ("a", "b") if plan.next_run(holder, now=0))
    assert not plan.next_run("a" if alone == "b" else "b", now=0)


def test_before_a_holder_is_accused_what_lay_on_the_disk_is_fetched_anew() -> None:
    plan = FetchPlan(chunks=2, have=(0,))
    plan.join("a")
    deliver(plan, "a", plan.next_run("a", now=0))

    plan.doubt()

    assert not plan.is_liar("a")
    assert list(plan.next_run("a", now=0)) == [0]


def test_what_nobody_asked_for_is_not_kept() -> None:
    plan = FetchPlan(chunks=40)
    plan.join("a")
    plan.join("b")
    run = plan.next_run("a", now=0)

    assert not plan.arrived("a", run[-1] + 1, now=0)
    assert not plan.arrived("b", run[0], now=0)
    assert not plan.arrived("a", -1, now=0)


@dataclass(slots=True)
class Holder:
    """One that delivers chunks; each is right or, of a liar, sometimes wrong."""

    name: str
    lies: bool
    dies_after: int | None  # chunks
    pace: int  # chunks it sends in one turn; 0: it stalls
    owes: list[int] = field(default_factory=list)
    sent: int = 0
    heard_at: int = 0

    def is_gone(self, now: int) -> bool:
        is_dead = self.dies_after is not None and self.sent > self.dies_after
        return is_dead or bool(self.owes and now - self.heard_at > GIVEN_UP)


GIVEN_UP = 60  # turns of silence
HOLDERS = st.lists(
    st.tuples(st.booleans(), st.none() | st.integers(0, 30), st.integers(0, 3)), min_size=0, max_size=5
)


@settings(max_examples=400, deadline=None)
@given(chunks=st.integers(1, 60), others=HOLDERS, wrong_before=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_one_holder_that_tells_the_truth_and_stays_is_enough(
    chunks: int, others: list[tuple[bool, int | None, int]], wrong_before: bool, seed: int
) -> None:
    chance = random.Random(seed)
    here = {
        chunk: not wrong_before for chunk in range(chunks) if chance.random() < 0.2
    }  # chunk -> is it right
    plan = FetchPlan(chunks=chunks, have=here)
    holders = [Holder(f"h{number}", *how) for number, how in enumerate(others)]
    holders.append(Holder("true", lies=False, dies_after=None, pace=1))
    chance.shuffle(holders)
    for holder in holders:
        plan.join(holder.name)
    kept = 0

    for turn in range(2000 + 100 * chunks):
        holder = chance.choice(holders)
        if not holder.owes:
            holder.owes = list(plan.next_run(holder.name, now=turn))
            holder.heard_at = turn
            assert len(holder.owes) <= MOST_RUN
            assert all(chunk not in here for chunk in holder.owes), "nothing is asked that is here"
        for chunk in holder.owes[: holder.pace]:
            holder.owes.remove(chunk)
            holder.sent += 1
            holder.heard_at = turn
            if plan.arrived(holder.name, chunk, now=turn):
                assert chunk not in here, "nothing is kept twice"
                here[chunk] = not (holder.lies and chance.random() < 0.5)
                kept += 1
        if plan.is_complete:
            if all(here.values()):
                break
            plan.doubt()
            here = {chunk: right for chunk, right in here.items() if chunk not in plan.missing}
        if holder.is_gone(turn) or plan.is_liar(holder.name):
            plan.leave(holder.name)
            holders.remove(holder)
            here = {chunk: right for chunk, right in here.items() if chunk not in plan.missing}
        elif holder.owes and not plan.is_awaited(holder.name):
            plan.end_run(holder.name)
            holder.owes = []

    assert plan.is_complete and all(here.values())
    assert not plan.is_liar("true")
    assert kept <= (len(others) + 3) * chunks
