"""A node's build worker: one lease, one build, one end (checklists 3.1, 4.1, 4.2)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from builders.archive import pack
from builders.codec import OUTCOME_BYTES
from pinode.apps.build import Build
from pinode.apps.commands import (
    CancelBuild,
    CompleteBuild,
    CreateApp,
    RequestBuild,
    RequestVariant,
    SetConfig,
    StartBuild,
)
from pinode.apps.source import Source
from pinode.deploy.build_worker import BuildWorker
from pinode.errors import NotFound
from pinode.nodes.commands import SetAvailability
from pinode.sandbox.sandbox import Isolation, find_isolation
from pinode.settings import Settings
from pinode.slugs.slug_store import SlugStore
from replicated_queue.queue.codec import command_values
from replicated_queue.queue.commands import ExpireLease, Reserve
from replicated_queue.queue.job import Job
from replicated_queue.request_codec import MAX_BUNDLE_BYTES
from tests.builders.repositories import hostile_project, make_repository
from tests.pinode.fake_cluster import FakeCluster, FakeQueue
from tests.waiting import eventually

WISHES = '{"env": {"MODE": "fast", "MADE": {"generator": "secret"}}}'
PYTHON_APP = {"requirements.txt": "", "Procfile": "web: python app.py\n"}
PAUSE = "import signal\nprint('RUNNING', flush=True)\nsignal.pause()"


class PatientQueue(FakeQueue):
    """Waits for a job as the real one does, if it is asked to."""

    asked = 0

    async def _reserve(self, command: Reserve, *, wait: float) -> list[Job]:
        self.asked += 1
        while not self._cluster.has_quorum or not self._has_one_for(command):
            if self._cluster.has_quorum and not wait:
                return []
            await self._cluster.changed(self._cluster.revision)
        return await super()._reserve(command, wait=wait)

    def _has_one_for(self, command: Reserve) -> bool:
        queue, now, has = self._cluster.state.queue, self._cluster.now_ms, frozenset(command.has)
        return any(queue.available(topic, has, now=now) for topic in command.topics)


class Copies:
    """Where slugs are copied to."""

    def __init__(self) -> None:
        self.spread_digests: list[str] = []

    async def spread(self, digest: str) -> Sequence[str]:
        self.spread_digests.append(digest)
        return ["2" * 16]


class Sources:
    """What was pushed or uploaded, by digest: files of this folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def copy_to(self, digest: str, target: Path) -> None:
        source = self.folder / digest
        if not source.exists():
            raise NotFound(f"nobody has source {digest[:12]}.")
        target.write_bytes(source.read_bytes())
        target.chmod(0o644)


class Stage:
    """A worker on a node of a fake cluster, and an app to build."""

    def __init__(self, directory: Path, isolation: Isolation, settings: Settings) -> None:
        self.directory = directory
        node = replace(settings.node, data_dir=directory)
        self.cluster = FakeCluster(settings=replace(settings, node=node))
        self.cluster.queue.platform_queue = PatientQueue(self.cluster, platform=True)
        self.cluster.apply(CreateApp(name="blog", owner="ada"))
        self.slugs = SlugStore(directory / "slugs")
        self.copies = Copies()
        self.sources = Sources(directory.parent)
        self.worker = BuildWorker(
            self.cluster,  # type: ignore[arg-type]
            directory=directory / "builds",
            slugs=self.slugs,
            replication=self.copies,
            sources=self.sources,
            isolation=isolation,
        )

    def request(self, git_url: str, *, is_admin: bool = True) -> int:
        command = RequestBuild(
            app="blog", git_url=git_url, ref=None, subdirectory=None, actor="ada", is_admin=is_admin
        )
        return int(self.cluster.apply(command))

    def request_source(self, source: Source) -> int:
        command = RequestBuild(
            app="blog", git_url=None, ref="main", subdirectory=None, actor="ada", origin="push", source=source
        )
        return int(self.cluster.apply(command))

    def build(self, build_id: int) -> Build:
        build = self.cluster.state.registry.build(build_id)
        assert build is not None
        return build

    def log(self, build_id: int) -> str:
        return (self.directory / "builds" / f"{build_id}.log").read_text()

    async def ended(self, build_id: int) -> Build:
        await eventually(lambda: self.build(build_id).is_finished, within_seconds=30)
        return self.build(build_id)

    async def running(self, build_id: int) -> None:
        await eventually(lambda: "RUNNING" in self.log(build_id), within_seconds=20)

    def nothing_is_left(self) -> bool:
        """No folder of a build, and no process with its mark."""
        work = self.directory / "builds" / "work"
        marks = []
        for entry in Path("/proc").iterdir():
            try:
                marks += [entry.name] if str(work).encode() in (entry / "environ").read_bytes() else []
            except OSError:
                continue
        return not marks and not list(work.glob("*"))


