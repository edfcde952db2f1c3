"""Sources that were pushed or uploaded, as agreed: known while a build may need them, and no longer."""

from typing import Any

import pytest

from pinode.apps.commands import CancelBuild, DestroyApp, FailBuild, HoldSlug, RequestBuild
from pinode.apps.errors import InvalidValue, SlugNotFound
from pinode.apps.source import Source
from tests.pinode.agreement import GIT_URL, Agreement


@pytest.fixture
def agreed() -> Agreement:
    agreement = Agreement()
    agreement.create()
    return agreement


def source(digit: str, **fields: Any) -> Source:
    digest = digit * 64
    return Source(
        **{"app": "blog", "digest": digest, "source_bytes": 10, "commit": digest, "holders": ("a",), **fields}
    )


def push(agreed: Agreement, pushed: Source, *, git_url: str | None = None) -> int:
    return int(
        agreed.do(
            RequestBuild(
                app="blog",
                git_url=git_url,
                ref="main",
                subdirectory=None,
                actor="ada",
                origin="push",
                source=pushed,
            )
        )
    )


def known(agreed: Agreement) -> list[str]:
    return [source.digest[0] for source in agreed.registry.sources()]


def test_a_build_of_a_pushed_source_names_it_and_its_commit(agreed: Agreement) -> None:
    build_id = push(agreed, source("1", commit="c" * 40))

    build = agreed.registry.build(build_id)
    assert build is not None
    assert (build.origin, build.git_url, build.commit, build.ref) == ("push", None, "c" * 40, "main")
    assert build.source_digest is not None
    assert agreed.registry.source("blog", build.source_digest) == source("1", commit="c" * 40)


def test_a_source_is_forgotten_when_no_build_needs_it_and_a_newer_one_was_asked_for(
    agreed: Agreement,
) -> None:
    push(agreed, source("1"))
    first, token = agreed.start()
    push(agreed, source("2"))

    both = known(agreed)
    agreed.do(FailBuild(build_id=first, token=token, failure="no"))

    assert both == ["1", "2"]
    assert known(agreed) == ["2"]


def test_the_newest_source_outlives_its_build_for_the_next_deploy(agreed: Agreement) -> None:
    build_id = push(agreed, source("1"))

    agreed.do(CancelBuild(build_id=build_id, actor="ada"))

    assert known(agreed) == ["1"]


def test_a_build_from_a_git_url_lets_go_of_the_source_before_it(agreed: Agreement) -> None:
    push(agreed, source("1"))

    agreed.request(git_url=GIT_URL)

    assert known(agreed) == []


def test_a_source_of_a_destroyed_app_is_forgotten(agreed: Agreement) -> None:
    push(agreed, source("1"))

    agreed.do(DestroyApp(name="blog", actor="ada"))

    assert known(agreed) == []
    assert agreed.replay().digest() == agreed.state.digest()


def test_holders_of_a_source_come_and_go_like_those_of_a_slug(agreed: Agreement) -> None:
    push(agreed, source("1"))

    agreed.do(HoldSlug(digest="1" * 64, node_id="b"))
    agreed.do(HoldSlug(digest="1" * 64, node_id="a", holds=False))
    agreed.do(HoldSlug(digest="1" * 64, node_id="a", holds=False))

    found = agreed.registry.source("blog", "1" * 64)
    assert found is not None and found.holders == ("b",)
    with pytest.raises(SlugNotFound):
        agreed.do(HoldSlug(digest="2" * 64, node_id="b"))


@pytest.mark.parametrize(
    ("pushed", "git_url"),
    [
        (source("1", digest="x"), None),
        (source("1", commit="a\nb"), None),
        (source("1", source_bytes=-1), None),
        (source("1"), GIT_URL),
    ],
    ids=["digest", "commit", "size", "two origins"],
)
def test_a_strange_source_is_refused_and_changes_nothing(
    agreed: Agreement, pushed: Source, git_url: str | None
) -> None:
    before = agreed.registry.digest()

    with pytest.raises(InvalidValue):
        push(agreed, pushed, git_url=git_url)

    assert agreed.registry.digest() == before


def test_a_push_does_not_forget_the_repository_that_was_deployed_from_before(agreed: Agreement) -> None:
    agreed.request(git_url=GIT_URL)

    push(agreed, source("1"))

    app = agreed.registry.app("blog")
    assert app is not None and app.git_url == GIT_URL
