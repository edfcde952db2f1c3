"""Releases and placements: one live, at most one coming up, dynos only where they were decided."""

from typing import Any

import pytest

from pinode.apps.commands import (
    FailRelease,
    HoldSlug,
    MakeReleaseLive,
    Place,
    Rollback,
    SetConfig,
    Unplace,
)
from pinode.apps.errors import (
    AlreadyPlaced,
    CannotRollBackTo,
    InvalidValue,
    NothingToRollBackTo,
    PlacementNotFound,
    ProcessTypeNotFound,
    ReleaseNotFound,
    ReleaseNotPending,
    SlugNotFound,
)
from pinode.apps.release import Release
from pinode.apps.release_changes import ALWAYS_KEPT, NEVER_SERVED_KEPT, RELEASES_KEPT, SLUG_BYTES_KEPT
from tests.pinode.agreement import Agreement


@pytest.fixture
def agreed() -> Agreement:
    agreement = Agreement()
    agreement.create()
    agreement.deploy()
    return agreement


def place(version: int, *, node_id: str = "a", ordinal: int = 1, replaces: int | None = None) -> Place:
    return Place(
        app="blog", version=version, process_type="web", ordinal=ordinal, node_id=node_id, replaces=replaces
    )


def states(agreed: Agreement) -> list[str]:
    return [release.state for release in reversed(agreed.registry.releases("blog"))]


def test_making_a_release_live_supersedes_the_one_before(agreed: Agreement) -> None:
    agreed.do(MakeReleaseLive(app="blog", version=1))
    agreed.deploy(slug="2")

    agreed.do(MakeReleaseLive(app="blog", version=2))

    assert states(agreed) == ["superseded", "live"]
    app, live = agreed.registry.app("blog"), agreed.registry.live_release("blog")
    assert app is not None and app.live_version == 2
    assert live is not None and live.version == 2


def test_making_it_live_again_changes_nothing(agreed: Agreement) -> None:
    agreed.do(MakeReleaseLive(app="blog", version=1))
    before = agreed.registry.digest()

    agreed.do(MakeReleaseLive(app="blog", version=1))

    assert agreed.registry.digest() == before


def test_a_failed_release_loses_its_placements_and_the_live_one_keeps_its_own(agreed: Agreement) -> None:
    agreed.do(MakeReleaseLive(app="blog", version=1))
    serving = agreed.do(place(1))
    agreed.deploy(slug="2")
    agreed.do(place(2))

    agreed.do(FailRelease(app="blog", version=2, failure="never listened on PORT"))

    assert states(agreed) == ["live", "failed"]
    assert [one.number for one in agreed.registry.placements()] == [serving]
    failed = agreed.registry.release("blog", 2)
    assert failed is not None and failed.failure == "never listened on PORT"
    with pytest.raises(ReleaseNotPending):
        agreed.do(MakeReleaseLive(app="blog", version=2))


def test_a_live_release_cannot_fail(agreed: Agreement) -> None:
    agreed.do(MakeReleaseLive(app="blog", version=1))

    with pytest.raises(ReleaseNotPending):
        agreed.do(FailRelease(app="blog", version=1, failure="x"))


def test_a_newer_pending_release_supersedes_an_older_one_with_its_placements(agreed: Agreement) -> None:
    agreed.do(place(1))

    agreed.do(SetConfig(app="blog", set_values={"A": b"1"}, actor="ada"))

    assert states(agreed) == ["superseded", "pending"]
    assert not agreed.registry.placements()


def test_config_after_a_failed_first_release_gives_it_another_chance(agreed: Agreement) -> None:
    agreed.do(FailRelease(app="blog", version=1, failure="SECRET_KEY is missing"))

    agreed.do(SetConfig(app="blog", set_values={"SECRET_KEY": b"1"}, actor="ada"))

    assert states(agreed) == ["failed", "pending"]


