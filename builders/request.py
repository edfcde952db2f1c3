"""What a builder is asked and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from builders.app_json import AppJson

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much one build may take. Whoever starts the build watches wall, disk and memory from outside as
    well.
    """

    wall_seconds: float = 900
    silence_seconds: float = 300
    output_bytes: int = 2 * MIB
    clone_bytes: int = 500 * MIB  # of what is fetched, and again of what is checked out
    clone_files: int = 100_000
    slug_bytes: int = 500 * MIB
    disk_bytes: int = 2048 * MIB  # of all that the build writes
    files: int = 200_000  # of all that it makes; as many as a slug may have
    memory_bytes: int = 1024 * MIB
    processes: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python that apps may be built for. `root` is the directory that must be visible for it to run."""

    path: str
    version: str  # "3.11.2"
    root: str  # "/usr", or its own installation directory
    is_own: bool = False  # the one that the caller itself runs on
    in_home: bool = False  # in somebody's home directory


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """All that one build needs to know; paths as the builder sees them, inside its sandbox."""

    git_url: str = field(default="", repr=False)
    deploy_key: str = field(default="", repr=False)  # for ssh, in PEM
    archive: str = ""  # path of a source made by `builders.intake`, instead of a git URL
    commit: str = ""  # of that source
    ref: str = ""  # branch, tag or full commit; empty: the default branch
    directory: str = ""  # of the app in the repository
    administrator: bool = False  # may use file:// and loopback
    work: str = "/build"  # private and empty; scratch
    app: str = "/app"  # where the app is laid out; empty
    output: str = "/output"  # slug.tar.gz and result.json are written here
    cache: str = "/cache"  # kept between builds of all apps; only what runs nothing of an app may see it
    own_cache: str = "/own"  # kept between builds of this app
    uv: str = "uv"
    nodejs: bool = True  # whether the Node.js of this machine may be what the app needs
    machines: tuple[str, ...] = ()  # that may run the app, as in `uname -m`; empty: such as this one
    bwrap: str = ""  # walls around the app's own code; empty: none
    interpreters: tuple[Interpreter, ...] = ()
    python_downloads: bool = False  # uv may fetch an interpreter that is missing
    config_vars: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_first: bool = False  # no release yet: config vars that are not set get what app.json gives them
    secrets: tuple[str, ...] = field(default=(), repr=False)  # kept out of the log, besides those in git_url
    bounds: Bounds = Bounds()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """A slug was built."""

    commit: str
    slug_sha256: str
    slug_bytes: int
    builder: str  # name of the builder that matched
    process_types: Mapping[str, str]
    machine: str | None = None  # for which it is, as in `uname -m`, several, or "any"; None: the builder's
    python: str | None = None  # version
    interpreter: str | None = None  # path of a program of the node without which it does not run
    inferred: str | None = None  # what was chosen because no Procfile said it
    notes: tuple[str, ...] = ()
    app_json: AppJson = field(default_factory=AppJson)
    first_values: Mapping[str, str] = field(default_factory=dict, repr=False)  # of config vars


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFailure:
    """No slug: `message` is one line that says what happened, `hint` what to do."""

    code: str
    message: str
    hint: str = ""
    commit: str | None = None
    bound: str | None = None  # the bound that was hit, if one was


Outcome = BuildResult | BuildFailure
RESULT_FILE = "result.json"
SLUG_FILE = "slug.tar.gz"
