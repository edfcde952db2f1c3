"""`git push` to a node over HTTPS, with the real git: built, released, and told while it happens."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pinode.web.site import RECEPTIONS_EACH
from tests.builders.repositories import Repository, make_repository
from tests.pinode.push_stage import PushStage, push_stage
from tests.pinode.web_stage import token_of
from tests.waiting import eventually

MOST_MIB_OF_A_PUSH = 30
APP = {"Procfile": "web: ./serve\n", "README": "hello"}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[PushStage]:
    async with push_stage(tmp_path) as made:
        yield made


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository(tmp_path / "app", APP)


async def test_a_push_builds_and_deploys_and_shows_how_it_goes(
    stage: PushStage, repository: Repository
) -> None:
    pushed = await stage.push(repository)

    assert pushed.code == 0, pushed.said
    said = "\n".join(pushed.remote)
    assert f"commit {repository.git('rev-parse', 'HEAD')}" in said
    assert "-----> Packing the slug" in said and "-----> Starting it" in said
    assert "-----> blog v1 answers at http://" in said
    assert stage.version() == 1


async def test_a_second_push_sends_only_what_is_new(stage: PushStage, repository: Repository) -> None:
    repository.commit({"large": os.urandom(3_000_000)})
    first = await stage.push(repository)
    received = stage.received_bytes()
    repository.commit({"README": "changed"})

    second = await stage.push(repository)

    assert (first.code, second.code, stage.version()) == (0, 0, 2), first.said + second.said
    assert received > 3_000_000
    assert stage.received_bytes() - received < 10_000
    assert stage.laid_out() == {**APP, "README": "changed", "large": stage.laid_out()["large"]}


async def test_the_same_commit_can_be_pushed_again(stage: PushStage, repository: Repository) -> None:
    """To deploy once more, with what changed around it."""
    await stage.push(repository)

    again = await stage.push(repository)

    assert (again.code, stage.version()) == (0, 2), again.said


async def test_a_rewritten_history_is_pushed_like_any_other(stage: PushStage, repository: Repository) -> None:
    await stage.push(repository)
    repository.commit({"README": "second"})
    await stage.push(repository)
    repository.git("reset", "--hard", "HEAD~1")
    rewritten = repository.commit({"README": "rewritten"})

    forced = await stage.push(repository, "--force", "main")

    assert (forced.code, stage.version()) == (0, 3), forced.said
    assert stage.live_commit() == rewritten


@pytest.mark.parametrize("kind", ["annotated", "light"])
async def test_a_tag_is_deployed_by_its_name(stage: PushStage, repository: Repository, kind: str) -> None:
    repository.git("tag", *(["-a", "-m", "one"] if kind == "annotated" else []), "v1.0")

    pushed = await stage.push(repository, "v1.0")

    build = stage.cluster.state.registry.builds("blog")[0]
    assert (pushed.code, build.ref) == (0, "v1.0"), pushed.said
    assert stage.live_commit() == repository.git("rev-parse", "HEAD")


async def test_any_branch_is_deployed_by_its_name(stage: PushStage, repository: Repository) -> None:
    repository.git("checkout", "-q", "-b", "feature/new-look")

    pushed = await stage.push(repository, "feature/new-look", "--progress")

    build = stage.cluster.state.registry.builds("blog")[0]
    assert (pushed.code, build.ref, build.origin) == (0, "feature/new-look", "push"), pushed.said


async def test_a_shallow_clone_can_be_pushed(
    stage: PushStage, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"README": "second"})
    repository.git("clone", "-q", "--depth=1", repository.url, str(tmp_path / "shallow"))

    pushed = await stage.push(Repository(tmp_path / "shallow"))

    assert (pushed.code, stage.version()) == (0, 1), pushed.said
    assert stage.laid_out()["README"] == "second"


async def test_a_directory_of_the_repository_is_deployed_and_remembered(
    stage: PushStage, tmp_path: Path
) -> None:
    monorepo = make_repository(tmp_path / "mono", {"services/web/Procfile": "web: ./serve\n", "x": "x"})

    first = await stage.push(monorepo, "-o", "dir=services/web", "main")
    second = await stage.push(monorepo)

    assert (first.code, second.code) == (0, 0), first.said + second.said
    assert stage.laid_out() == {"Procfile": "web: ./serve\n"}


async def test_a_failing_build_rejects_the_push_and_what_ran_goes_on(
    stage: PushStage, repository: Repository
) -> None:
    await stage.push(repository)
    repository.git("rm", "-q", "Procfile")
    repository.git("commit", "-q", "-m", "break")

    pushed = await stage.push(repository)

    assert pushed.code == 1
    assert "[remote rejected]" in pushed.said and "no builder matches" in pushed.said
    assert "Starting it" not in pushed.said
    assert stage.version() == 1


async def test_a_release_that_does_not_come_up_rejects_the_push(
    stage: PushStage, repository: Repository
) -> None:
    repository.commit({"Procfile": "web: false\n"})

    pushed = await stage.push(repository)

    assert pushed.code == 1
    assert "release v1 failed: web.1 ended with 1." in pushed.said
    assert "pinode logs -a blog" in pushed.said


@pytest.mark.parametrize("token", ["", "x", token_of("nobody"), "ü" * 30, "a:b" * 20])
async def test_a_wrong_token_is_401(stage: PushStage, repository: Repository, token: str) -> None:
    pushed = await stage.push(repository, token=token)

    assert pushed.code == 128
    assert "Authentication failed" in pushed.said
    assert stage.cluster.state.registry.builds("blog") == ()


async def test_an_app_of_somebody_else_is_as_unknown_as_none(
    stage: PushStage, repository: Repository
) -> None:
    theirs = await stage.push(repository, token=token_of("eve"))
    none = await stage.push(repository, app="nothing")
    strange = await stage.push(repository, app="..%2f..%2fetc")

    assert theirs.code == none.code == strange.code == 128
    assert "there is no app named 'blog'" in theirs.said
    assert theirs.said.replace("blog", "nothing") == none.said.replace(token_of("bob"), token_of("eve"))


async def test_an_administrator_pushes_to_all_apps(stage: PushStage, repository: Repository) -> None:
    assert (await stage.push(repository, token=token_of("ada"))).code == 0


async def test_one_push_is_one_deploy(stage: PushStage, repository: Repository) -> None:
    repository.git("branch", "other")

    both = await stage.push(repository, "main", "other")

    assert both.code == 1
    assert "2 branches and tags" in both.said and both.said.count("[remote rejected]") == 2
    assert stage.cluster.state.registry.builds("blog") == ()


@pytest.mark.parametrize("ref", ["refs/notes/x", "refs/heads/-x", "refs/heads/a;b", "refs/pull/1/head"])
async def test_what_is_no_branch_and_no_tag_is_refused(
    stage: PushStage, repository: Repository, ref: str
) -> None:
    pushed = await stage.push(repository, f"main:{ref}")

    if ref == "refs/heads/a;b":  # a name like any other: nothing of ours gives it to a shell
        assert pushed.code == 0
    else:
        assert pushed.code == 1 and "rejected" in pushed.said
        assert stage.cluster.state.registry.builds("blog") == ()


async def test_an_unknown_push_option_is_named(stage: PushStage, repository: Repository) -> None:
    pushed = await stage.push(repository, "-o", "ci.skip", "main")

    assert pushed.code == 1 and "'ci.skip' means nothing here" in pushed.said


async def test_a_directory_that_leads_out_is_refused(stage: PushStage, repository: Repository) -> None:
    pushed = await stage.push(repository, "-o", "dir=../..", "main")

    assert pushed.code == 1 and "is no directory inside the repository" in pushed.said


async def test_apps_are_not_fetched_from_here(stage: PushStage, repository: Repository) -> None:
    fetched = await stage.git(repository, "ls-remote", stage.node.url())

    assert fetched.code == 128 and "pushed here, not fetched" in fetched.said


async def test_a_push_beyond_its_bound_says_so(tmp_path: Path, repository: Repository) -> None:
    repository.commit({"large": os.urandom(1_500_000)})
    async with push_stage(tmp_path, limits={"clone_bytes": 1_000_000}) as stage:
        pushed = await stage.push(repository)

        assert pushed.code == 1 and "is larger than 0 MiB" in pushed.said
        await eventually(stage.node.nothing_is_left)


async def test_a_push_far_beyond_its_bound_is_cut_off(tmp_path: Path, repository: Repository) -> None:
    repository.commit({"large": os.urandom(3_000_000)})
    async with push_stage(tmp_path, limits={"clone_bytes": 1_000_000}) as stage:
        pushed = await stage.push(repository)

        assert pushed.code != 0 and "413" in pushed.said
        await eventually(stage.node.nothing_is_left)


async def test_a_push_to_a_full_disk_is_refused_before_anything_is_sent(
    tmp_path: Path, repository: Repository
) -> None:
    async with push_stage(tmp_path, limits={"free_disk_bytes": 2**60}) as stage:
        pushed = await stage.push(repository)

        assert pushed.code == 128
        assert "the disk of pi1 has only" in pushed.said
        assert stage.received_bytes() == 0


@pytest.mark.timeout(360)
@pytest.mark.parametrize("megabytes", [15, pytest.param(100, marks=pytest.mark.soak)])
async def test_a_large_push_costs_the_node_no_memory(
    stage: PushStage, repository: Repository, megabytes: int
) -> None:
    stage.git_seconds = 300
    for number in range(megabytes // 5):  # in files as people have them; git sends them as one pack
        (repository.path / f"{number}.bin").write_bytes(os.urandom(5_000_000))
    repository.commit({})
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = memory_kib("VmRSS")

    pushed = await stage.push(repository)

    grown_mib = (memory_kib("VmHWM") - before) / 1024
    assert pushed.code == 0, pushed.said
    assert stage.received_bytes() > megabytes * 1_000_000
    assert grown_mib < MOST_MIB_OF_A_PUSH
    await eventually(stage.node.nothing_is_left)


def memory_kib(name: str) -> int:
    """Of this process, which is the node here: VmRSS is now, VmHWM was the peak."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0])


