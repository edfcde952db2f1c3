"""Further slugs of a release: built of the same commit for nodes of another kind, and no release of their own."""

import pytest

from pinode.apps.build import Build, abilities
from pinode.apps.build_changes import BUILDS_KEPT, VARIANTS_KEPT
from pinode.apps.commands import (
    CancelBuild,
    EndCancelledBuild,
    FailBuild,
    MakeReleaseLive,
    RequestBuild,
    Rollback,
    SetConfig,
)
from pinode.apps.errors import BuildNotFound, InvalidValue, LeaseLost
from pinode.apps.records import from_plain, to_plain
from pinode.apps.release import Release
from pinode.apps.source import Source
from tests.pinode.agreement import Agreement, completion

PYTHON = "/usr/bin/python3.11"
ARM, PC = abilities("aarch64", ()), abilities("x86_64", (PYTHON,))


@pytest.fixture
def agreed() -> Agreement:
    """v1 is live, from build 2, with slug 1 for aarch64."""
    agreement = Agreement()
    agreement.create()
    agreement.deploy()
    agreement.do(MakeReleaseLive(app="blog", version=1))
    return agreement


def deployed(agreed: Agreement) -> int:
    return agreed.registry.deploys("blog")[0].id


def build(agreed: Agreement, build_id: int) -> Build:
    found = agreed.registry.build(build_id)
    assert found is not None
    return found


def live(agreed: Agreement) -> Release:
    found = agreed.registry.live_release("blog")
    assert found is not None
    return found


def with_variant(agreed: Agreement, *, slug: str = "2") -> int:
    """Ask for a further slug and have it built; the build's id."""
    variant = agreed.vary(deployed(agreed), interpreters=(PYTHON,))
    build_id, token = agreed.start("pc", has=PC)
    assert build_id == variant
    agreed.complete(variant, token, slug=slug, arch="x86_64", interpreter=PYTHON, holders=("pc",))
    return variant


def test_the_slug_of_a_variant_belongs_to_the_release_and_makes_no_new_one(agreed: Agreement) -> None:
    variant = with_variant(agreed)

    release = live(agreed)
    assert release.slug_digests == ("1" * 64, "2" * 64)
    assert [(slug.arch, slug.interpreter) for slug in agreed.registry.slugs_of(release)] == [
        ("aarch64", None),
        ("x86_64", PYTHON),
    ]
    assert len(agreed.registry.releases("blog")) == 1
    done = build(agreed, variant)
    assert (done.state, done.version, done.variant_of) == ("succeeded", 1, deployed(agreed))
    assert not agreed.queue.jobs


def test_only_a_worker_on_a_node_of_that_kind_gets_the_job_and_after_what_people_wait_for(
    agreed: Agreement,
) -> None:
    variant = agreed.vary(deployed(agreed), interpreters=(PYTHON,))
    agreed.create("shop")
    asked_for = agreed.request("shop")

    assert agreed.take_job("pc", has=PC)[0] == asked_for
    assert agreed.take_job("pi", has=ARM)[0] == 0
    assert agreed.take_job("pc", has=abilities("x86_64", ("/usr/bin/python3.13",)))[0] == 0
    assert agreed.take_job("pc", has=PC)[0] == variant


def test_what_a_release_has_slugs_for_its_later_config_changes_and_rollbacks_have_too(
    agreed: Agreement,
) -> None:
    with_variant(agreed)

    agreed.do(SetConfig(app="blog", set_values={"A": b"1"}, actor="ada"))
    agreed.do(MakeReleaseLive(app="blog", version=2))
    assert live(agreed).slug_digests == ("1" * 64, "2" * 64)
    agreed.deploy(slug="3")
    agreed.do(MakeReleaseLive(app="blog", version=3))
    agreed.do(Rollback(app="blog", actor="ada", version=1))

    newest = agreed.registry.newest_release("blog")
    assert newest is not None and newest.slug_digests == ("1" * 64, "2" * 64)


