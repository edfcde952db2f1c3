"""The parts by which a node agrees with the others and observes them: log, queue, gossip; made and wired."""

import time
from dataclasses import dataclass
from random import Random

from gossip.events import Event, NameConflict
from gossip.service import Gossip
from pinode.admission import Admission
from pinode.apps import codec as registry_codec
from pinode.cluster_state import ClusterState, check_said
from pinode.dynos.reports import Reports
from pinode.errors import Conflict
from pinode.live_cluster import LiveCluster
from pinode.node_facts import NodeFacts, encode_facts
from pinode.nodes import codec as nodes_codec
from pinode.nodes.node import RegisteredNode
from pinode.peers.datagrams import DatagramSeal
from pinode.peers.errors import PeerRefused
from pinode.peers.founding import JOIN_METHOD
from pinode.peers.founding_record import FoundingRecord
from pinode.peers.founding_store import FoundingStore
from pinode.peers.identity import Identity
from pinode.peers.known_members import KnownMembers
from pinode.peers.links import PeerLinks
from pinode.peers.standing import DiskGeneration
from pinode.people import codec as people_codec
from pinode.people.setup_code import setup_code_hash
from pinode.raft_links import CaughtUp, RaftLinks
from pinode.sandbox.sandbox import Isolation
from pinode.settings import Settings
from pinode.wall_clock import WallClock
from replicated_queue.autopilot import Autopilot
from replicated_queue.broker import Broker
from replicated_queue.raft.autopilot import founding_membership
from replicated_queue.service import ReplicaService

DOMAINS = {
    "registry": registry_codec.decode_command,
    "people": people_codec.decode_command,
    "nodes": nodes_codec.decode_command,
    "answers": check_said,
}
EXCHANGE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What a node stands on before it has parts."""

    settings: Settings
    name: str
    host: str
    record: FoundingRecord
    generation: DiskGeneration  # of this start
    identity: Identity
    links: PeerLinks
    isolation: Isolation
    facts: NodeFacts
    random: Random
    wall_clock: WallClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What this node agrees on with the others, and what it observes of them."""

    gossip: Gossip
    known_members: KnownMembers
    replica: ReplicaService
    broker: Broker
    autopilot: Autopilot
    caught_up: CaughtUp
    reports: Reports
    cluster: LiveCluster


def make_agreement(grounds: Grounds) -> Agreement:
    """Log, queue, gossip and the view of the cluster that they make together."""
    record, identity = grounds.record, grounds.identity
    state = ClusterState(
        founders=_founders(record), setup_code_hash=setup_code_hash(record.setup_code(identity.secrets))
    )
    transport = RaftLinks(grounds.links)
    replica = _make_replica(grounds, state, transport)
    broker = Broker(log=replica, queue=state.queue, transport=transport, domains=DOMAINS)
    transport.attach(replica, broker)
    known_members = KnownMembers(grounds.settings.node.data_dir / "known_members", own_id=identity.node_id)
    gossip = _make_gossip(grounds, known_members)
    cluster = LiveCluster(
        settings=grounds.settings,
        node_id=identity.node_id,
        node_name=grounds.name,
        record=record,
        state=state,
        replica=replica,
        broker=broker,
        gossip=gossip,
        peers=grounds.links,
        reports=lambda: reports.all(),
        secrets=identity.secrets,
        random_bytes=grounds.random.randbytes,
        monotonic=time.monotonic,
    )
    reports = Reports(cluster, run_id=str(gossip.run_id))
    reports.on_change(cluster.changes.note)
    replica.on_leadership(lambda *_: cluster.changes.note())
    replica.on_leader(cluster.changes.note)
    replica.on_membership(lambda _: cluster.changes.note())
    gossip.subscribe(lambda event: _heard(event, grounds.name, cluster))
    caught_up = CaughtUp(replica, transport)
    _open_to_joiners(grounds, cluster, caught_up)
    return Agreement(
        gossip=gossip,
        known_members=known_members,
        replica=replica,
        broker=broker,
        autopilot=Autopilot(replica, cluster.peers_wanted),
        caught_up=caught_up,
        reports=reports,
        cluster=cluster,
    )


def _make_replica(grounds: Grounds, state: ClusterState, transport: RaftLinks) -> ReplicaService:
    founders = founding_membership(int(member.node_id, 16) for member in grounds.record.members)
    return ReplicaService(
        peer_id=grounds.identity.raft_id,
        voters=founders.voters.ids,
        learners=founders.learners,
        state_machine=state,
        directory=grounds.settings.node.data_dir / "log",
        transport=transport,
        random=grounds.random,
    )


def _open_to_joiners(grounds: Grounds, cluster: LiveCluster, caught_up: CaughtUp) -> None:
    admission = Admission(
        cluster,
        record=grounds.record,
        secrets=grounds.identity.secrets,
        is_gone=cluster.is_gone,
        is_caught_up=caught_up,
    )
    grounds.links.on_joiner(admission.by_token)
    grounds.links.serve(JOIN_METHOD, admission.by_key, open_to_holders=True)


def _founders(record: FoundingRecord) -> list[RegisteredNode]:
    return [
        RegisteredNode(node_id=known.node_id, name=known.name, host=known.host, peer_port=known.peer_port)
        for known in record.members
    ]


def _make_gossip(grounds: Grounds, known_members: KnownMembers) -> Gossip:
    settings, record, identity, links = grounds.settings, grounds.record, grounds.identity, grounds.links

    async def exchange(host: str, port: int, payload: bytes) -> bytes:
        try:
            return await links.exchange(host, port, "gossip", payload, timeout_seconds=EXCHANGE_SECONDS)
        except PeerRefused as error:
            raise ConnectionError(str(error)) from error

    gossip = Gossip(
        node_id=identity.node_id,
        name=grounds.name,
        address=(grounds.host, settings.listen.peer.port),
        bind=(settings.listen.peer.host, settings.listen.peer.port),
        run_id=grounds.generation.number,
        cluster_id=record.cluster_id,
        seal=DatagramSeal(identity, cluster=record.mark, random=grounds.random),
        exchange=exchange,
        meta=encode_facts(grounds.facts),
        seeds=_seeds(grounds),
        known_members=known_members.load(),
        random=grounds.random,
    )
    known_members.watch(gossip)

    async def answer(_: str, payload: bytes) -> bytes:
        return gossip.answer_exchange(payload)

    links.serve("gossip", answer)
    return gossip


def _seeds(grounds: Grounds) -> list[tuple[str, int]]:
    """Where others may be: as they were at the founding or when this node joined, and as the settings say."""
    told = FoundingStore(grounds.settings.node.data_dir).addresses()
    founded = [
        (known.host, known.peer_port)
        for known in grounds.record.members
        if known.node_id != grounds.identity.node_id
    ]
    named = [(address.host, address.port) for address in (*told, *grounds.settings.cluster.join)]
    own = (grounds.host, grounds.settings.listen.peer.port)
    return [seed for seed in dict.fromkeys(founded + named) if seed != own]


def _heard(event: Event, own_name: str, cluster: LiveCluster) -> None:
    """Wake whoever waits for changes; give way to a node that had our name first."""
    if isinstance(event, NameConflict):
        raise Conflict(
            f"another node at {event.other.address[0]} has the name {own_name!r} already",
            hint='give this one its own: [node] name = "pi2"',
        )
    cluster.changes.note()
