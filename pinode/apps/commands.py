"""Everything that can be asked of the registry.

One frozen dataclass each; `codec.py` alone makes bytes of them.

A command carries who asks (`actor`, for the record; whether they may is checked before it is proposed, and
again in `apply` where the answer can change meanwhile). New fields get defaults; none is renamed or reused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pinode.apps.cron import CronEntry
from pinode.apps.health_check import HealthCheck
from pinode.apps.source import Origin, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateApp:
    """Refused with `AppExists` when the name is taken, `TooManyApps` at the owner's limit.

    Result: its port index.
    """

    name: str
    owner: str
    git_url: str | None = None
    apps_per_user: int = 20
    app_ports: int = 1000  # how many ports `[listen] app_ports` has


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyApp:
    """Removes the app with its builds, releases and placements; queued build jobs are cancelled."""

    name: str
    actor: str
    created_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameApp:
    """Everything of the app goes on under `name`. Refused with `AppExists` when that is taken."""

    app: str
    name: str
    actor: str
    created_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConfig:
    """Sets and unsets config vars; makes a new release from the newest good one, if there is one."""

    app: str
    set_values: Mapping[str, bytes] = field(default_factory=dict)  # sealed
    unset: tuple[str, ...] = ()
    actor: str = ""
    created_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFormation:
    """How many dynos of each named type; types not named stay as they are. Refused over `dynos_per_user`."""

    app: str
    quantities: Mapping[str, int]
    actor: str
    dynos_per_user: int = 20
    created_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMaintenance:
    """While it is on, routers answer for the app with a page that says so; its dynos go on."""

    app: str
    on: bool
    actor: str
    created_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StopDynos:
    """No dyno of the app runs until `RestartDynos` or the next deploy."""

    app: str
    actor: str
    created_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartDynos:
    """Marks dynos of the live release to be replaced, one after another; starts a stopped app again.

    `dyno` is one (`web.1`), a process type (`web`), or None for all. Result: how many.
    """

    app: str
    actor: str
    dyno: str | None = None
    created_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBuild:
    """Creates the Build and puts its job on `pinode.builds` in the same entry. Result: the build's id.

    A still-queued build of the same app is superseded (cancelled, its job too) and says so.
    """

    app: str
    git_url: str | None
    ref: str | None
    subdirectory: str | None
    actor: str
    # Of the git URL, sealed under the data key; without any, those of an earlier build from the same URL.
    sealed_credentials: bytes | None = field(default=None, repr=False)
    is_admin: bool = False  # may fetch from file://, loopback and link-local
    origin: Origin = "git"
    source: Source | None = None  # what was pushed or uploaded, instead of a git URL
    hook: str | None = None  # the webhook that asks
    delivery: str | None = None  # what it was sent, as a digest: refused when it comes again
    created_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestVariant:
    """Builds what `build_id` built once more, for nodes with this CPU and these interpreters; the slug is one
    more of the releases made of that build. Result: the new build's id.

    Refused while another build of the app is open, and when its source is not kept any more.
    """

    build_id: int
    arch: str
    interpreters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartBuild:
    """A worker that holds the job's lease says that it begins. Refused with `LeaseLost` for an old token."""

    build_id: int
    token: int
    node_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteBuild:
    """Acks the job and makes the release, or gives it one more slug; both or neither. Refused with
    `LeaseLost` for an old token.
    """

    build_id: int
    token: int
    commit: str
    slug_digest: str
    slug_bytes: int
    arch: str
    python: str | None
    holders: tuple[str, ...]
    process_types: Mapping[str, str]
    default_formation: Mapping[str, int] = field(default_factory=dict)
    dynos_per_user: int = 20
    health_checks: Mapping[str, tuple[HealthCheck, ...]] = field(default_factory=dict)
    cron: tuple[CronEntry, ...] = ()
    first_config: Mapping[str, bytes] = field(default_factory=dict)  # sealed; where the app has no release
    interpreter: str | None = None  # path of a program of the node without which the slug does not run


