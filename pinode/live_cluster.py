"""The real `Cluster`: one node's agreed state and observations, joined from log, gossip and reports."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gossip.member import Member, MemberState
from gossip.service import Gossip
from pinode.apps.observed import CountsAs, DynoReport, NodeState, NodeStats, NodeView
from pinode.apps.sealed_values import carries_sealed, with_sealed
from pinode.cluster import PeerCalls
from pinode.cluster_state import AgreedCommand, ClusterState, decode_result, encode_command
from pinode.errors import Conflict, NoLeader, TimedOut
from pinode.feature_level import SINCE, level_of
from pinode.node_facts import NodeFacts, NodeRow, decode_facts, decode_row
from pinode.nodes.node import RegisteredNode
from pinode.peers.certificates import public_key_hash
from pinode.peers.founding_record import FoundingRecord
from pinode.peers.keys import NONCE_BYTES, ClusterSecrets
from pinode.settings import Settings
from replicated_queue.broker import Broker
from replicated_queue.interfaces import PeerId
from replicated_queue.service import ReplicaService
from replicated_queue.sessions import SingleShot

RUNNING = ("starting", "up", "stopping")
QUEUE_NEWS_SECONDS = 0.25  # how often at most who waits for changes hears that jobs have moved
CONFIG_PURPOSE = b"config value"
KEY_AGAIN_SECONDS = 0.5  # between two looks of who waits for a new cluster key
RETURN_SECONDS = 60.0  # after a power cut nodes come back one by one


class NotYetEverywhere(Conflict):
    """Not all members could apply the command."""

    code = "feature_level"

    def __init__(self, older: Sequence[str]) -> None:
        super().__init__(
            f"upgrade the other nodes first: {', '.join(older)}, and would not understand this.",
            hint="Nothing was changed. It works a moment after the last node was upgraded.",
        )


class Changes:
    """Counts what changed here, and lets tasks wait for the next change."""

    def __init__(self) -> None:
        self.revision = 0
        self._next = asyncio.Event()

    def note(self) -> None:
        """Something agreed or observed is different now."""
        self.revision += 1
        self._next.set()
        self._next = asyncio.Event()

    async def after(self, since: int, *, timeout_seconds: float) -> int:
        """Wait for a revision above `since`, or for the time to pass."""
        if self.revision <= since:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._next.wait()
            except TimeoutError:
                pass
        return self.revision


class LiveCluster:
    """See `pinode.cluster.Cluster`, whose docstrings are its contract."""

    def __init__(
        self,
        *,
        settings: Settings,
        node_id: str,
        node_name: str,
        record: FoundingRecord,
        state: ClusterState,
        replica: ReplicaService,
        broker: Broker,
        gossip: Gossip,
        peers: PeerCalls,
        reports: Callable[[], Sequence[DynoReport]],
        secrets: ClusterSecrets,
        random_bytes: Callable[[int], bytes],
        monotonic: Callable[[], float],
        since: Mapping[str, int] = SINCE,
    ) -> None:
        """`since`: which commands need which feature level."""
        self._since = since
        self.settings = settings
        self.node_id = node_id
        self.node_name = node_name
        self.state = state
        self.queue = broker
        self.peers = peers
        self._secrets = secrets
        self._random_bytes = random_bytes
        self.cluster_name = record.name
        self.cluster_id = record.cluster_id.hex()
        self.changes = Changes()
        self._replica = replica
        self._gossip = gossip
        self._reports = reports
        self._monotonic = monotonic
        self._started_at = monotonic()
        self._noted_decisions = 0
        self._is_note_due = False
        replica.on_applied(self._applied)
        secrets.on_change(self.changes.note)

    def _applied(self, _: int) -> None:
        """Tell of decisions at once, of jobs that move in the queue once for all that happen together."""
        if self._noted_decisions != self.state.decisions:
            self._noted_decisions = self.state.decisions
            self.changes.note()
        elif not self._is_note_due:
            self._is_note_due = True
            asyncio.get_running_loop().call_later(QUEUE_NEWS_SECONDS, self._note_queue)

    def _note_queue(self) -> None:
        self._is_note_due = False
        self.changes.note()

    async def execute(
        self,
        command: AgreedCommand,
        *,
        once: SingleShot | None = None,
        timeout_seconds: float = 10.0,
    ) -> Any:
        """Have the command agreed once; its result, when it is applied here too."""
        await self._wait_for_level(level_of(command, self._since))
        if carries_sealed(command):
            await self._wait_for_key(timeout_seconds)
            command = with_sealed(command, self._sealed_anew)
        domain, data = encode_command(command)
        result = await self.queue.submit(domain, data, once=once, timeout_seconds=timeout_seconds)
        if not await self.queue.catch_up(timeout_seconds=timeout_seconds):
            raise TimedOut(
                "it is done, but this node has fallen behind and does not show it yet",
                hint="Look again in a moment, or at another node.",
            )
        return decode_result(domain, result)

    async def _wait_for_level(self, needed: int) -> None:
        """What some member could not apply must not enter the log. Ours is no higher than the leader's."""
        nodes = self.state.nodes
        if needed <= nodes.feature_level:
            return
        await self.queue.be_current()
        if needed > nodes.feature_level:
            older = [view for view in self.nodes() if view.feature_level < needed]
            raise NotYetEverywhere([f"{view.name} runs {view.version or 'an older one'}" for view in older])

    async def _wait_for_key(self, timeout_seconds: float) -> None:
        """No value may enter the log under a key that was rotated away: who kept that would open it.

        Only a node that was cut off meanwhile, and is back for a moment, holds none but such a one.
        """
        is_current = False
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    revision = self.revision
                    is_current = await self.queue.be_current()
                    if is_current and not self.state.nodes.was_rotated_away(self._secrets.mark):
                        return
                    await self.changed(revision, timeout_seconds=KEY_AGAIN_SECONDS)
        except TimeoutError as error:
            if not is_current:
                raise NoLeader("no majority of the nodes is in reach, nothing was changed.") from error
            raise TimedOut(
                "nothing was changed: the cluster key was rotated, and this node has no new one yet",
                hint="Try again in a moment, or at another node.",
            ) from error

    def _sealed_anew(self, sealed: bytes) -> bytes:
        nonce = self._random_bytes(NONCE_BYTES)
        return self._secrets.sealed_anew(sealed, purpose=CONFIG_PURPOSE, nonce=nonce)

    @property
    def peer_authority_hash(self) -> bytes:
        """What a joiner knows this cluster by, until the cluster key is rotated."""
        return public_key_hash(self._secrets.authority_pem)

    def seal(self, value: str) -> bytes:
        """Seal under the data key."""
        nonce = self._random_bytes(NONCE_BYTES)
        return self._secrets.seal(value.encode(), purpose=CONFIG_PURPOSE, nonce=nonce)

    def reveal(self, sealed: bytes) -> str:
        """Open what `seal` sealed."""
        return self._secrets.open(sealed, purpose=CONFIG_PURPOSE).decode()

    async def changed(self, since: int, *, timeout_seconds: float = 30.0) -> int:
        """Wait for a change after `since`."""
        return await self.changes.after(since, timeout_seconds=timeout_seconds)

    @property
    def revision(self) -> int:
        """Counts changes on this node."""
        return self.changes.revision

    @property
    def is_leader(self) -> bool:
        """Whether this node leads, and has applied what was agreed before it did."""
        return self._replica.is_leading

    @property
    def leader_id(self) -> str | None:
        """Who leads, as far as this node knows."""
        leader = self._replica.leader_id
        return None if leader is None or not self.has_quorum else f"{leader:016x}"

    @property
    def term(self) -> int:
        """The current term."""
        return self._replica.term

    @property
    def commit_index(self) -> int:
        """How many entries are agreed, as far as this node knows."""
        return self._replica.commit_index

    @property
    def has_quorum(self) -> bool:
        """Whether a majority is in reach."""
        return self._replica.has_quorum

    @property
    def view_age_seconds(self) -> float:
        """Seconds since the last contact with a leader."""
        return self._replica.seconds_since_leader

    @property
    def now_ms(self) -> int:
        """Cluster time."""
        return self._replica.now_ms

    def nodes(self) -> Sequence[NodeView]:
        """All registered nodes, by name."""
        members = {member.node_id: member for member in self._gossip.members()}
        views = [self._view(known, members.get(known.node_id)) for known in self.state.nodes.all()]
        return sorted(views, key=lambda view: view.name)

    def peers_wanted(self) -> dict[PeerId, bool]:
        """Who should belong to the log's group, and whether each is alive."""
        alive = {member.node_id for member in self._gossip.members() if member.state is MemberState.ALIVE}
        return {int(node.node_id, 16): node.node_id in alive for node in self.state.nodes.staying()}

    def node(self, node_id: str) -> NodeView | None:
        """One registered node."""
        return next((view for view in self.nodes() if view.node_id == node_id), None)

    def is_gone(self, node_id: str) -> bool:
        """Whether a node is dead or was stopped; one that was never heard, after this node's first minute."""
        for member in self._gossip.members():
            if member.node_id == node_id:
                return _STATES[member.state.name] in ("dead", "left")
        return self._monotonic() - self._started_at >= RETURN_SECONDS

    def reports(self) -> Sequence[DynoReport]:
        """Newest dyno rows of all nodes."""
        return self._reports()

    def at_work(self, node_id: str) -> tuple[int, int]:
        """How many dynos and builds a node has at the moment."""
        dynos = [row for row in self._reports() if row.node_id == node_id and row.state in RUNNING]
        builds = [build for build in self.state.registry.unfinished_builds() if build.node_id == node_id]
        return len(dynos), len([build for build in builds if build.state == "building"])

    def _view(self, known: RegisteredNode, member: Member | None) -> NodeView:
        node_id = known.node_id
        facts = decode_facts(member.meta) if member else NodeFacts()
        stat = self._gossip.stats().get(node_id)
        row = decode_row(stat.payload) if stat else NodeRow(stats=NodeStats())
        state: NodeState = "dead"  # registered, and never heard since this node started
        if member:
            state = _STATES[member.state.name]
        host, port = member.address if member else (known.host, known.peer_port)
        dynos, builds = self.at_work(node_id) if state in ("alive", "suspect") else (0, 0)
        return NodeView(
            node_id=node_id,
            name=known.name,
            host=host,
            peer_port=port,
            web_port=facts.web_port,
            router_port=facts.router_port,
            state=state,
            incarnation=member.incarnation if member else 0,
            availability=known.availability,
            feature_level=known.feature_level,
            counts_as=self._counts_as(node_id),
            version=facts.version,
            arch=facts.arch,
            python=facts.python,
            interpreters=facts.interpreters,
            roles=facts.roles,
            started_at_unix=facts.started_at_unix,
            warnings=facts.warnings,
            taken_names=facts.taken,
            stats=row.stats,
            dynos=dynos,
            builds=builds,
            stats_age_seconds=max(0.0, self._monotonic() - stat.measured_at) if stat else None,
        )

    def _counts_as(self, node_id: str) -> CountsAs:
        membership, peer = self._replica.membership, int(node_id, 16)
        return "voter" if peer in membership.voters else "learner" if peer in membership else "none"


_STATES: dict[str, NodeState] = {"ALIVE": "alive", "SUSPECT": "suspect", "DEAD": "dead", "LEFT": "left"}