def test_config_after_a_failed_release_builds_on_the_live_one(agreed: Agreement) -> None:
    agreed.do(MakeReleaseLive(app="blog", version=1))
    agreed.deploy(slug="2")
    agreed.do(FailRelease(app="blog", version=2, failure="x"))

    agreed.do(SetConfig(app="blog", set_values={"A": b"1"}, actor="ada"))

    newest = agreed.registry.newest_release("blog")
    assert newest is not None and newest.slug_digest == "1" * 64


def serve(agreed: Agreement, **fields: Any) -> int:
    """Deploy and make it live; its version."""
    version = agreed.deploy(**fields)
    agreed.do(MakeReleaseLive(app="blog", version=version))
    return version


def roll_back(agreed: Agreement, version: int | None = None) -> Release:
    made = agreed.do(Rollback(app="blog", version=version, actor="bob"))
    release = agreed.registry.release("blog", made)
    assert release is not None
    return release


def test_a_rollback_is_a_new_release_of_the_old_code_config_and_process_types(agreed: Agreement) -> None:
    agreed.do(MakeReleaseLive(app="blog", version=1))
    agreed.do(SetConfig(app="blog", set_values={"A": b"1"}, actor="ada"))
    agreed.do(MakeReleaseLive(app="blog", version=2))
    serve(agreed, slug="2", process_types={"web": "new"})

    release = roll_back(agreed, 1)

    old = agreed.registry.release("blog", 1)
    assert old is not None
    assert (release.version, release.state, release.description) == (4, "pending", "Rollback to v1")
    assert (release.created_by, release.commit, release.build_id) == ("bob", old.commit, old.build_id)
    assert release.slug_digest == old.slug_digest and release.process_types == old.process_types
    app = agreed.registry.app("blog")
    assert app is not None and app.config.values == release.config.values == {}


def test_a_rollback_without_a_version_goes_to_what_served_before_and_back_again(agreed: Agreement) -> None:
    agreed.do(MakeReleaseLive(app="blog", version=1))
    serve(agreed, slug="2")
    failed = agreed.deploy(slug="3")
    agreed.do(FailRelease(app="blog", version=failed, failure="x"))

    back = roll_back(agreed)
    agreed.do(MakeReleaseLive(app="blog", version=back.version))
    forth = roll_back(agreed)

    assert (back.slug_digest, forth.slug_digest) == ("1" * 64, "2" * 64)


def test_a_rollback_while_a_release_comes_up_stays_with_what_serves(agreed: Agreement) -> None:
    agreed.do(MakeReleaseLive(app="blog", version=1))
    agreed.deploy(slug="2")

    release = roll_back(agreed)

    assert release.slug_digest == "1" * 64
    assert states(agreed) == ["live", "superseded", "pending"]


def test_only_what_served_and_does_not_serve_now_can_be_rolled_back_to(agreed: Agreement) -> None:
    with pytest.raises(NothingToRollBackTo):
        roll_back(agreed)
    with pytest.raises(CannotRollBackTo):
        roll_back(agreed, 1)
    agreed.do(MakeReleaseLive(app="blog", version=1))
    with pytest.raises(CannotRollBackTo):
        roll_back(agreed, 1)
    with pytest.raises(NothingToRollBackTo):
        roll_back(agreed)
    with pytest.raises(ReleaseNotFound):
        roll_back(agreed, 9)


def test_old_releases_and_their_slugs_are_forgotten_but_never_the_live_one(agreed: Agreement) -> None:
    agreed.do(MakeReleaseLive(app="blog", version=1))
    for number in range(2, 40):
        serve(agreed, slug=f"{number % 16:x}")

    versions = [release.version for release in agreed.registry.releases("blog")]
    assert versions == [39, *range(38, 38 - RELEASES_KEPT, -1)]
    assert {slug.digest for slug in agreed.registry.slugs()} == {
        release.slug_digest for release in agreed.registry.releases("blog")
    }


