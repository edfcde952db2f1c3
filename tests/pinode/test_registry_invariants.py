"""Random commands, whatever their order, keep what must always hold of the registry."""

from random import Random
from typing import Any

import pytest

from pinode.apps.build import abilities
from pinode.apps.commands import (
    CancelBuild,
    CreateApp,
    DestroyApp,
    EndCancelledBuild,
    FailBuild,
    FailRelease,
    HoldSlug,
    MakeReleaseLive,
    Place,
    RenameApp,
    RequestBuild,
    RequestVariant,
    RestartDynos,
    Rollback,
    SetConfig,
    SetFormation,
    SetMaintenance,
    StartBuild,
    StopDynos,
    Unplace,
)
from pinode.apps.errors import Refused
from pinode.apps.records import size_of
from pinode.apps.registry import Registry
from replicated_queue.errors import Refusal
from replicated_queue.queue.commands import Bury, ExpireLease, Nack
from tests.pinode.agreement import GIT_URL, Agreement, completion

WORKER_VERBS = (
    "take",
    "start",
    "complete",
    "fail",
    "cancel",
    "cancelled",
    "expire",
    "nack",
    "bury",
    "unplace",
    "deploy",
)


def random_step(random: Random, registry: Registry) -> Any:
    """A command, or a worker's verb with how recent a thing it means: the newest, the one before, ..."""
    app = random.choice("ab")
    known = registry.app(app)
    version = (known.last_version if known else 1) - random.choice([0, 0, 0, 1, 2])
    numbers = [None, None, *(placement.number for placement in registry.placements())]
    builds = [build.id for build in registry.builds(app)] or [0]
    node = random.choice(["n1", "n2"])
    process_type = random.choice(["web", "worker"])
    commands = [
        CreateApp(name=app, owner="ada"),
        SetConfig(app=app, set_values={random.choice("XY"): random.randbytes(2)}, actor="ada"),
        SetConfig(app=app, unset=("X",), actor="ada"),
        SetFormation(app=app, quantities={process_type: random.randint(0, 3)}, actor="ada"),
        RequestBuild(app=app, git_url=GIT_URL, ref=None, subdirectory=None, actor="ada"),
        RequestVariant(build_id=random.choice(builds[-3:]), arch="x86_64"),
        Place(
            app=app,
            version=version,
            process_type=process_type,
            ordinal=random.randint(1, 2),
            node_id=node,
            replaces=random.choice(numbers),
        ),
        MakeReleaseLive(app=app, version=version),
        FailRelease(app=app, version=version, failure="x"),
        RestartDynos(app=app, dyno=random.choice([None, "web", "worker.1"]), actor="ada"),
        random.choice([StopDynos(app=app, actor="ada"), SetMaintenance(app=app, on=True, actor="ada")]),
        Rollback(app=app, version=random.choice([None, version]), actor="ada"),
        HoldSlug(digest=random.choice("12") * 64, node_id=node, holds=random.random() < 0.5),
    ]
    if random.random() < 0.02:
        return RenameApp(app=app, name=random.choice("ab"), actor="ada")
    if random.random() < 0.01:
        return DestroyApp(name=app, actor="ada")
    if random.random() < 0.5:
        return random.choice(commands)
    return random.choice(WORKER_VERBS), random.choice([0, 0, 0, 1, 2])