@asynccontextmanager
async def working(tmp_path: Path, settings: Settings | None = None) -> AsyncIterator[Stage]:
    isolation = await asyncio.to_thread(find_isolation, required=True)
    stage = Stage(tmp_path / "data", isolation, settings or Settings())
    running = asyncio.create_task(stage.worker.run())
    try:
        yield stage
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with working(tmp_path) as stage:
        yield stage


async def test_a_build_becomes_a_release_with_its_slug_on_two_nodes(tmp_path: Path, stage: Stage) -> None:
    repository = make_repository(tmp_path / "r", {"Procfile": "web: ./serve\n"})

    build = await stage.ended(stage.request(repository.url))

    release = stage.cluster.state.registry.newest_release("blog")
    assert release is not None
    assert build.state == "succeeded", build.failure
    assert (release.version, release.commit) == (1, repository.git("rev-parse", "HEAD"))
    assert release.process_types == {"web": "./serve"}
    assert stage.slugs.has(release.slug_digest)
    assert stage.copies.spread_digests == [release.slug_digest]
    slug = stage.cluster.state.registry.slug(release.slug_digest)
    assert slug is not None
    assert set(slug.holders) == {stage.cluster.node_id, "2" * 16}
    assert f"commit {release.commit}" in stage.log(build.id)
    await eventually(stage.nothing_is_left)


async def test_a_build_of_what_was_pushed_needs_no_repository(tmp_path: Path, stage: Stage) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "Procfile").write_text("web: ./serve\n")
    packed = pack(tmp_path / "files", tmp_path / "packed", most_bytes=10**6, what="source")
    (tmp_path / "packed").rename(tmp_path / packed.sha256)
    source = Source(app="blog", digest=packed.sha256, source_bytes=packed.packed_bytes, commit="c" * 40)

    done = await stage.ended(stage.request_source(source))
    lost = await stage.ended(stage.request_source(replace(source, digest="0" * 64)))

    release = stage.cluster.state.registry.newest_release("blog")
    assert release is not None, done.failure
    assert (release.commit, release.process_types) == ("c" * 40, {"web": "./serve"})
    assert "nobody has source 000000000000. Send it again" in (lost.failure or "")
    await eventually(lambda: not list((stage.directory / "builds" / "work").iterdir()))


async def test_the_cache_of_a_destroyed_app_is_not_for_the_next_one_of_its_name(
    tmp_path: Path, stage: Stage
) -> None:
    repository = make_repository(tmp_path / "r", {"Procfile": "web: ./serve\n"})
    caches = stage.directory / "builds" / "cache" / "apps"
    (caches / "blog-0").mkdir(parents=True)
    app = stage.cluster.state.registry.app("blog")

    await stage.ended(stage.request(repository.url))

    assert app is not None
    await eventually(lambda: [path.name for path in caches.iterdir()] == [f"blog-{app.created_index}"])


async def test_an_outcome_that_strangers_wrote_always_fits_an_entry_of_the_log() -> None:
    assert OUTCOME_BYTES <= MAX_BUNDLE_BYTES // 2


async def test_a_build_that_fails_says_why_and_the_next_one_is_done(tmp_path: Path, stage: Stage) -> None:
    empty = make_repository(tmp_path / "empty")
    good = make_repository(tmp_path / "good", {"Procfile": "web: ./serve\n"})

    failed = await stage.ended(stage.request(empty.url))
    done = await stage.ended(stage.request(good.url))

    assert failed.state == "failed"
    assert "is empty" in (failed.failure or "")
    assert "what ran before goes on" in stage.log(failed.id)
    assert done.state == "succeeded"


async def test_a_build_that_trips_over_something_unforeseen_fails_and_the_node_builds_on(
    tmp_path: Path, stage: Stage
) -> None:
    """Else it would end one node after the other."""
    repository = make_repository(tmp_path / "r", {"Procfile": "web: ./serve\n"})
    stage.cluster.apply(SetConfig(app="blog", set_values={"A": b"\xff"}, actor="ada"))
    broken = await stage.ended(stage.request(repository.url))
    stage.cluster.apply(SetConfig(app="blog", set_values={}, unset=("A",), actor="ada"))

    assert broken.state == "failed"
    assert (await stage.ended(stage.request(repository.url))).state == "succeeded"


async def test_what_only_administrators_may_build_is_refused_for_others(tmp_path: Path, stage: Stage) -> None:
    repository = make_repository(tmp_path / "r", {"Procfile": "web: ./serve\n"})

    build = await stage.ended(stage.request(repository.url, is_admin=False))

    assert "Only administrators" in (build.failure or "")


