"""Nodes and dynos as they are observed, under test: what a plan asks for happens at once, or not at all."""

from collections.abc import Sequence
from dataclasses import replace

from pinode.apps.commands import EndReleaseCommand, RegistryCommand, StartReleaseCommand
from pinode.apps.observed import Availability, DynoReport, DynoState, NodeState, NodeStats, NodeView
from pinode.apps.placement import Placement
from pinode.scheduler.plan import Plan, plan
from pinode.scheduler.plan_memory import PlanMemory
from tests.pinode.agreement import Agreement


def node(
    node_id: str,
    *,
    state: NodeState = "alive",
    arch: str = "aarch64",
    interpreters: tuple[str, ...] = (),
    roles: tuple[str, ...] = ("build", "deploy"),
    stats: NodeStats | None = None,
) -> NodeView:
    return NodeView(
        node_id=node_id,
        name=f"pi-{node_id}",
        host="10.0.0.1",
        peer_port=7300,
        web_port=8000,
        router_port=7301,
        state=state,
        incarnation=1,
        arch=arch,
        interpreters=interpreters,
        roles=roles,
        stats=stats or NodeStats(),
    )


class ObservedWorld:
    """An agreement, three nodes and the dynos that run there."""

    def __init__(self, *nodes: NodeView) -> None:
        self.agreed = Agreement()
        self.nodes = {one.node_id: one for one in nodes or (node("a"), node("b"), node("c"))}
        self.reports: dict[int, DynoReport] = {}
        self.memory = PlanMemory(since_ms=self.agreed.now)

    def plan(self) -> Plan:
        return plan(
            self.agreed.registry,
            list(self.nodes.values()),
            list(self.reports.values()),
            now_ms=self.agreed.now,
            memory=self.memory,
        )

    def execute_plan(self) -> Sequence[RegistryCommand]:
        """Plan once and agree on the commands; none may be refused."""
        commands = self.plan().commands
        for command in commands:
            self.agreed.do(command)
        return commands

    def settle(self, *, rounds: int = 100) -> None:
        """Carry out plans, with every dyno on a living node up at once, until there is nothing left to do."""
        for _ in range(rounds):
            made = self.plan()
            for command in made.commands:
                self.agreed.do(command)
            self.report_all()
            next_one = self.plan()
            if not made.commands and not next_one.commands:
                if next_one.due_ms is None:
                    return
                self.agreed.now = max(self.agreed.now, next_one.due_ms)
        raise AssertionError(f"no end of planning: {self.plan()}")

    def report_all(self, state: DynoState = "up") -> None:
        """Every node in reach reports its dynos, all in this state."""
        placements = self.agreed.registry.placements()
        kept = {one.number for one in placements}
        self.reports = {number: row for number, row in self.reports.items() if number in kept}
        for placement in placements:
            if placement.process_type == "release":
                self.run_command(placement)
            elif self.nodes[placement.node_id].state in ("alive", "suspect"):
                self.report(placement, state)

    def run_command(self, placement: Placement, *, failure: str | None = None) -> None:
        """Its node, if it is there, runs the release command to its end."""
        if self.nodes[placement.node_id].state not in ("alive", "suspect"):
            return
        if not self.agreed.registry.is_running_command(placement):
            self.agreed.do(StartReleaseCommand(number=placement.number))
        self.agreed.do(EndReleaseCommand(number=placement.number, failure=failure))

    def report(
        self,
        placement: Placement,
        state: DynoState,
        *,
        detail: str | None = None,
        last_lines: tuple[str, ...] = (),
    ) -> None:
        known = self.reports.get(placement.number)
        since_ms = known.since_ms if known is not None and known.state == state else self.agreed.now
        self.reports[placement.number] = DynoReport(
            placement=placement.number,
            app=placement.app,
            version=placement.version,
            process_type=placement.process_type,
            ordinal=placement.ordinal,
            node_id=placement.node_id,
            state=state,
            detail=detail,
            last_lines=last_lines,
            since_ms=since_ms,
        )

    def set_state(self, node_id: str, state: NodeState) -> None:
        self.nodes[node_id] = replace(self.nodes[node_id], state=state)

    def set_availability(self, node_id: str, availability: Availability) -> None:
        self.nodes[node_id] = replace(self.nodes[node_id], availability=availability)

    def change_leader(self) -> None:
        """A new leader has heard no reports yet, and remembers nothing."""
        self.memory = PlanMemory(since_ms=self.agreed.now)
        self.reports = {}

    def where(self, app: str = "blog") -> dict[str, str]:
        """Dyno → node, of all releases."""
        placements = self.agreed.registry.placements_of(app)
        return {f"v{one.version} {one.dyno}": one.node_id for one in placements}