def test_a_variant_completes_all_releases_that_came_of_its_build(agreed: Agreement) -> None:
    agreed.do(SetConfig(app="blog", set_values={"A": b"1"}, actor="ada"))

    with_variant(agreed)

    assert [len(release.slug_digests) for release in agreed.registry.releases("blog")] == [2, 2]


def test_a_deploy_ends_the_variant_that_runs_and_waits_only_until_that_is_done(agreed: Agreement) -> None:
    variant = agreed.vary(deployed(agreed))
    _, token = agreed.start("pc", has=PC)

    newer = agreed.request()

    assert build(agreed, variant).cancelled_by == f"build {newer}"
    assert build(agreed, newer).job_id is None
    agreed.do(EndCancelledBuild(build_id=variant, token=token))
    assert build(agreed, variant).state == "cancelled"
    assert agreed.take_job()[0] == newer


def test_a_deploy_supersedes_the_variant_that_waits(agreed: Agreement) -> None:
    variant = agreed.vary(deployed(agreed))

    newer = agreed.request()

    ended = build(agreed, variant)
    assert (ended.state, ended.failure) == ("cancelled", f"superseded by build {newer}.")
    assert agreed.take_job("pc", has=PC)[0] == newer


def test_a_variant_is_refused_while_another_build_is_open_and_of_a_build_that_made_no_release(
    agreed: Agreement,
) -> None:
    first = deployed(agreed)
    agreed.request()
    before = agreed.registry.digest()

    with pytest.raises(InvalidValue, match="no other build"):
        agreed.vary(first)
    failed, token = agreed.start()
    agreed.do(FailBuild(build_id=failed, token=token, failure="x"))
    for build_id in (failed, 999):
        with pytest.raises(BuildNotFound):
            agreed.vary(build_id)
    with pytest.raises(InvalidValue):
        agreed.vary(first, arch="any CPU")
    with pytest.raises(InvalidValue):
        agreed.vary(first, interpreters=tuple(f"/{number}" for number in range(8)))

    assert agreed.registry.digest() != before  # the failed build; nothing of what was refused
    assert not agreed.registry.unfinished_builds()


def test_a_variant_of_another_commit_is_refused_and_its_build_goes_on(agreed: Agreement) -> None:
    variant = agreed.vary(deployed(agreed))
    _, token = agreed.start("pc", has=PC)

    with pytest.raises(InvalidValue, match="must be of c0ffee"):
        agreed.do(completion(variant, token, slug="2", arch="x86_64", commit="beef" * 10))
    with pytest.raises(LeaseLost):
        agreed.do(completion(variant, token - 1, slug="2", arch="x86_64"))

    assert live(agreed).slug_digests == ("1" * 64,)
    assert build(agreed, variant).state == "building"


def test_the_same_bytes_made_for_another_cpu_are_one_slug_for_both(agreed: Agreement) -> None:
    agreed.vary(deployed(agreed))
    variant, token = agreed.start("pc", has=PC)

    agreed.complete(variant, token, slug="1", arch="x86_64", holders=("pc",))

    assert live(agreed).slug_digests == ("1" * 64,)
    slug = agreed.registry.slug("1" * 64)
    assert slug is not None and (slug.arch, slug.holders) == ("aarch64,x86_64", ("a", "b", "pc"))


def test_when_the_last_release_with_it_goes_a_variant_goes_too(agreed: Agreement) -> None:
    with_variant(agreed)
    assert agreed.registry.slug("2" * 64) is not None

    for slug in "abcd":
        agreed.do(MakeReleaseLive(app="blog", version=agreed.deploy(slug=slug, slug_bytes=2**30)))

    used = {digest for one in agreed.registry.releases("blog") for digest in one.slug_digests}
    assert {slug.digest for slug in agreed.registry.slugs()} == used
    assert not used & {"1" * 64, "2" * 64}