def test_releases_that_fail_do_not_push_out_those_that_can_be_rolled_back_to(agreed: Agreement) -> None:
    agreed.do(MakeReleaseLive(app="blog", version=1))
    serve(agreed, slug="2")
    for _ in range(40):
        agreed.do(FailRelease(app="blog", version=agreed.deploy(slug="3"), failure="x"))

    versions = [release.version for release in agreed.registry.releases("blog")]
    assert versions == [*range(42, 41 - NEVER_SERVED_KEPT, -1), 2, 1]
    assert roll_back(agreed).slug_digest == "1" * 64


def test_large_slugs_are_kept_for_fewer_releases(agreed: Agreement) -> None:
    agreed.do(MakeReleaseLive(app="blog", version=1))
    for number in range(2, 12):
        serve(agreed, slug=f"{number % 16:x}", slug_bytes=SLUG_BYTES_KEPT // 3)
    kept = [release.version for release in agreed.registry.releases("blog")]
    for number in range(12, 16):
        serve(agreed, slug=f"{number % 16:x}", slug_bytes=SLUG_BYTES_KEPT * 2)

    assert kept == [11, 10, 9, 8]
    assert len(agreed.registry.releases("blog")) == 1 + ALWAYS_KEPT


def test_a_placement_is_numbered_by_the_entry_that_decided_it(agreed: Agreement) -> None:
    number = agreed.do(place(1, node_id="b"))

    assert number == agreed.index
    (placed,) = agreed.registry.placements_on("b")
    assert (placed.number, placed.dyno, placed.version) == (number, "web.1", 1)


def test_one_dyno_has_one_placement(agreed: Agreement) -> None:
    first = agreed.do(place(1))

    with pytest.raises(AlreadyPlaced):
        agreed.do(place(1, node_id="b"))
    agreed.do(place(1, ordinal=2, node_id="b"))
    moved = agreed.do(place(1, node_id="c", replaces=first))

    assert [one.number for one in agreed.registry.placements_of("blog")] == [moved, moved - 1]


def test_a_move_that_was_decided_twice_happens_once(agreed: Agreement) -> None:
    first = agreed.do(place(1))
    agreed.do(place(1, node_id="b", replaces=first))

    with pytest.raises(PlacementNotFound):
        agreed.do(place(1, node_id="c", replaces=first))
    assert [one.node_id for one in agreed.registry.placements()] == ["b"]


def test_only_what_is_placed_can_be_unplaced(agreed: Agreement) -> None:
    number = agreed.do(place(1))
    agreed.do(Unplace(number=number))

    with pytest.raises(PlacementNotFound):
        agreed.do(Unplace(number=number))


def test_nothing_is_placed_for_a_release_that_will_not_serve(agreed: Agreement) -> None:
    agreed.do(FailRelease(app="blog", version=1, failure="x"))

    with pytest.raises(ReleaseNotPending):
        agreed.do(place(1))
    with pytest.raises(ReleaseNotFound):
        agreed.do(place(9))


def test_a_dyno_of_no_process_type_is_not_placed(agreed: Agreement) -> None:
    with pytest.raises(ProcessTypeNotFound):
        agreed.do(Place(app="blog", version=1, process_type="worker", ordinal=1, node_id="a"))
    with pytest.raises(InvalidValue):
        agreed.do(place(1, ordinal=0))


def test_nodes_say_which_slugs_they_hold(agreed: Agreement) -> None:
    digest = "1" * 64

    agreed.do(HoldSlug(digest=digest, node_id="c"))
    agreed.do(HoldSlug(digest=digest, node_id="a", holds=False))
    agreed.do(HoldSlug(digest=digest, node_id="z", holds=False))

    slug = agreed.registry.slug(digest)
    assert slug is not None and slug.holders == ("b", "c")
    with pytest.raises(SlugNotFound):
        agreed.do(HoldSlug(digest="f" * 64, node_id="c"))
