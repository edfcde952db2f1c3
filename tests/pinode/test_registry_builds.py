"""Builds and their jobs: one build at a time, one release from each, and no result without the lease."""

import pytest

from pinode.apps.build import BUILD_TOPIC, Build
from pinode.apps.commands import (
    CancelBuild,
    CreateApp,
    DestroyApp,
    EndCancelledBuild,
    FailBuild,
    RequestBuild,
    StartBuild,
)
from pinode.apps.errors import (
    AppDestroyed,
    AppNotFound,
    BuildFinished,
    BuildNotFound,
    BuildQueueFull,
    InvalidName,
    InvalidValue,
    LeaseLost,
)
from pinode.cluster_state import BUILD_ATTEMPTS
from replicated_queue.queue.commands import Ack, Bury, Cancel, Nack
from replicated_queue.queue.limits import QueueLimits
from tests.pinode.agreement import GIT_URL, Agreement, completion


@pytest.fixture
def agreed() -> Agreement:
    agreement = Agreement()
    agreement.create()
    return agreement


def build(agreed: Agreement, build_id: int) -> Build:
    found = agreed.registry.build(build_id)
    assert found is not None
    return found


def test_a_request_creates_the_build_and_its_job_in_one_entry(agreed: Agreement) -> None:
    build_id = agreed.request()

    assert build_id == agreed.index
    job = agreed.queue.jobs[build(agreed, build_id).job_id or 0]
    assert (job.topic, job.data) == (BUILD_TOPIC, str(build_id).encode())
    app = agreed.registry.app("blog")
    assert app is not None and app.git_url == GIT_URL


def test_completing_acks_the_job_and_makes_the_release_in_one_entry(agreed: Agreement) -> None:
    agreed.request()
    build_id, token = agreed.start("b")

    version = agreed.complete(build_id, token, slug="7", holders=("c", "b"))

    done = build(agreed, build_id)
    assert (done.state, done.version, done.node_id) == ("succeeded", version, "b")
    assert not agreed.queue.jobs
    release = agreed.registry.newest_release("blog")
    assert release is not None and (release.version, release.state) == (1, "pending")
    assert release.description == "Deploy c0ffeec0"
    slug = agreed.registry.slug("7" * 64)
    assert slug is not None and slug.holders == ("b", "c")


def test_a_build_taken_over_refuses_the_late_result_of_the_first_worker(agreed: Agreement) -> None:
    agreed.request()
    build_id, late = agreed.start("a")
    agreed.expire(build_id, late)
    _, token = agreed.start("b")
    before = agreed.state.registry.digest()

    with pytest.raises(LeaseLost):
        agreed.complete(build_id, late)
    with pytest.raises(LeaseLost):
        agreed.do(FailBuild(build_id=build_id, token=late, failure="late"))
    with pytest.raises(LeaseLost):
        agreed.do(StartBuild(build_id=build_id, token=late, node_id="a"))

    assert token > late
    assert agreed.registry.digest() == before
    assert agreed.complete(build_id, token) == 1


def test_never_two_releases_of_one_build(agreed: Agreement) -> None:
    agreed.request()
    build_id, token = agreed.start()
    agreed.complete(build_id, token)

    with pytest.raises(BuildFinished):
        agreed.complete(build_id, token)

    assert len(agreed.registry.releases("blog")) == 1


def test_a_lease_that_ran_out_shows_the_build_as_queued_again(agreed: Agreement) -> None:
    agreed.request()
    build_id, token = agreed.start("a")

    agreed.expire(build_id, token)

    waiting = build(agreed, build_id)
    assert (waiting.state, waiting.node_id, waiting.started_at_ms) == ("queued", None, None)


def test_an_expiry_of_an_older_lease_leaves_the_running_build_alone(agreed: Agreement) -> None:
    agreed.request()
    build_id, old = agreed.start("a")
    agreed.expire(build_id, old)
    agreed.start("b")

    agreed.expire(build_id, old)

    assert build(agreed, build_id).state == "building"


def test_a_build_that_outlived_all_its_workers_fails_and_says_so(agreed: Agreement) -> None:
    build_id = agreed.request()

    for _ in range(BUILD_ATTEMPTS):
        agreed.now += 1_000  # its job waits a moment between attempts
        agreed.expire(*agreed.start())
        agreed.now += 60_000  # each attempt waits a little longer

    failed = build(agreed, build_id)
    assert failed.state == "failed"
    assert failed.failure is not None and "3 times" in failed.failure


