"""The dyno of a command that runs once, as decisions: a `release:` command, or a run of cron.

                 prepared          agreed          started        ends
    fetching ------------> starting ----> starting -------> up ----------> exited (status 0) or failed
                               |  it had begun before                          ^
                               `-----------------------------------------------'  nobody knows how it ended

Unlike any other dyno it is never started again: its start is agreed by all nodes before its process is made.
What a node finds begun and has no process of, has ended in a way that nobody knows, and is said to be so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pinode.apps.checks import last_lines as kept_lines
from pinode.apps.observed import DynoState
from pinode.dynos.dyno import Announce, Conclude, DynoTimings, Effect, Forget, Kill, Prepare, Start, Terminate
from pinode.dynos.endings import ending

UNKNOWN = (
    "it is unknown how the release command ended: the node on which it ran went down meanwhile. "
    "Look at what it changes, then deploy again; it was not started a second time."
)
UNKNOWN_RUN = "it is unknown how it ended: its node went down while it ran. It was not started a second time."


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceCommand:
    """What is told of it, and how long it may run."""

    name: str  # in a sentence
    longest_seconds: float
    unknown: str  # when nobody knows how it ended
    where_to_look: str = ""  # when it ended badly; `{app}` is its name by then


def release_command(version: int, timings: DynoTimings) -> OnceCommand:
    """The `release:` command of this release."""
    return OnceCommand(
        name="the release command",
        longest_seconds=timings.release_seconds,
        unknown=UNKNOWN,
        where_to_look=f" All it said: pinode logs -p release.{version} -a {{app}}",
    )


def cron_run(timings: DynoTimings) -> OnceCommand:
    """A run of cron; where it is shown, it is clear of which."""
    return OnceCommand(name="it", longest_seconds=timings.cron_seconds, unknown=UNKNOWN_RUN)


class OnceDyno:
    """The state machine; its events are those of `Dyno`."""

    def __init__(self, command: OnceCommand, *, app: str, timings: DynoTimings) -> None:
        self.state: DynoState = "fetching"
        self.restarts = 0
        self.exit_code: int | None = None
        self.detail: str | None = None
        self.last_lines: tuple[str, ...] = ()
        self.is_gone = False
        self.app = app
        self._command = command
        self._timings = timings
        self._is_wanted = True
        self._is_starting = False
        self._is_running = False
        self._is_overtime = False
        self._why_killed = ""  # by this node
        self._failures_to_fetch = 0
        self._due: dict[str, float] = {}  # by name: prepare, overtime, kill

    # --- events

    def begin(self, now: float) -> list[Effect]:
        """It is placed here."""
        return [Prepare()]

    def adopt(self, now: float, *, is_listening: bool, restarts: int) -> list[Effect]:
        """Its process runs already, from before the node process."""
        return self.started(now)

    def prepared(self, now: float) -> list[Effect]:
        """Slug and files are here: have the start agreed."""
        if not self._is_wanted:
            return []
        self.state, self.detail = "starting", None
        return [Announce()]

    def prepare_failed(self, detail: str, now: float) -> list[Effect]:
        """The slug is not to be had now; another node may come."""
        if self._is_wanted:
            self._failures_to_fetch += 1
            self.detail = detail
            self._due["prepare"] = now + self._timings.backoff(self._failures_to_fetch)
        return []

    def announced(self, now: float) -> list[Effect]:
        """All nodes know that it begins now."""
        if not self._is_wanted:
            # It may have been dropped in the moment it was agreed; it did not begin, and never will.
            return []
        self._is_starting = True
        return [Start()]

    def has_begun_before(self, now: float) -> list[Effect]:
        """It was agreed that it begins, and this process of the node did not start it."""
        return self._conclude(self._command.unknown)

    def started(self, now: float) -> list[Effect]:
        """Its process runs."""
        self._is_starting, self._is_running = False, True
        if not self._is_wanted:
            return self._terminate(now)
        self.state, self.detail = "up", None
        self._due["overtime"] = now + self._command.longest_seconds
        return []

    def start_failed(self, detail: str, now: float) -> list[Effect]:
        """Its process could not be made."""
        self._is_starting = False
        if not self._is_wanted:
            return self._gone()
        return self._conclude(f"{self._command.name} {detail}.")

    def exited(self, exit_code: int | None, last_lines: Sequence[str], now: float) -> list[Effect]:
        """Its process ended, and with it all others in it."""
        self._is_running = False
        self._due.clear()
        self.exit_code = exit_code
        self.last_lines = kept_lines(last_lines)
        if not self._is_wanted:
            return self._gone()
        if self._why_killed:
            return self._conclude(f"{self._command.name} {self._why_killed}.")
        if exit_code is None:
            return self._conclude(self._command.unknown)
        if self._is_overtime:
            bound = f"{self._command.longest_seconds:g} s"
            return self._conclude(f"{self._command.name} did not end within {bound} and was ended.")
        return self._conclude(None if exit_code == 0 else f"{self._command.name} {ending(exit_code)}.")

    def took_too_much(self, detail: str, now: float) -> list[Effect]:
        """It is beyond a bound: it fails, and this is why."""
        if not self._is_running or not self._is_wanted:
            return []
        self._why_killed = detail
        return [Kill()]

    def stop(self, now: float, *, drain: bool = True) -> list[Effect]:
        """Its placement is gone: because it ended, or because its release is not wanted any more."""
        if not self._is_wanted:
            return []
        self._is_wanted = False
        self._due.clear()
        if self._is_starting:
            return []
        if not self._is_running:
            return self._gone()
        self.state, self.detail = "stopping", None
        return self._terminate(now)

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        for name in sorted(name for name, at in self._due.items() if at <= now):
            del self._due[name]
            if name == "prepare":
                effects += [Prepare()]
            elif name == "overtime":
                self._is_overtime = True
                effects += self._terminate(now)
            else:
                effects += [Kill()]
        return effects

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return min(self._due.values(), default=None)

    # --- decisions

    def _conclude(self, failure: str | None) -> list[Effect]:
        self.state = "exited" if failure is None else "failed"
        if failure is not None:
            is_known = failure != self._command.unknown
            failure = failure + (self._command.where_to_look.format(app=self.app) if is_known else "")
        self.detail = failure
        return [Conclude(failure)]

    def _terminate(self, now: float) -> list[Effect]:
        self._due["kill"] = now + self._timings.stop_seconds
        return [Terminate()]

    def _gone(self) -> list[Effect]:
        self._due.clear()
        self.is_gone = True
        return [Forget()]