def test_the_bytes_of_variants_count_towards_what_is_kept_of_old_releases(agreed: Agreement) -> None:
    agreed.vary(deployed(agreed))
    variant, token = agreed.start("pc", has=PC)
    agreed.complete(variant, token, slug="2", slug_bytes=2**30, arch="x86_64")

    for slug in "abcd":
        agreed.do(MakeReleaseLive(app="blog", version=agreed.deploy(slug=slug)))

    assert [release.version for release in agreed.registry.releases("blog")] == [5, 4, 3, 2]


def test_a_source_is_kept_while_the_release_made_of_it_serves_and_the_last_push_is_what_deploy_repeats() -> (
    None
):
    agreed = Agreement()
    agreed.create()
    for digest in "abc":
        source = Source(app="blog", digest=digest * 64, source_bytes=9, commit="c0ffee" * 6, holders=("a",))
        agreed.do(
            RequestBuild(
                app="blog",
                git_url=None,
                ref=None,
                subdirectory=None,
                actor="ada",
                origin="push",
                source=source,
            )
        )
        build_id, token = agreed.start()
        if digest == "a":
            agreed.do(MakeReleaseLive(app="blog", version=agreed.complete(build_id, token)))
        else:
            agreed.do(FailBuild(build_id=build_id, token=token, failure="x"))

    first = live(agreed).build_id or 0
    assert [source.digest[0] for source in agreed.registry.sources()] == ["a", "c"]
    variant = build(agreed, agreed.vary(first))
    assert (variant.source_digest, variant.commit, variant.origin) == ("a" * 64, "c0ffee" * 6, "push")
    assert agreed.registry.deploys("blog")[0].source_digest == "c" * 64


def test_what_was_built_from_a_source_that_is_gone_is_not_built_again() -> None:
    agreed = Agreement()
    agreed.create()
    for slug in "12":
        source = Source(app="blog", digest=slug * 64, source_bytes=9, commit="c0ffee" * 6, holders=("a",))
        agreed.do(
            RequestBuild(
                app="blog",
                git_url=None,
                ref=None,
                subdirectory=None,
                actor="ada",
                origin="push",
                source=source,
            )
        )
        agreed.do(MakeReleaseLive(app="blog", version=agreed.complete(*agreed.start(), slug=slug)))
    agreed.request()  # no release of the first serves any more
    build_id, token = agreed.start()
    agreed.do(FailBuild(build_id=build_id, token=token, failure="x"))

    first = next(one for one in agreed.registry.deploys("blog") if one.source_digest == "1" * 64)
    assert not agreed.registry.is_kept(first)
    with pytest.raises(InvalidValue, match="not kept any more"):
        agreed.vary(first.id)


def test_builds_of_variants_do_not_push_out_those_that_people_asked_for(agreed: Agreement) -> None:
    first = deployed(agreed)
    for number in range(BUILDS_KEPT + 5):
        agreed.vary(first, arch=f"cpu{number}")
        variant, token = agreed.start("x", has=abilities(f"cpu{number}", ()))
        agreed.do(FailBuild(build_id=variant, token=token, failure="x"))
    for _ in range(BUILDS_KEPT + 5):
        agreed.do(CancelBuild(build_id=agreed.request(), actor="ada"))

    known = agreed.registry.builds("blog")
    assert len([one for one in known if one.variant_of is not None]) == VARIANTS_KEPT
    assert agreed.registry.build(first) is not None, "its release serves"
    assert len(agreed.registry.deploys("blog")) <= BUILDS_KEPT + 1


def test_a_release_and_a_build_of_a_log_from_before_there_were_variants_are_read(agreed: Agreement) -> None:
    release, first = to_plain(live(agreed)), to_plain(build(agreed, deployed(agreed)))
    for name in ("variant_of", "arch", "interpreters"):
        del first[name]
    del release["variants"]

    assert from_plain(Release, release) == live(agreed)
    assert from_plain(Build, first) == build(agreed, deployed(agreed))


def test_another_replica_comes_to_the_same(agreed: Agreement) -> None:
    with_variant(agreed)
    agreed.vary(deployed(agreed), arch="riscv64")

    assert agreed.replay().digest() == agreed.state.digest()