async def test_a_client_killed_while_it_sends_leaves_nothing(
    stage: PushStage, repository: Repository
) -> None:
    repository.commit({"large": os.urandom(8_000_000)})
    process = await stage.start_git(
        repository, "-c", "http.postBuffer=65536", "push", stage.node.url(), "main"
    )
    await eventually(lambda: not stage.node.nothing_is_left(), within_seconds=20)

    os.killpg(process.pid, signal.SIGKILL)
    await process.wait()

    await eventually(stage.node.nothing_is_left, within_seconds=20)
    assert stage.cluster.state.registry.builds("blog") == ()
    assert (await stage.push(repository)).code == 0


async def test_a_client_killed_while_the_app_is_built_ends_nothing(
    stage: PushStage, repository: Repository
) -> None:
    process = await stage.start_git(repository, "push", stage.node.url(), "main")
    await eventually(lambda: stage.cluster.state.registry.builds("blog"), within_seconds=30)

    os.killpg(process.pid, signal.SIGKILL)
    await process.wait()

    await eventually(lambda: stage.version() == 1, within_seconds=30)
    await eventually(stage.node.nothing_is_left, within_seconds=20)


async def test_pushes_whose_apps_are_being_built_leave_room_for_others_to_send(
    stage: PushStage, repository: Repository
) -> None:
    await stage.node.worker.stop()  # so that builds wait

    waiting = []
    for number in range(RECEPTIONS_EACH + 1):
        repository.commit({"README": str(number)})
        waiting.append(await stage.start_git(repository, "push", stage.node.url(), "main"))
        await eventually(
            lambda number=number: len(stage.cluster.state.registry.builds("blog")) > number,  # type: ignore[misc]
            within_seconds=30,
        )

    await eventually(stage.node.nothing_is_left, within_seconds=20)
    for process in waiting:
        with contextlib.suppress(ProcessLookupError):  # a newer one took its turn
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def test_what_is_pushed_lies_on_two_nodes_before_it_is_built(
    tmp_path: Path, repository: Repository
) -> None:
    async with push_stage(tmp_path, names=("pi1", "pi2")) as stage:
        await stage.push(repository)

        build = stage.cluster.state.registry.builds("blog")[0]
        source = stage.cluster.state.registry.source("blog", build.source_digest or "")
        assert source is not None and len(source.holders) == 2
        assert all(node.sources.has(source.digest) for node in stage.nodes)


