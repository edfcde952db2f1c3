"""A rotation of the cluster key, in any order of what can happen: nobody is lost, and nobody removed gets it."""

import os
from pathlib import Path

import pytest

from pinode.nodes.commands import (
    AddNode,
    AdoptKey,
    AdvanceKeyRotation,
    ConfirmKey,
    CreateJoinToken,
    OfferKey,
    RemoveNode,
    RotateKey,
)
from pinode.nodes.errors import JoinTokenRefused, KeyRotationUnderWay
from pinode.nodes.key_rotation import KeyRotation, next_step, waits_for
from pinode.nodes.node_table import ROTATIONS, NodeTable
from pinode.peers.held_keys import HeldKeys
from pinode.peers.key_door import NoKeys
from tests.pinode.fake_cluster import node_view
from tests.pinode.key_world import FIRST_KEY, KeyWorld
from tests.pinode.test_node_table import founder, joining, removing

ONE, TWO, THREE = (f"{number:016x}" for number in (1, 2, 3))
TOKEN = b"t" * 32


def table_of(count: int = 3) -> NodeTable:
    return NodeTable([founder(number) for number in range(1, count + 1)])


def rotating(stage: str = "wanted") -> NodeTable:
    """Three nodes, of which the first has drawn the key `new`."""
    table = table_of()
    table.apply(RotateKey(by="ada"), now=5)
    if stage != "wanted":
        table.apply(OfferKey(generation=1, mark="new", previous="old", node_id=ONE), now=6)
    for following in ("use", "done"):
        if stage in (following, "done") and table_stage(table) != stage:
            table.apply(AdvanceKeyRotation(generation=1, mark="new", stage=following), now=7)  # type: ignore[arg-type]
    assert table_stage(table) == stage
    return table


def table_stage(table: NodeTable) -> str:
    assert table.key_rotation
    return table.key_rotation.stage


def step_of(
    table: NodeTable, *, away: tuple[str, ...] = (), marks: tuple[str, ...] = ("old", "new")
) -> object:
    views = [
        node_view(int(known.node_id, 16), known.name) for known in table.all() if known.node_id not in away
    ]
    return next_step(table.key_rotation, views, own_id=ONE, own_marks=marks)


# -- what is agreed ----------------------------------------------------------------------------------------


def test_tokens_given_out_before_are_worthless_and_none_is_made_until_it_is_over() -> None:
    table = table_of()
    table.apply(CreateJoinToken(token_hash=TOKEN, lifetime_ms=1_000, by="ada"), now=1)

    table.apply(RotateKey(by="ada"), now=2)

    with pytest.raises(JoinTokenRefused):
        table.apply(joining(4, token_hash=TOKEN), now=3)
    with pytest.raises(KeyRotationUnderWay):
        table.apply(CreateJoinToken(token_hash=TOKEN, lifetime_ms=1_000, by="ada"), now=3)


def test_whoever_holds_the_old_key_is_not_let_in_as_a_new_node_to_get_the_new_one() -> None:
    table = rotating("install")

    with pytest.raises(KeyRotationUnderWay):
        table.apply(joining(4), now=8)
    table.apply(joining(3, host="10.0.0.33"), now=8)

    known = table.get(THREE)
    assert known is not None and known.host == "10.0.0.33", "a node that is one may say where it is"
    assert table.get(f"{4:016x}") is None


def test_a_second_rotation_waits_for_the_first_and_is_counted_on() -> None:
    table = rotating("use")
    with pytest.raises(KeyRotationUnderWay):
        table.apply(RotateKey(by="ada"), now=8)

    table.apply(AdvanceKeyRotation(generation=1, mark="new", stage="done"), now=8)

    assert table.apply(RotateKey(by="ada"), now=9) == 2
    assert table.was_rotated_away("old") and not table.was_rotated_away("new")


def test_a_node_that_is_removed_while_the_key_is_given_out_may_have_it_and_another_is_drawn() -> None:
    table = rotating("install")

    table.apply(removing(3), now=8)

    assert table.key_rotation == KeyRotation(generation=1, by="ada", began_at_ms=5, previous="old")
    assert step_of(table) == "draw"


