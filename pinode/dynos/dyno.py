"""One dyno as decisions: events and the time go in, effects come out, and its state can be read at any time.

                 prepared       answers
    fetching ---------> starting ------> up
        ^                  ^  |           |  ends by itself
        |                  |  v           v
        `-- no slug        crashed / exited ----> failed (several times in a row, or it never listened)
    stop, from anywhere: stopping -> gone         failed: tried again much later

A dyno is stopped by leaving the routes first, then SIGTERM, then SIGKILL of everything in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pinode.apps.checks import last_lines as kept_lines
from pinode.apps.health_check import HealthCheck
from pinode.apps.observed import DynoState
from pinode.dynos.endings import ending, telling


@dataclass(frozen=True, slots=True, kw_only=True)
class DynoTimings:
    """Bounds of a dyno's life, in seconds."""

    start_seconds: float = 60.0  # until it answers on PORT
    stop_seconds: float = 30.0  # from SIGTERM to SIGKILL
    drain_seconds: float = 1.0  # from "stopping" to SIGTERM: routers hear of it first
    settle_seconds: float = 1.0  # a dyno without a port is up when it runs for so long
    # Between two looks whether it answers, a tenth of the time since its start: little is lost when it does.
    probe_seconds: float = 0.05  # at least
    longest_probe_seconds: float = 1.0  # at most
    backoff_seconds: float = 1.0  # before it is started again, doubled for each crash in a row
    longest_backoff_seconds: float = 60.0
    crash_limit: int = 4  # so many crashes in a row are a crash loop
    stable_seconds: float = 60.0  # up for so long: earlier crashes are forgotten
    retry_seconds: float = 300.0  # a failed dyno is tried again
    release_seconds: float = 900.0  # for a `release:` command to end
    cron_seconds: float = 21_600.0  # for a run of cron to end

    def backoff(self, times: int) -> float:
        """Seconds to wait after so many failures in a row."""
        factor: int = 2 ** min(times - 1, 20)
        return min(self.backoff_seconds * factor, self.longest_backoff_seconds)


@dataclass(frozen=True, slots=True)
class Prepare:
    """Have the slug here and lay its files out anew."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start its process."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask it over HTTP. The last time, find out where it listens instead."""

    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Terminate:
    """SIGTERM to its process group."""


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to everything in it."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Have it agreed that its `release:` command begins now."""


@dataclass(frozen=True, slots=True)
class Conclude:
    """Have it agreed how its `release:` command ended: well, or with this failure."""

    failure: str | None


@dataclass(frozen=True, slots=True)
class Forget:
    """It is gone: remove its files."""


Effect = Prepare | Start | Probe | Terminate | Kill | Announce | Conclude | Forget