async def test_config_vars_reach_the_build_and_stay_out_of_what_is_stored(
    tmp_path: Path, stage: Stage
) -> None:
    repository = make_repository(
        tmp_path / "r", hostile_project("import os; print(os.environ['COLOUR'][::-1])")
    )
    sealed = stage.cluster.seal("blue and green")
    stage.cluster.apply(SetConfig(app="blog", set_values={"COLOUR": sealed}, actor="ada"))

    build = await stage.ended(stage.request(repository.url))

    assert "neerg dna eulb" in stage.log(build.id)


async def test_what_app_json_gives_is_there_at_the_first_build_and_with_its_release(
    tmp_path: Path, stage: Stage
) -> None:
    files = {**hostile_project("import os; print('<' + os.environ['MODE'] + '>')"), "app.json": WISHES}
    repository = make_repository(tmp_path / "r", files)

    build = await stage.ended(stage.request(repository.url))

    assert build.state == "succeeded" and "<fast>" in stage.log(build.id)
    release = stage.cluster.state.registry.newest_release(build.app)
    assert release is not None
    values = {name: stage.cluster.reveal(value) for name, value in release.config.values.items()}
    assert values["MODE"] == "fast" and len(values["MADE"]) == 64


async def test_a_cancelled_build_is_ended_and_frees_its_slot(tmp_path: Path, stage: Stage) -> None:
    hanging = make_repository(tmp_path / "hanging", hostile_project(PAUSE))
    good = make_repository(tmp_path / "good", {"Procfile": "web: ./serve\n"})
    build_id = stage.request(hanging.url)
    await stage.running(build_id)

    stage.cluster.apply(CancelBuild(build_id=build_id, actor="ada"))
    assert stage.build(build_id).state == "building"
    ended = await stage.ended(build_id)

    assert ended.state == "cancelled" and stage.nothing_is_left()
    assert (await stage.ended(stage.request(good.url))).state == "succeeded"


async def test_a_build_whose_lease_went_to_another_node_is_ended_and_its_result_never_counts(
    tmp_path: Path, stage: Stage
) -> None:
    hanging = make_repository(tmp_path / "hanging", hostile_project(PAUSE))
    build_id = stage.request(hanging.url)
    await stage.running(build_id)
    before = stage.build(build_id)
    assert before.job_id is not None

    expire = command_values(ExpireLease(before.job_id, before.token))
    stage.cluster.apply_encoded("queue", expire)
    other = FakeQueue(stage.cluster, platform=True)
    taken = await other.reserve("pinode.builds", worker="other")
    assert taken is not None
    stage.cluster.apply(StartBuild(build_id=build_id, token=taken.token, node_id="2" * 16))

    await eventually(stage.nothing_is_left, within_seconds=10)
    assert stage.build(build_id).token == taken.token > before.token
    assert not any(isinstance(command, CompleteBuild) for command in stage.cluster.commands)


async def test_a_node_that_is_to_take_nothing_new_has_no_reserve_left_at_the_queue(
    tmp_path: Path, stage: Stage
) -> None:
    good = make_repository(tmp_path / "good", {"Procfile": "web: ./serve\n"})
    cluster, other = stage.cluster, FakeQueue(stage.cluster, platform=True)
    queue = cluster.queue.platform_queue
    assert isinstance(queue, PatientQueue)
    build_id = stage.request(good.url)
    taken = await other.reserve("pinode.builds", worker="other")
    assert taken is not None
    await eventually(lambda: queue.asked)

    cluster.apply(SetAvailability(node_id=cluster.node_id, availability="cordoned", by="ada"))
    cluster.apply_encoded("queue", command_values(ExpireLease(taken.id, taken.token)))
    job = cluster.state.queue.jobs[taken.id]
    cluster.now_ms = max(cluster.now_ms, job.due_ms)
    asked = queue.asked
    for _ in range(50):
        cluster.note_change()
        await asyncio.sleep(0)

    assert job.state != "leased" and queue.asked <= asked + 1
    cluster.apply(SetAvailability(node_id=cluster.node_id, availability="active", by="ada"))
    assert (await stage.ended(build_id)).state == "succeeded"