def test_what_comes_too_late_or_twice_changes_nothing() -> None:
    table = rotating("use")
    before = table.key_rotation

    for late in (
        OfferKey(generation=1, mark="other", previous="old", node_id=TWO),
        OfferKey(generation=1, mark="other", previous="old", node_id=TWO, instead_of="new"),
        ConfirmKey(generation=1, mark="new", stage="install", node_id=TWO),
        ConfirmKey(generation=1, mark="other", stage="use", node_id=TWO),
        ConfirmKey(generation=2, mark="new", stage="use", node_id=TWO),
        ConfirmKey(generation=1, mark="new", stage="use", node_id="9" * 16),
        AdvanceKeyRotation(generation=1, mark="new", stage="use"),
        AdvanceKeyRotation(generation=1, mark="other", stage="done"),
    ):
        table.apply(late, now=9)

    assert table.key_rotation == before


def test_rotations_are_bounded_and_come_back_from_a_snapshot() -> None:
    table = table_of()
    for number in range(1, ROTATIONS + 10):
        table.apply(RotateKey(by="ada"), now=1)
        table.apply(OfferKey(generation=number, mark=f"m{number}", previous="p", node_id=ONE), now=1)
        for stage in ("use", "done"):
            table.apply(AdvanceKeyRotation(generation=number, mark=f"m{number}", stage=stage), now=1)  # type: ignore[arg-type]
    again, reread = NodeTable(), list(table.rows())
    rebuilt = again.rebuild()
    for row in reread:
        rebuilt.take(row)
    rebuilt.become()

    assert len([row for row in reread if row[0] == "_rotations"]) == ROTATIONS
    assert again.key_rotation == table.key_rotation and again.digest() == table.digest()


# -- what the leader does next -----------------------------------------------------------------------------


def test_the_leader_draws_a_key_waits_for_all_in_reach_and_goes_on() -> None:
    table, seen = rotating("wanted"), []
    seen.append(step_of(table))
    table.apply(OfferKey(generation=1, mark="new", previous="old", node_id=ONE), now=6)
    for stage in ("install", "use"):
        for node_id in (ONE, TWO, THREE):
            seen.append(step_of(table))
            table.apply(ConfirmKey(generation=1, mark="new", stage=stage, node_id=node_id), now=7)  # type: ignore[arg-type]
        step = step_of(table)
        assert isinstance(step, AdvanceKeyRotation)
        seen.append(step.stage)
        table.apply(step, now=8)

    assert seen == ["draw", None, None, None, "use", None, None, None, "done"]
    assert step_of(table) is None


def test_who_is_off_is_not_waited_for_and_who_is_suspect_is() -> None:
    table = rotating("install")
    table.apply(ConfirmKey(generation=1, mark="new", stage="install", node_id=TWO), now=7)
    rotation = table.key_rotation
    assert rotation is not None
    views = [node_view(3, "pi3")]

    assert [node.name for node in waits_for(rotation, views)] == ["pi3"]
    assert step_of(table) is None
    assert isinstance(step_of(table, away=(THREE,)), AdvanceKeyRotation)


def test_another_key_is_drawn_when_nobody_in_reach_has_the_one_that_was_offered() -> None:
    table = table_of()
    table.apply(RotateKey(by="ada"), now=5)
    table.apply(OfferKey(generation=1, mark="new", previous="old", node_id=TWO), now=6)

    assert step_of(table, marks=("old",)) is None, "the second node has it, and is there"
    assert step_of(table, marks=("old",), away=(TWO,)) == "draw"
    table.apply(OfferKey(generation=1, mark="newer", previous="old", node_id=ONE, instead_of="new"), now=7)
    assert table.key_rotation is not None
    assert (table.key_rotation.mark, table.key_rotation.ready) == ("newer", (ONE,))


# -- nodes -------------------------------------------------------------------------------------------------


async def test_three_nodes_rotate_and_one_that_was_off_fetches_the_new_key_by_itself(tmp_path: Path) -> None:
    world = KeyWorld(tmp_path, 3, seed=1)
    await world.heal()
    first = world.leader
    assert first is not None
    third = next(node for node in world.registered if node is not first)
    third.is_on = False
    for _ in range(2):
        await first.execute(RotateKey(by="ada"))
        for _ in range(12):
            for node in world.on:
                node.apply(len(world.log))
                await node.look()
    assert {node.held.generation for node in world.on} == {2}
    assert not set(third.held.marks) & set(first.held.marks), "it can neither speak nor hear"

    third.start()
    await third.look()

    assert third.held == first.held
    assert third.secrets.open(
        first.secrets.seal(b"value", purpose=b"p", nonce=os.urandom(12)), purpose=b"p"
    ) == (b"value")


