"""What nodes observe and tell each other; never in the log, always replaceable by a newer observation."""

from dataclasses import dataclass, field
from typing import Literal

DynoState = Literal["fetching", "starting", "up", "stopping", "crashed", "exited", "failed"]
# cordoned: takes nothing new; drained: its dynos move away too; leaving: the log's group goes on without it.
Availability = Literal["active", "cordoned", "drained", "leaving"]
NodeState = Literal["alive", "suspect", "dead", "left"]
CountsAs = Literal["voter", "learner", "none"]  # none: registered, not yet or no longer in the log's group


@dataclass(frozen=True, slots=True, kw_only=True)
class DynoReport:
    """One row of a node about one of its dynos; named by the placement it carries out.

    crashed: ended, will be started again at the end of its back-off; failed: given up (crash loop, or the
    release never listened); `detail` then is one line for people, with what to do.
    """

    placement: int
    app: str
    version: int
    process_type: str
    ordinal: int
    node_id: str
    state: DynoState
    port: int | None = None  # on the node's loopback, once the listening socket was found to be the dyno's
    restarts: int = 0
    exit_code: int | None = None
    detail: str | None = None
    last_lines: tuple[str, ...] = ()  # what it said before it crashed or failed
    since_ms: int = 0  # cluster time at which the state began


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStats:
    """The `stats` of `pinode status`, as one node measured them itself.

    `age_seconds` is added by whoever shows them.
    """

    cpu_percent: float = 0.0
    load_1m: float = 0.0
    memory_percent: float = 0.0
    memory_bytes: int = 0
    disk_percent: float = 0.0
    disk_free_bytes: int = 0
    net_tx_bytes_per_s: float = 0.0
    net_rx_bytes_per_s: float = 0.0
    temperature_celsius: float | None = None
    throttled: bool | None = None
    disk_written_bytes_per_hour: int = 0
    loop_lag_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A node as this one sees it: registered in the agreed state, observed by gossip."""

    node_id: str
    name: str
    host: str
    peer_port: int
    web_port: int
    router_port: int  # router to router
    state: NodeState
    incarnation: int
    availability: Availability = "active"  # as agreed
    feature_level: int = 1  # as it is registered
    counts_as: CountsAs = "voter"  # in the log, by what is agreed and applied here
    version: str = ""
    arch: str = ""
    python: str = ""
    interpreters: tuple[str, ...] = ()  # paths of those that slugs may need; none: it does not say
    roles: tuple[str, ...] = ("build", "deploy")
    started_at_unix: float = 0.0  # wall clock of that node, for uptime shown to people only
    stats: NodeStats = field(default_factory=NodeStats)
    stats_age_seconds: float | None = None  # None: never heard
    dynos: int = 0
    builds: int = 0
    warnings: tuple[str, ...] = ()  # what the node says of itself, e.g. "dynos run without a sandbox"
    taken_names: tuple[str, ...] = ()  # apps whose names another machine has, as this node found when it led

    @property
    def is_in_reach(self) -> bool:
        """Whether it lives, as far as can be told."""
        return self.state in ("alive", "suspect")

    def takes(self, role: str) -> bool:
        """Whether it is there for more builds ("build") or dynos ("deploy")."""
        return self.state == "alive" and role in self.roles and self.availability == "active"

    @property
    def is_to_be_emptied(self) -> bool:
        """Whether its dynos are to run elsewhere."""
        return self.availability in ("drained", "leaving")