class Dyno:
    """The state machine. `port` is where it must listen; None: it need not (a worker)."""

    def __init__(
        self, *, app: str, timings: DynoTimings, listens: bool, checks: Sequence[HealthCheck] = ()
    ) -> None:
        self.state: DynoState = "fetching"
        self.restarts = 0
        self.exit_code: int | None = None
        self.detail: str | None = None
        self.last_lines: tuple[str, ...] = ()  # of what it said before it crashed or failed
        self.is_gone = False
        self.app = app
        self._timings = timings
        self._listens = listens
        self._first_look_seconds = max(
            (max(check.initial_delay_seconds, check.uptime_seconds) for check in checks), default=0
        )
        self._attempts = max((check.attempts for check in checks), default=1)
        self._wait_seconds = max((check.wait_seconds for check in checks), default=0)
        self._wrong_answers = 0  # of this process, to its health checks
        self._why_killed = ""  # by this node
        self._is_starting = False  # its process is being made, and cannot be stopped yet
        self._is_running = False
        self._is_wanted = True
        self._crashes = 0  # in a row
        self._failures_to_fetch = 0
        self._started_at = 0.0
        self._due: dict[str, float] = {}  # by name: prepare, probe, listen, settle, stable, terminate, kill

    # --- events

    def begin(self, now: float) -> list[Effect]:
        """It is wanted here."""
        return [Prepare()]

    def adopt(self, now: float, *, is_listening: bool, restarts: int) -> list[Effect]:
        """Its process runs already, from before the node process."""
        self.restarts = restarts
        effects = self.started(now)
        if is_listening or not self._listens:
            self._now_up(now)
            return []
        return effects

    def prepared(self, now: float) -> list[Effect]:
        """Slug and files are here."""
        if not self._is_wanted or self._is_running or self._is_starting:
            return []
        self._failures_to_fetch = 0
        self.detail = None
        self._is_starting = True
        return [Start()]

    def prepare_failed(self, detail: str, now: float) -> list[Effect]:
        """The slug is not to be had now; another node may come."""
        if self._is_wanted:
            self._failures_to_fetch += 1
            self.state, self.detail = "fetching", detail
            self._due["prepare"] = now + self._timings.backoff(self._failures_to_fetch)
        return []

    def may_have_another_slug(self, now: float) -> list[Effect]:
        """What it was started from is not what fits this node best any more: what failed may do now."""
        if self._is_running or self._is_starting or self._due.pop("prepare", None) is None:
            return []
        self._crashes = self._failures_to_fetch = 0
        return self._start_again()

    def started(self, now: float) -> list[Effect]:
        """Its process runs."""
        self._is_starting, self._is_running = False, True
        if not self._is_wanted:
            return self._end_process(now, drain_seconds=0)
        self.state, self.exit_code = "starting", None
        if self._listens:
            self._started_at, self._wrong_answers = now, 0
            self._due["probe"] = now + max(self._timings.probe_seconds, self._first_look_seconds)
            patience = self._first_look_seconds + (self._attempts - 1) * self._wait_seconds
            self._due["listen"] = now + self._timings.start_seconds + patience
        else:
            self._due["settle"] = now + max(self._timings.settle_seconds, self._first_look_seconds)
        return []

    def start_failed(self, detail: str, now: float) -> list[Effect]:
        """Its process could not be made."""
        self._is_starting = False
        return self._crashed(detail, now) if self._is_wanted else self._gone()

    def answered(self, now: float) -> list[Effect]:
        """It answered over HTTP, and the listening socket is its own."""
        if self.state == "starting" and self._is_running:
            self._now_up(now)
        return []

    def did_not_answer(
        self, reason: str, now: float, *, is_last: bool, last_lines: Sequence[str] = ()
    ) -> list[Effect]:
        """Not yet; or, the last time, not at all."""
        if self.state != "starting" or not self._is_running:
            return []
        if not is_last:
            delay = max(self._timings.probe_seconds, (now - self._started_at) / 10)
            self._due["probe"] = now + min(delay, self._timings.longest_probe_seconds)
            return []
        self.last_lines = kept_lines(last_lines)
        self._failed(f"did not answer on PORT within {self._timings.start_seconds:g} s: {reason}", now)
        return self._end_process(now, drain_seconds=0)

    def answered_wrongly(
        self, reason: str, now: float, *, is_last: bool, last_lines: Sequence[str] = ()
    ) -> list[Effect]:
        """It answers, but not as its health check wants."""
        if self.state != "starting" or not self._is_running:
            return []
        self._wrong_answers += 1
        if not is_last and self._wrong_answers < self._attempts:
            self._due["probe"] = now + self._wait_seconds
            return []
        self.last_lines = kept_lines(last_lines)
        times = "once" if self._wrong_answers == 1 else f"{self._wrong_answers} times"
        self._failed(f"did not pass its health check, asked {times}: {reason}", now)
        return self._end_process(now, drain_seconds=0)

    def exited(self, exit_code: int | None, last_lines: Sequence[str], now: float) -> list[Effect]:
        """Its process ended, and with it all others in it."""
        self._is_running = False
        self.exit_code = exit_code
        for name in ("probe", "listen", "settle", "stable", "terminate", "kill"):
            self._due.pop(name, None)
        if not self._is_wanted:
            return self._gone()
        self.last_lines = kept_lines(last_lines)
        why, self._why_killed = self._why_killed, ""
        if self.state == "failed":  # it was ended because it did not listen
            return []
        if why:
            return self._crashed(why, now)
        said = telling(self.last_lines).rstrip(". ")
        return self._crashed(f"{ending(exit_code)}: {said}" if said else ending(exit_code), now)

    def took_too_much(self, detail: str, now: float) -> list[Effect]:
        """It is beyond a bound: it crashes, and this is why."""
        if not self._is_running or not self._is_wanted:
            return []
        self._why_killed = detail
        return [Kill()]

    def stop(self, now: float, *, drain: bool = True) -> list[Effect]:
        """It is not wanted here any more."""
        if not self._is_wanted:
            return []
        self._is_wanted = False
        self._due.clear()
        if not self._is_running and not self._is_starting:
            return self._gone()
        was_up = self.state == "up"
        self.state, self.detail = "stopping", None
        if self._is_starting:
            return []
        return self._end_process(now, drain_seconds=self._timings.drain_seconds if drain and was_up else 0)

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        for name in sorted(name for name, at in self._due.items() if at <= now):
            if self._due.pop(name, None) is not None:
                effects += self._is_due(name, now)
        return effects

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return min(self._due.values(), default=None)

    # --- decisions

    def _is_due(self, name: str, now: float) -> list[Effect]:
        match name:
            case "prepare":
                return self._start_again()
            case "probe":
                return [Probe()]
            case "listen":
                self._due.pop("probe", None)
                return [Probe(is_last=True)]
            case "settle":
                self._now_up(now)
            case "stable":
                self._crashes = 0
            case "terminate":
                self._due["kill"] = now + self._timings.stop_seconds
                return [Terminate()]
            case "kill":
                return [Kill()]
        return []

    def _start_again(self) -> list[Effect]:
        if self.state != "fetching":
            self.restarts += 1
            self.state, self.detail = "starting", None
        return [Prepare()]

    def _now_up(self, now: float) -> None:
        self.state, self.detail, self.last_lines = "up", None, ()
        for name in ("probe", "listen", "settle"):
            self._due.pop(name, None)
        self._due["stable"] = now + self._timings.stable_seconds

    def _crashed(self, detail: str, now: float) -> list[Effect]:
        self._crashes += 1
        if self._crashes >= self._timings.crash_limit:
            self._failed(f"crashed {self._crashes} times in a row; the last time it {detail}", now)
            return []
        delay = self._timings.backoff(self._crashes)
        self.state = "exited" if self.exit_code == 0 else "crashed"
        self.detail = f"{detail}. Started again in {delay:g} s"
        self._due["prepare"] = now + delay
        return []

    def _failed(self, detail: str, now: float) -> None:
        self.state = "failed"
        self.detail = f"{detail}. See: pinode logs -a {self.app}"
        self._due["prepare"] = now + self._timings.retry_seconds

    def _end_process(self, now: float, *, drain_seconds: float) -> list[Effect]:
        if drain_seconds:
            self._due["terminate"] = now + drain_seconds
            return []
        return self._is_due("terminate", now)

    def _gone(self) -> list[Effect]:
        self._due.clear()
        self.is_gone = True
        return [Forget()]