async def test_a_push_that_no_second_node_can_keep_is_refused(tmp_path: Path, repository: Repository) -> None:
    async with push_stage(tmp_path, names=("pi1", "pi2")) as stage:
        stage.cut_off(stage.nodes[1])

        pushed = await stage.push(repository)

        assert pushed.code == 1 and "no other node could take a copy" in pushed.said
        assert stage.cluster.state.registry.builds("blog") == ()


async def test_the_second_push_may_go_to_a_node_that_knows_nothing_of_the_first(
    tmp_path: Path, repository: Repository
) -> None:
    async with push_stage(tmp_path, names=("pi1", "pi2")) as stage:
        await stage.push(repository)
        changed = repository.commit({"README": "changed"})

        second = await stage.push(repository, node=stage.nodes[1])

        assert (second.code, stage.live_commit()) == (0, changed), second.said
        third = await stage.push(repository, node=stage.nodes[0])
        assert third.code == 0


async def test_a_push_after_the_cache_was_damaged_works_when_it_is_repeated(
    stage: PushStage, repository: Repository
) -> None:
    await stage.push(repository)
    for pack in (stage.node.folder / "intake" / "pushed").rglob("*.pack"):
        pack.write_bytes(pack.read_bytes()[:-30])
    repository.commit({"README": "changed"})

    first = await stage.push(repository)
    second = await stage.push(repository)

    assert first.code == 1 and "Push once more" in first.said
    assert second.code == 0, second.said


async def test_pushes_at_the_same_time_become_one_release_each_or_say_why_not(
    stage: PushStage, repository: Repository
) -> None:
    """The one that waits is superseded by the next, and says so."""
    done = await asyncio.gather(*(stage.push(repository) for _ in range(3)))

    assert stage.version() == sum(pushed.code == 0 for pushed in done)
    for pushed in done:
        assert pushed.code == 0 or "superseded by build" in pushed.said, pushed.said