async def test_a_build_that_ends_while_nobody_leads_is_told_when_somebody_does(
    tmp_path: Path, stage: Stage
) -> None:
    code = "import os\nprint('RUNNING', flush=True)\nwhile not os.path.exists('go'): pass"
    repository = make_repository(tmp_path / "r", hostile_project(code))
    build_id = stage.request(repository.url)
    await stage.running(build_id)

    stage.cluster.has_quorum = False
    go_on = next((stage.directory / "builds" / "work").iterdir()) / "app" / "go"
    go_on.touch()
    go_on.chmod(0o644)  # it becomes part of the slug
    await eventually(
        lambda: any(isinstance(said, CompleteBuild) for said in stage.cluster.commands), within_seconds=20
    )
    assert stage.build(build_id).state == "building"
    stage.cluster.has_quorum = True
    stage.cluster.note_change()

    assert (await stage.ended(build_id)).version == 1


async def test_a_node_that_ends_gives_its_build_back_and_takes_its_processes_along(tmp_path: Path) -> None:
    async with working(tmp_path) as stage:
        repository = make_repository(tmp_path / "r", hostile_project(PAUSE))
        build_id = stage.request(repository.url)
        await stage.running(build_id)

    assert stage.nothing_is_left()
    job = stage.cluster.state.queue.jobs[stage.build(build_id).job_id or 0]
    assert str(job.state) in ("ready", "delayed")


async def test_a_node_that_is_stopped_gives_its_build_to_the_next_worker_at_once(
    tmp_path: Path, stage: Stage
) -> None:
    repository = make_repository(tmp_path / "r", hostile_project(PAUSE))
    build_id = stage.request(repository.url)
    await stage.running(build_id)

    await stage.worker.stop()

    assert stage.nothing_is_left()
    assert stage.build(build_id).state == "queued"


async def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    limits = replace(Settings().limits, free_disk_bytes=2**62)
    async with working(tmp_path, replace(Settings(), limits=limits)) as stage:
        build = await stage.ended(stage.request("https://example.org/x.git"))

    assert "has only" in (build.failure or "")
    assert "free_disk_bytes" in (build.failure or "")


async def test_a_node_whose_roles_leave_out_building_builds_nothing(tmp_path: Path) -> None:
    settings = replace(Settings(), node=replace(Settings().node, roles=("deploy",)))
    async with working(tmp_path, settings) as stage:
        await asyncio.wait_for(stage.worker.run(), timeout=5)

    assert not stage.cluster.commands


async def test_a_further_slug_is_of_the_very_commit_and_made_with_an_interpreter_of_the_nodes_it_is_for(
    tmp_path: Path, stage: Stage
) -> None:
    repository = make_repository(tmp_path / "r", PYTHON_APP)
    first = await stage.ended(stage.request(repository.url))
    (slug,) = stage.cluster.state.registry.slugs()
    assert slug.interpreter is not None
    repository.commit({"newer.txt": "not of the release"})
    stage.cluster.change_node("pi1", interpreters=(slug.interpreter, "/opt/no/bin/python3.99"))

    built = await stage.ended(vary(stage, first, slug.interpreter))
    failed = await stage.ended(vary(stage, first, "/opt/no/bin/python3.99"))

    assert (built.state, built.commit) == ("succeeded", first.commit)
    assert list(stage.cluster.state.registry.slugs()) == [slug], "the same bytes"
    said = f"-----> For aarch64 with {slug.interpreter}: what build {first.id} built, once more"
    assert said in stage.log(built.id)
    assert failed.state == "failed" and "no Python is installed here" in (failed.failure or "")


async def test_a_node_leaves_alone_what_is_to_be_built_for_nodes_that_are_not_like_it(
    tmp_path: Path, stage: Stage
) -> None:
    repository = make_repository(tmp_path / "r", PYTHON_APP)
    stage.cluster.change_node("pi3", arch="riscv64")
    first = await stage.ended(stage.request(repository.url))
    for_others = int(stage.cluster.apply(RequestVariant(build_id=first.id, arch="riscv64")))
    stage.cluster.apply(CreateApp(name="shop", owner="ada"))

    shop = RequestBuild(
        app="shop", git_url=repository.url, ref=None, subdirectory=None, actor="ada", is_admin=True
    )
    assert (await stage.ended(int(stage.cluster.apply(shop)))).state == "succeeded"

    assert stage.build(for_others).state == "queued"


async def test_the_log_of_a_build_names_the_nodes_that_its_slug_does_not_run_on(
    tmp_path: Path, stage: Stage
) -> None:
    repository = make_repository(tmp_path / "r", PYTHON_APP)
    stage.cluster.change_node("pi2", interpreters=("/usr/bin/python3.99",))

    build = await stage.ended(stage.request(repository.url))

    assert "-----> It does not run on pi2, which gets a slug of its own" in stage.log(build.id)


def vary(stage: Stage, first: Build, interpreter: str) -> int:
    command = RequestVariant(build_id=first.id, arch="aarch64", interpreters=(interpreter,))
    return int(stage.cluster.apply(command))
