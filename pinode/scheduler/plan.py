"""The plan: which commands bring what runs closer to what should run. Pure; the leader alone carries it out.

A pending release first has its `release:` command run, once, if it has one. Then it comes up beside the live
one. When its dynos answer it is made live, so that the routes go to it; the dynos of the old one are unplaced
a little later. If one of its dynos is given up, or none of them comes up in time, the release fails and the
old one keeps serving. Missing observations mean nothing: only a report, a node's death or a deadline makes
the plan act, and after a change of leaders the deadlines count anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pinode.apps.app import App
from pinode.apps.checks import RELEASE_TYPE
from pinode.apps.commands import FailRelease, MakeReleaseLive, Place, RegistryCommand, Unplace
from pinode.apps.observed import DynoReport, NodeView
from pinode.apps.placement import Placement
from pinode.apps.registry import Registry
from pinode.apps.release import Release
from pinode.apps.slug_kinds import slug_for
from pinode.scheduler.node_choice import NodeChoice
from pinode.scheduler.plan_memory import PlanMemory

START_SECONDS = 60  # in which a dyno must listen; its supervisor is first to say so
MARGIN_MS = 30_000  # for the supervisor to say so before the plan loses patience
FETCH_MS = 900_000  # from placement to answer, with a slug that takes long to fetch
DRAIN_GRACE_MS = 2_000  # from live to the old dynos' end: routes go first

UNKNOWN_END = (
    "it is unknown how the release command ended: {where} went away while it ran. "
    "Look at what it changes, then deploy again; it was not started a second time."
)

Slot = tuple[str, int]  # process type and ordinal


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Commands to execute now, in order, and when to plan again though nothing has changed (cluster time)."""

    commands: tuple[RegistryCommand, ...]
    due_ms: int | None


def plan(
    registry: Registry,
    nodes: Sequence[NodeView],
    reports: Sequence[DynoReport],
    *,
    now_ms: int,
    memory: PlanMemory,
    start_seconds: float = START_SECONDS,
) -> Plan:
    """What to do now. The same question gives the same answer, until its commands are applied."""
    memory.observe(registry, nodes, now_ms=now_ms)
    planning = _Planning(registry, nodes, reports, now_ms, memory, start_seconds)
    commands = [command for app in registry.apps() for command in planning.commands_for(app)]
    return Plan(commands=tuple(commands), due_ms=planning.due_ms)