@dataclass(frozen=True, slots=True, kw_only=True)
class FailBuild:
    """Acks the job and marks the build failed; the old release keeps serving."""

    build_id: int
    token: int
    failure: str
    commit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelBuild:
    """Ends a build that waits. One that runs is to be ended by its worker; nothing comes of it any more."""

    build_id: int
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndCancelledBuild:
    """The worker of a cancelled build has ended all its processes. Refused with `LeaseLost` as ever."""

    build_id: int
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldSlug:
    """`node_id` has verified the slug or source on its disk (or, with `holds=False`, has lost it)."""

    digest: str
    node_id: str
    holds: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The plan's decision; its number is the entry's index.

    `replaces` is the placement number it takes over from; with `is_beside` that one serves until this is up.
    """

    app: str
    version: int
    process_type: str
    ordinal: int
    node_id: str
    replaces: int | None = None
    is_beside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplace:
    """The dyno of this placement is to stop."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeReleaseLive:
    """The release's dynos answer: routes go to it from now on."""

    app: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """Makes a new release of the slug, config vars and process types of an old one. Result: its version.

    Without a version: of the live one while a newer one comes up, else of the one that served before it.
    """

    app: str
    actor: str
    version: int | None = None
    created_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FailRelease:
    """The release did not come up: its placements go, the live one stays.

    `failure` is one line and what to do, `last_lines` is what the dyno said that failed it.
    """

    app: str
    version: int
    failure: str
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartReleaseCommand:
    """The node of this placement is about to start the `release:` command; it may do so once."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndReleaseCommand:
    """How the `release:` command of this placement ended: well, or with a failure (a line, what to do)."""

    number: int
    failure: str | None = None
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FireCron:
    """Entry `ordinal` of the live release's cron is to run on this node, once; with `minute` (Unix seconds)
    because that came, without because `actor` asks.

    Result: the run's number; 0: its minute is skipped, because of runs that have not ended. Refused with
    `CronFired` when that minute, or a later one, was fired before.
    """

    app: str
    version: int
    ordinal: int
    node_id: str
    minute: int | None = None
    actor: str = ""
    created_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveCronRun:
    """A run that has not begun, on a node that is gone, is to run on this one. Result: its new number."""

    number: int
    node_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCronRun:
    """The node of this run is about to start its process; it may do so once."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndCronRun:
    """How this run ended: with an exit code, where anybody knows it, and well if there is no failure."""

    number: int
    exit_code: int | None = None
    failure: str | None = None  # one line


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateHook:
    """An address that a git server may call. Refused: `TooManyHooks`."""

    app: str
    id: str
    sealed_secret: bytes = field(repr=False)
    branch: str | None = None
    actor: str
    created_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeHook:
    """The address is gone. Refused: `HookNotFound`."""

    app: str
    id: str
    actor: str
    created_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDeployKey:
    """The key by which builds of the app fetch over ssh; without one, none."""

    app: str
    actor: str
    sealed_key: bytes | None = field(default=None, repr=False)
    public_key: str | None = None
    created_index: int = 0


# Given by people about an app they may manage. `created_index` is of the very app that was checked; 0:
# whichever has the name by then.
AppCommand = (
    DestroyApp | RenameApp | SetConfig | SetFormation | SetMaintenance | StopDynos | RestartDynos
    | RequestBuild | Rollback | CreateHook | RevokeHook | SetDeployKey | FireCron
)  # fmt: skip
RegistryCommand = (
    CreateApp | DestroyApp | RenameApp | SetConfig | SetFormation | RequestBuild | RequestVariant | StartBuild
    | CompleteBuild | FailBuild | CancelBuild | EndCancelledBuild | HoldSlug | Place | Unplace
    | MakeReleaseLive | FailRelease | Rollback | StartReleaseCommand | EndReleaseCommand | SetMaintenance
    | StopDynos | RestartDynos | CreateHook | RevokeHook | SetDeployKey | FireCron | MoveCronRun
    | StartCronRun | EndCronRun
)  # fmt: skip