class Life:
    """Plays steps that name builds and placements by how recent they are."""

    def __init__(self) -> None:
        self.agreed = Agreement()
        self.leases: list[tuple[int, int]] = [(0, 0)]  # (build, token), also of those that ended
        self.succeeded: list[int] = []

    def step(self, step: Any) -> bool:
        """Whether it was done; else it was refused."""
        self.agreed.now += 1
        try:
            if isinstance(step, tuple):
                self._step_of_worker(*step)
            else:
                self.agreed.do(step)
        except (Refused, Refusal):
            return False
        return True

    def _step_of_worker(self, verb: str, recent: int) -> None:
        agreed = self.agreed
        build_id, token = self.leases[-1 - recent % len(self.leases)]
        build = agreed.registry.build(build_id)
        job_id = build.job_id if build is not None and build.job_id is not None else 0
        match verb:
            case "take":
                build_id, token = agreed.take_job(has=abilities("x86_64", ()))
                if build_id:
                    self.leases.append((build_id, token))
                    agreed.do(StartBuild(build_id=build_id, token=token, node_id="n1"))
            case "start":
                agreed.do(StartBuild(build_id=build_id, token=token, node_id="n2"))
            case "complete":
                types = {"web": "x", "worker": "y"}
                completed = completion(build_id, token, slug=str(1 + build_id % 3), process_types=types)
                if agreed.do(completed):
                    self.succeeded.append(build_id)
            case "fail":
                agreed.do(FailBuild(build_id=build_id, token=token, failure="x"))
            case "cancel":
                agreed.do(CancelBuild(build_id=build_id, actor="ada"))
            case "cancelled":
                agreed.do(EndCancelledBuild(build_id=build_id, token=token))
            case "expire":
                agreed.do_on_queue(ExpireLease(job_id, token))
            case "nack":
                agreed.do_on_queue(Nack(job_id, token, platform=True))
            case "bury":
                agreed.do_on_queue(Bury(job_id, token, platform=True))
            case "deploy":
                agreed.request("ab"[recent % 2])
                self._step_of_worker("take", 0)
                self._step_of_worker("complete", 0)
            case "unplace":
                placements = agreed.registry.placements()
                agreed.do(
                    Unplace(number=placements[-1 - recent % len(placements)].number if placements else 0)
                )


def check(life: Life) -> None:
    registry = life.agreed.registry
    for app in registry.apps():
        releases = registry.releases(app.name)
        live = [release.version for release in releases if release.state == "live"]
        pending = [release.version for release in releases if release.state == "pending"]
        assert live == ([app.live_version] if app.live_version else []), "one live release, the app's"
        assert len(pending) <= 1 and (not pending or not live or pending[0] > live[0])
        assert releases == () or releases[0].version == app.last_version
        building = [build for build in registry.builds(app.name) if build.state == "building"]
        queued = [build for build in registry.builds(app.name) if build.state == "queued"]
        assert len(building) <= 1 and len(queued) <= 1, "of one app one build runs and one waits"
        asked_for = [build for build in queued if build.variant_of is None]
        assert asked_for == [] or not [
            build for build in building if build.variant_of and not build.cancelled_by
        ]
        with_job = [build for build in (*building, *queued) if build.job_id is not None]
        assert len(with_job) == (1 if building or queued else 0), "exactly the next one has a job"
        assert all(build.job_id in life.agreed.queue.jobs for build in with_job), "and the job is there"
    assert len({app.port_index for app in registry.apps()}) == len(registry.apps())
    assert len({app.folder_name for app in registry.apps()}) == len(registry.apps())
    check_placements(registry)
    assert len(life.succeeded) == len(set(life.succeeded)), "one release of one build"
    assert registry.size_bytes == size_of_all(registry)


def check_placements(registry: Registry) -> None:
    placements = registry.placements()
    for placement in placements:
        release = registry.release(placement.app, placement.version)
        assert release is not None and release.state != "failed", "placements only of releases that serve"
    dynos = {(one.app, one.version, one.process_type, one.ordinal) for one in placements}
    assert len(dynos) == len(placements), "one placement a dyno"
    used = {
        digest
        for app in registry.apps()
        for release in registry.releases(app.name)
        for digest in release.slug_digests
    }
    assert {slug.digest for slug in registry.slugs()} == used


def size_of_all(registry: Registry) -> int:
    rows: list[object] = [*registry.apps(), *registry.slugs(), *registry.placements()]
    for app in registry.apps():
        rows += [*registry.builds(app.name), *registry.releases(app.name)]
    return sum(size_of(row) for row in rows)


@pytest.mark.parametrize("seed", range(20))
def test_random_commands_keep_the_invariants_and_replay_to_the_same_state(seed: int) -> None:
    random = Random(seed)
    life = Life()

    for _ in range(150):
        life.step(random_step(random, life.agreed.registry))
        check(life)

    assert life.agreed.replay().digest() == life.agreed.state.digest()


@pytest.mark.parametrize("seed", range(20))
def test_a_refused_command_leaves_nothing_behind(seed: int) -> None:
    random = Random(1_000 + seed)
    life = Life()

    for _ in range(100):
        step = random_step(random, life.agreed.registry)
        before = life.agreed.registry.digest()
        was_done = life.step(step)
        assert was_done or isinstance(step, tuple) or life.agreed.registry.digest() == before, step