class _Planning:
    """One plan in the making."""

    def __init__(
        self,
        registry: Registry,
        nodes: Sequence[NodeView],
        reports: Sequence[DynoReport],
        now_ms: int,
        memory: PlanMemory,
        start_seconds: float,
    ) -> None:
        self._registry = registry
        self._nodes = {node.node_id: node for node in nodes}
        self._reports = {(report.placement, report.node_id): report for report in reports}
        self._now_ms = now_ms
        self._memory = memory
        self._start_ms = int(start_seconds * 1000)
        self._choice = NodeChoice(nodes, registry.placements())
        self.due_ms: int | None = None

    def commands_for(self, app: App) -> list[RegistryCommand]:
        """At most one command for each dyno, and one verdict on a pending release."""
        live = self._registry.live_release(app.name)
        pending = self._registry.pending_release(app.name)
        verdict = self._verdict(app, pending) if pending is not None else None
        if verdict is not None:
            return [verdict]  # the rest follows from what it makes of the releases
        commands = self._fill(app, live, beside=pending) if live is not None else []
        if pending is not None and _owes_command(pending):
            commands += self._run_command(pending)
        elif pending is not None and live is not None and self._is_memory_short(pending):
            commands += self._fill_one_by_one(app, live, pending)
        elif pending is not None:
            commands += self._fill(app, pending)
        elif live is not None and not commands:
            commands += self._move(live) or self._restart(live)
        return commands + self._end_moved(app) + self._retire(app, live)

    def _verdict(self, app: App, release: Release) -> RegistryCommand | None:
        """Live or failed, as soon as that is known."""
        if _owes_command(release):
            return self._command_failure(release)
        wanted = _wanted(app, release)
        placed = [one for one in self._placements(release) if (one.process_type, one.ordinal) in wanted]
        for placement in placed:
            failure = self._failure(placement)
            if failure is not None:
                report = self._report(placement)
                last_lines = report.last_lines if report is not None else ()
                return FailRelease(
                    app=app.name, version=release.version, failure=failure, last_lines=last_lines
                )
        # Traffic waits for the web dynos; the others may take their time.
        decisive = [slot for slot in wanted if slot[0] == "web"] or wanted
        answering = {(one.process_type, one.ordinal) for one in placed if self._is_up(one)}
        if answering.issuperset(decisive):
            return MakeReleaseLive(app=app.name, version=release.version)
        return None

    def _is_up(self, placement: Placement) -> bool:
        report = self._report(placement)
        return report is not None and report.state == "up" and self._is_in_reach(placement.node_id)

    def _failure(self, placement: Placement) -> str | None:
        """Why the release fails because of this dyno, if it does."""
        report = self._report(placement)
        if report is not None and report.state == "failed":
            return (
                f"{placement.dyno}: {report.detail or 'it did not start. `pinode logs` shows what it said.'}"
            )
        if not self._is_in_reach(placement.node_id) or (report is not None and report.state == "up"):
            return None
        deadline_ms = self._deadline_ms(placement, report)
        if self._now_ms < deadline_ms:
            self._plan_again_at(deadline_ms)
            return None
        name = self._nodes[placement.node_id].name
        return (
            f"{placement.dyno} on {name} was not up in time. `pinode logs` shows what it said; deploy again."
        )

    def _deadline_ms(self, placement: Placement, report: DynoReport | None) -> int:
        placed_ms = self._memory.placed_since(placement.number)
        longest_ms = placed_ms + FETCH_MS
        if report is not None and report.state == "fetching":
            return longest_ms
        # What counts is when it began to start, but for this leader not before it knew of it.
        began_ms = placed_ms if report is None else max(placed_ms, report.since_ms)
        return min(longest_ms, began_ms + self._start_ms + MARGIN_MS)

    def _run_command(self, release: Release) -> list[RegistryCommand]:
        """Have the `release:` command run on some node, before any dyno of the release starts."""
        commands = [
            one for one in self._registry.placements_of(release.app) if one.process_type == RELEASE_TYPE
        ]
        if any(one.version != release.version for one in commands):
            return []  # that of a release which gave way to this one: two must not run beside each other
        present = commands[0] if commands else None
        if present is not None and not self._is_gone(present.node_id):
            return []
        return self._place(release, (RELEASE_TYPE, release.version), replaces=present)

    def _command_failure(self, release: Release) -> FailRelease | None:
        """The verdict on a `release:` command that cannot say itself how it ended."""
        for placement in self._placements(release):
            node = self._nodes.get(placement.node_id)
            where = node.name if node is not None else placement.node_id
            failure = None
            if self._registry.is_running_command(placement):
                if self._is_gone(placement.node_id):
                    failure = UNKNOWN_END.format(where=where)
            elif self._is_in_reach(placement.node_id):
                deadline_ms = self._memory.placed_since(placement.number) + FETCH_MS
                if self._now_ms >= deadline_ms:
                    failure = f"{where} could not begin the release command in time. Deploy again."
                else:
                    self._plan_again_at(deadline_ms)
            if failure is not None:
                return FailRelease(app=release.app, version=release.version, failure=failure)
        return None

    def _fill(
        self, app: App, release: Release, *, beside: Release | None = None, most: int | None = None
    ) -> list[RegistryCommand]:
        """Place what is missing, move what was on a dead node, unplace what is too much.

        What the release `beside` it has up already is not placed again: it gave way to that. `most` bounds
        how many are placed that have no placement yet.
        """
        covered = self._slots_up(beside) if beside is not None else set()
        dynos = [one for one in self._placements(release) if one.process_type != RELEASE_TYPE]
        placed = {(one.process_type, one.ordinal): one for one in dynos}
        commands: list[RegistryCommand] = []
        for slot in _wanted(app, release):
            present = placed.pop(slot, None)
            if present is None:
                if slot in covered or (most is not None and most <= 0):
                    continue
                most = most - 1 if most is not None else None
            if present is None or self._is_gone(present.node_id):
                commands += self._place(release, slot, replaces=present)
            elif self._is_stranded(release, present):
                elsewhere = self._place(release, slot, replaces=present)
                commands += elsewhere or [Unplace(number=present.number)]
        return commands + [Unplace(number=surplus.number) for surplus in placed.values()]

    def _fill_one_by_one(self, app: App, live: Release, pending: Release) -> list[RegistryCommand]:
        """Where memory is short: a new dyno when the last one is up, and its old one gives way for the next.

        The old dyno of a slot that is still missing stays, so one serves until the switch.
        """
        slots, up = self._slots(pending), self._slots_up(pending)
        is_settled = slots == up
        commands: list[RegistryCommand] = []
        if is_settled and not slots.issuperset(_wanted(app, pending)):
            old = [one for one in self._placements(live) if (one.process_type, one.ordinal) in up]
            commands += [Unplace(number=one.number) for one in old]
        return commands + self._fill(app, pending, most=1 if is_settled else 0)

    def _is_memory_short(self, release: Release) -> bool:
        return self._choice.is_memory_short(self._registry.slugs_of(release))

    def _slots(self, release: Release) -> set[Slot]:
        return {(one.process_type, one.ordinal) for one in self._placements(release)} - {
            (RELEASE_TYPE, release.version)
        }

    def _slots_up(self, release: Release) -> set[Slot]:
        return {(one.process_type, one.ordinal) for one in self._placements(release) if self._is_up(one)}

    def _place(
        self, release: Release, slot: Slot, *, replaces: Placement | None, is_beside: bool = False
    ) -> list[RegistryCommand]:
        node_id = self._choice.choose(release, self._registry.slugs_of(release))
        if node_id is None:
            return []  # no node can run it now: wait for one
        return [
            Place(
                app=release.app,
                version=release.version,
                process_type=slot[0],
                ordinal=slot[1],
                node_id=node_id,
                replaces=replaces.number if replaces is not None else None,
                is_beside=is_beside,
            )
        ]

    def _move(self, release: Release) -> list[RegistryCommand]:
        """Off nodes that are to be emptied: of each process type one dyno, when no other is starting.

        One with traffic serves on until the other is up. Of the rest there must never be one too many.
        """
        commands: list[RegistryCommand] = []
        for process_type in sorted(release.process_types):
            dynos = [one for one in self._placements(release) if one.process_type == process_type]
            leaving = [one for one in dynos if self._is_to_be_emptied(one.node_id)]
            if leaving and not any(self._is_starting(one) for one in dynos if one not in leaving):
                slot, is_web = (process_type, leaving[0].ordinal), process_type == "web"
                commands += self._place(release, slot, replaces=leaving[0], is_beside=is_web)
        return commands

    def _end_moved(self, app: App) -> list[RegistryCommand]:
        """Unplace what gave its place to another dyno, once the routes know that one."""
        moved = [one for one in self._registry.placements_of(app.name) if one.is_moving]
        return [Unplace(number=one.number) for one in moved if self._is_moved(one)]

    def _is_moved(self, placement: Placement) -> bool:
        slot = (placement.version, placement.process_type, placement.ordinal)
        found = self._registry.placements_of(placement.app)
        kept = [one for one in found if not one.is_moving]
        successor = next((one for one in kept if (one.version, one.process_type, one.ordinal) == slot), None)
        if successor is None or self._is_gone(placement.node_id):
            return True
        report = self._report(successor)
        if report is None or not self._is_up(successor):
            return False
        due_ms = report.since_ms + DRAIN_GRACE_MS
        if self._now_ms < due_ms:
            self._plan_again_at(due_ms)
        return self._now_ms >= due_ms

    def _restart(self, release: Release) -> list[RegistryCommand]:
        """Replace what is to restart: of each process type one dyno, when none of the others is starting."""
        commands: list[RegistryCommand] = []
        for process_type in sorted(release.process_types):
            dynos = [one for one in self._placements(release) if one.process_type == process_type]
            marked = [one for one in dynos if one.is_to_restart]
            if marked and not any(self._is_starting(one) for one in dynos if not one.is_to_restart):
                commands.append(_in_place(marked[0]))
        return commands

    def _is_starting(self, placement: Placement) -> bool:
        report = self._report(placement)
        return self._is_in_reach(placement.node_id) and (
            report is None or report.state in ("fetching", "starting")
        )

    def _retire(self, app: App, live: Release | None) -> list[RegistryCommand]:
        """Unplace the dynos of a release that was superseded, once the routes have left them."""
        old = [one for one in self._registry.placements_of(app.name) if self._is_superseded(one)]
        if not old:
            return []
        if live is not None:
            due_ms = self._memory.live_since(app.name, live.version) + DRAIN_GRACE_MS
            if self._now_ms < due_ms:
                self._plan_again_at(due_ms)
                return []
        return [Unplace(number=placement.number) for placement in old]

    def _is_superseded(self, placement: Placement) -> bool:
        if self._registry.is_running_command(placement) and not self._is_gone(placement.node_id):
            return False  # it ends by itself, and says so
        release = self._registry.release(placement.app, placement.version)
        return release is None or release.state not in ("pending", "live")

    def _placements(self, release: Release) -> list[Placement]:
        placements = self._registry.placements_of(release.app)
        return [one for one in placements if one.version == release.version and not one.is_moving]

    def _report(self, placement: Placement) -> DynoReport | None:
        return self._reports.get((placement.number, placement.node_id))

    def _is_in_reach(self, node_id: str) -> bool:
        node = self._nodes.get(node_id)
        return node is not None and node.state in ("alive", "suspect")

    def _is_to_be_emptied(self, node_id: str) -> bool:
        node = self._nodes.get(node_id)
        return node is not None and node.is_to_be_emptied

    def _is_gone(self, node_id: str) -> bool:
        """Whether its dynos are to move."""
        gone_at_ms = self._memory.gone_at_ms(node_id, self._nodes.get(node_id), now_ms=self._now_ms)
        if gone_at_ms is not None and gone_at_ms > self._now_ms:
            self._plan_again_at(gone_at_ms)
        return gone_at_ms is not None and gone_at_ms <= self._now_ms

    def _is_stranded(self, release: Release, placement: Placement) -> bool:
        """Whether its node, since it was placed there, has lost what every slug of the release needs: its
        system was replaced, say. A dyno that still runs stays.
        """
        node, slugs = self._nodes.get(placement.node_id), self._registry.slugs_of(release)
        report = self._report(placement)
        has_ended = report is not None and report.state in ("crashed", "exited", "failed")
        if node is None or node.state != "alive" or not slugs or not has_ended:
            return False
        return slug_for(slugs, node) is None

    def _plan_again_at(self, at_ms: int) -> None:
        self.due_ms = at_ms if self.due_ms is None else min(self.due_ms, at_ms)


def _in_place(placement: Placement) -> Place:
    """The same dyno anew, on the same node, which has its slug."""
    return Place(
        app=placement.app,
        version=placement.version,
        process_type=placement.process_type,
        ordinal=placement.ordinal,
        node_id=placement.node_id,
        replaces=placement.number,
    )


def _owes_command(release: Release) -> bool:
    """Whether its `release:` command has yet to end well."""
    return RELEASE_TYPE in release.process_types and release.command_state != "succeeded"


def _wanted(app: App, release: Release) -> list[Slot]:
    """The dynos that the formation asks of this release, in order."""
    if app.is_stopped:
        return []
    return [
        (process_type, ordinal)
        for process_type in sorted(release.process_types)
        if process_type != RELEASE_TYPE
        for ordinal in range(1, app.formation.get(process_type, 0) + 1)
    ]