async def test_a_removed_node_is_told_so_and_a_stranger_with_the_old_key_that_it_is_old(
    tmp_path: Path,
) -> None:
    world = KeyWorld(tmp_path, 4, seed=2)
    await world.heal()
    first = world.leader
    assert first is not None
    lost = next(node for node in world.registered if node is not first)
    lost.is_on = False
    await first.execute(RemoveNode(node_id=lost.node_id, by="ada"))
    await first.execute(RotateKey(by="ada"))
    await world.heal()

    removed = first.judge(lost.node_id, lost.held.marks, 0)
    stranger = first.judge("9" * 16, HeldKeys(in_use=FIRST_KEY).marks, 0)
    nobody = first.judge("9" * 16, ("0" * 16,), 0)
    lost.start()
    await lost.look()

    assert [one.code for one in (removed, stranger, nobody) if isinstance(one, NoKeys)] == [
        "removed",
        "key_rotated",
        "unknown_node",
    ]
    assert lost.removals_told and lost.held == HeldKeys(in_use=FIRST_KEY)


SEEDS = [*range(12), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(12, 200))]


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_everyone_ends_with_the_newest_key_and_nobody_removed_has_it(
    tmp_path: Path, seed: int
) -> None:
    """Nodes are switched off and on between any two steps, lag, lead in turns, are removed and spy."""
    world = KeyWorld(tmp_path, 4 + seed % 2, seed=seed)
    await world.heal()

    for _ in range(250):
        await world.anything()
    await world.heal()
    world.spy()

    assert world.is_settled(), world.table_of_all.key_rotation


TELLING = (40, 45, 92, 147)  # where a key was agreed on that nobody is left to give
RECOVERIES = [
    *TELLING,
    *range(4),
    *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(4, 200) if seed not in TELLING),
]


@pytest.mark.parametrize("seed", RECOVERIES)
async def test_a_node_that_is_recovered_from_any_step_goes_on_with_its_key_and_can_rotate_again(
    tmp_path: Path, seed: int
) -> None:
    """Its log may lack the rotation whose key it was told, or end in one whose key it was never given."""
    world = KeyWorld(tmp_path, 3, seed=seed)
    await world.heal()
    for _ in range(50 + seed % 50):
        await world.anything()
    survivor = world.random.choice(world.registered)

    world.recover(survivor)
    await world.heal()

    assert [node.number for node in world.registered] == [survivor.number]
    assert not survivor.table.was_rotated_away(survivor.secrets.mark), "its values may enter the log"
    rotation = survivor.table.key_rotation
    assert rotation is None or (rotation.is_over and survivor.held.marks == (rotation.mark,))
    before = survivor.secrets.mark
    await survivor.execute(RotateKey(by="ada"))
    await world.heal()
    assert world.is_settled() and survivor.secrets.mark != before
    assert survivor.table.was_rotated_away(before)


def test_the_key_of_the_node_that_is_left_counts_also_where_another_had_taken_its_place() -> None:
    table = rotating("done")
    adopt = AdoptKey(generation=0, mark="old", by="recover")

    table.apply(adopt, now=8)
    assert table.was_rotated_away("old"), "others are registered: their key counts"
    for number in (2, 3):
        table.apply(removing(number), now=8)
    table.apply(adopt, now=9)

    assert table.key_rotation is not None and table.key_rotation.mark == "old"
    assert table.key_rotation.is_over and table.key_rotation.generation == 2
    assert table.was_rotated_away("new") and not table.was_rotated_away("old")


def test_a_key_that_was_never_rotated_or_is_agreed_on_already_is_no_news() -> None:
    never, done = table_of(1), rotating("done")
    for number in (2, 3):
        done.apply(removing(number), now=8)
    before = done.key_rotation

    never.apply(AdoptKey(generation=0, mark="old", by="recover"), now=9)
    done.apply(AdoptKey(generation=1, mark="new", by="recover"), now=9)

    assert never.key_rotation is None and done.key_rotation == before


def test_a_rotation_that_was_under_way_is_over_with_the_key_of_the_node_that_is_left() -> None:
    table = rotating("use")
    for number in (2, 3):
        table.apply(removing(number), now=8)

    table.apply(AdoptKey(generation=1, mark="new", by="recover"), now=9)

    assert table.key_rotation is not None and table.key_rotation.is_over
    assert table.was_rotated_away("old") and not table.was_rotated_away("new")
    assert len([row for row in table.rows() if row[0] == "_rotations"]) == 1, "all but the last are over"


def test_a_command_of_a_rotation_carries_no_secret() -> None:
    for kind in (RotateKey, OfferKey, ConfirmKey, AdvanceKeyRotation, AdoptKey, AddNode):
        assert not {"key", "secret"} & set(kind.__dataclass_fields__)