@pytest.mark.parametrize("end", [Ack, Bury, Cancel, Nack])
def test_whatever_the_queue_does_to_the_job_the_build_follows(agreed: Agreement, end: type) -> None:
    agreed.request()
    build_id, token = agreed.start()

    agreed.do_on_queue(end(build(agreed, build_id).job_id, token, platform=True))

    assert build(agreed, build_id).state == ("queued" if end is Nack else "failed")


def test_a_failed_build_says_why_and_makes_no_release(agreed: Agreement) -> None:
    agreed.request()
    build_id, token = agreed.start()

    agreed.do(FailBuild(build_id=build_id, token=token, failure="no\n builder\x1b[31m  matches"))

    assert build(agreed, build_id).failure == "no builder [31m matches"
    assert not agreed.registry.releases("blog")
    assert not agreed.queue.jobs


def test_a_newer_request_supersedes_the_one_that_waits_and_says_so(agreed: Agreement) -> None:
    first = agreed.request()

    second = agreed.request()

    superseded = build(agreed, first)
    assert (superseded.state, superseded.failure) == ("cancelled", f"superseded by build {second}.")
    assert agreed.take_job()[0] == second
    assert agreed.take_job()[0] == 0


def test_two_builds_of_one_app_never_run_at_once(agreed: Agreement) -> None:
    agreed.request()
    running, token = agreed.start("a")

    waiting = agreed.request()

    assert agreed.take_job("b")[0] == 0
    agreed.complete(running, token)
    assert agreed.take_job("b")[0] == waiting


def test_two_apps_do_not_wait_for_each_other(agreed: Agreement) -> None:
    agreed.create("shop")
    agreed.request("blog")
    agreed.start("a")

    waiting = agreed.request("shop")

    assert agreed.take_job("b")[0] == waiting


def test_of_a_lost_build_and_a_newer_one_only_the_newer_is_built(agreed: Agreement) -> None:
    agreed.request()
    lost, token = agreed.start("a")
    newer = agreed.request()

    agreed.expire(lost, token)

    assert build(agreed, lost).state == "cancelled"
    assert agreed.take_job("b")[0] == newer
    assert agreed.take_job("c")[0] == 0


def test_a_build_that_waits_is_cancelled_at_once(agreed: Agreement) -> None:
    cancelled = agreed.request()

    agreed.do(CancelBuild(build_id=cancelled, actor="ada"))

    assert build(agreed, cancelled).state == "cancelled"
    assert not agreed.queue.jobs
    with pytest.raises(BuildFinished):
        agreed.do(CancelBuild(build_id=cancelled, actor="ada"))


def test_a_build_that_runs_is_cancelled_when_its_worker_says_that_nothing_of_it_runs(
    agreed: Agreement,
) -> None:
    cancelled = agreed.request()
    token = agreed.start()[1]
    newer = agreed.request()

    agreed.do(CancelBuild(build_id=cancelled, actor="ada"))
    agreed.do(CancelBuild(build_id=cancelled, actor="bob"))
    assert build(agreed, cancelled).state == "building"
    assert agreed.take_job("b")[0] == 0  # two builds of one app never run at once
    agreed.do(EndCancelledBuild(build_id=cancelled, token=token))

    ended = build(agreed, cancelled)
    assert (ended.state, ended.failure) == ("cancelled", "cancelled by bob.")
    assert agreed.take_job("b")[0] == newer
    with pytest.raises(BuildFinished):
        agreed.complete(cancelled, token)


@pytest.mark.parametrize("outcome", ["complete", "fail"])
def test_nothing_comes_of_a_build_that_ended_just_after_it_was_cancelled(
    agreed: Agreement, outcome: str
) -> None:
    build_id = agreed.request()
    token = agreed.start()[1]
    agreed.do(CancelBuild(build_id=build_id, actor="ada"))

    if outcome == "complete":
        agreed.complete(build_id, token)
    else:
        agreed.do(FailBuild(build_id=build_id, token=token, failure="x"))

    assert build(agreed, build_id).state == "cancelled"
    assert not agreed.registry.releases("blog")


