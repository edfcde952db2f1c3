"""Everything that is agreed survives a snapshot, also what is added to it tomorrow (checklist 1.28)."""

from random import Random

import pytest

from pinode.apps.tables import Table
from pinode.cluster_state import ClusterState
from pinode.people.commands import Register, StartSession
from pinode.people.people import People
from pinode.people.user import User
from replicated_queue.interfaces import CUT
from tests.pinode.agreement import SETUP_CODE_HASH, Agreement
from tests.pinode.test_registry_invariants import Life, random_step
from tests.replicated_queue.test_snapshots_of_state import finish


def with_people(agreed: Agreement) -> None:
    agreed.do(Register(name="ada", password_hash=b"hash", setup_code_hash=SETUP_CODE_HASH))
    agreed.do(Register(name="bob", password_hash=b"hash", created_by="ada", email="bob@example.org"))
    for number in range(3):
        agreed.do(
            StartSession(
                user="ada", token_hash=bytes([number]) * 32, lifetime_ms=1_000_000, label=f"label {number}"
            )
        )


def restored(state: ClusterState) -> ClusterState:
    other = ClusterState(setup_code_hash=SETUP_CODE_HASH)
    finish(other.restore([chunk for chunk in state.snapshot() if chunk != CUT]))
    return other


@pytest.mark.parametrize("seed", range(20))
def test_a_restored_cluster_state_is_equal_and_does_the_same_with_all_that_follows(seed: int) -> None:
    random, life = Random(seed), Life()
    with_people(life.agreed)
    for _ in range(120):
        life.step(random_step(random, life.agreed.registry))

    other, cut = restored(life.agreed.state), life.agreed.index

    assert other.digest() == life.agreed.state.digest()
    assert other.registry.size_bytes == life.agreed.registry.size_bytes
    assert other.registry.unfinished_builds() == life.agreed.registry.unfinished_builds()
    assert other.people.sessions_of("ada") == life.agreed.people.sessions_of("ada")
    for _ in range(80):
        life.step(random_step(random, life.agreed.registry))
    for index, (entry, now) in enumerate(life.agreed.log[cut:], cut + 1):
        other.apply(entry, index=index, now=now)
    assert other.digest() == life.agreed.state.digest()


def test_whoever_holds_the_state_goes_on_holding_it_after_a_restoration() -> None:
    agreed, other = Agreement(), ClusterState(setup_code_hash=SETUP_CODE_HASH)
    agreed.create()
    queue, registry, people = other.queue, other.registry, other.people

    finish(other.restore([chunk for chunk in agreed.state.snapshot() if chunk != CUT]))

    assert (other.queue, other.registry, other.people) == (queue, registry, people)
    assert registry.app("blog") == agreed.registry.app("blog")


def test_a_table_that_is_added_to_the_registry_is_carried_hashed_and_counted_unasked() -> None:
    agreed = Agreement()
    agreed.create()
    tables = agreed.registry._tables
    before = tables.digest(), tables.size_bytes
    tables.new_table = Table(User)  # type: ignore[attr-defined]

    tables.new_table.put("x", User(name="x", password_hash=b"", role="member", created_at_ms=0))  # type: ignore[attr-defined]

    assert "new_table" in [row[0] for row in agreed.registry.rows()]
    assert tables.digest() != before[0] and tables.size_bytes > before[1]


def test_a_table_of_people_that_is_not_declared_refuses_to_be_forgotten() -> None:
    people = People(setup_code_hash=b"")
    people._new_table = {}  # type: ignore[attr-defined]

    with pytest.raises(AssertionError, match="_new_table"):
        people.rows()