def test_a_cancelled_build_whose_worker_went_away_is_not_built_again(agreed: Agreement) -> None:
    build_id = agreed.request()
    token = agreed.start()[1]
    agreed.do(CancelBuild(build_id=build_id, actor="ada"))

    agreed.expire(build_id, token)

    assert build(agreed, build_id).state == "cancelled"
    assert not agreed.queue.jobs


def test_a_worker_whose_app_is_gone_hears_so(agreed: Agreement) -> None:
    agreed.request()
    build_id, token = agreed.start()

    agreed.do(DestroyApp(name="blog", actor="ada"))
    agreed.do(CreateApp(name="blog", owner="ada"))

    with pytest.raises(BuildNotFound):
        agreed.complete(build_id, token)


def test_a_request_for_an_app_whose_name_another_one_has_by_now_changes_nothing(agreed: Agreement) -> None:
    """Who may deploy into the one says nothing of who may deploy into the other."""
    was = agreed.registry.app("blog")
    assert was is not None
    request = RequestBuild(
        app="blog",
        git_url=GIT_URL,
        ref=None,
        subdirectory=None,
        actor="mallory",
        created_index=was.created_index,
    )
    agreed.do(request)
    agreed.do(DestroyApp(name="blog", actor="mallory"))
    agreed.do(CreateApp(name="blog", owner="ann"))
    before = agreed.registry.digest()

    with pytest.raises(AppDestroyed, match="was destroyed meanwhile"):
        agreed.do(request)

    assert agreed.registry.digest() == before


def test_credentials_stay_sealed_with_the_url_and_leave_the_build_at_its_end(agreed: Agreement) -> None:
    request = RequestBuild(
        app="blog", git_url=GIT_URL, ref=None, subdirectory=None, actor="ada", sealed_credentials=b"sealed"
    )
    agreed.do(request)
    build_id, token = agreed.start()
    while_building = build(agreed, build_id).sealed_credentials
    agreed.complete(build_id, token)

    again = agreed.request(git_url=GIT_URL)
    of_the_same_url = build(agreed, again).sealed_credentials
    elsewhere = agreed.request(git_url="https://example.net/other.git")

    assert while_building == b"sealed"
    assert build(agreed, build_id).sealed_credentials is None
    assert of_the_same_url == b"sealed"
    assert build(agreed, elsewhere).sealed_credentials is None
    assert "sealed'" not in repr(agreed.registry.builds("blog"))


def test_only_the_newest_builds_are_kept(agreed: Agreement) -> None:
    ids = [agreed.request() for _ in range(60)]

    assert [one.id for one in agreed.registry.builds("blog")] == ids[:9:-1]


def test_a_full_queue_refuses_the_build_and_nothing_is_left_of_it() -> None:
    agreed = Agreement(queue_limits=QueueLimits(max_jobs=0))
    agreed.create()
    before = agreed.registry.digest()

    with pytest.raises(BuildQueueFull):
        agreed.request()
    assert agreed.registry.digest() == before


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"slug": "x"}, InvalidValue),
        ({"process_types": {"we b": "x"}}, InvalidName),
        ({"process_types": {"web": ""}}, InvalidValue),
        ({"process_types": {"web": "a\nb"}}, InvalidValue),
        ({"default_formation": {"web": -1}}, InvalidValue),
    ],
)
def test_a_result_that_cannot_be_is_refused_and_the_build_goes_on(
    agreed: Agreement, fields: dict[str, object], refusal: type[Exception]
) -> None:
    agreed.request()
    build_id, token = agreed.start()

    with pytest.raises(refusal):
        agreed.do(completion(build_id, token, **fields))  # type: ignore[arg-type]

    assert build(agreed, build_id).state == "building"
    assert not agreed.registry.slugs()


def test_a_build_of_an_unknown_app_or_with_an_impossible_url_is_refused(agreed: Agreement) -> None:
    with pytest.raises(AppNotFound):
        agreed.request("nothing")
    with pytest.raises(InvalidValue):
        agreed.request(git_url="https://example.org/\x00")
    with pytest.raises(InvalidValue):
        agreed.request(git_url="https://example.org/" + "a" * 3_000)
