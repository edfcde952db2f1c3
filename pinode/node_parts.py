"""Makes the parts of a founded node and wires them to each other."""

import hashlib
import platform
import time
from dataclasses import dataclass
from random import Random

from gossip.events import Event, NameConflict
from gossip.service import Gossip
from pinode import __version__
from pinode.admission import Admission
from pinode.apps import codec as registry_codec
from pinode.beanstalk_port import BeanstalkPort
from pinode.cluster_state import ClusterState
from pinode.deploy.build_worker import BuildWorker
from pinode.deploy.intake import Intake
from pinode.dynos.one_off import OneOffs
from pinode.dynos.reports import Reports
from pinode.dynos.supervisor import Supervisor
from pinode.errors import Conflict
from pinode.host import architecture
from pinode.live_cluster import LiveCluster
from pinode.logs.app_log import AppLogs
from pinode.metrics.history import NodeHistory
from pinode.node_facts import NodeFacts, encode_facts
from pinode.nodes import codec as nodes_codec
from pinode.nodes.node import RegisteredNode
from pinode.operations.tidying import SlugTidying
from pinode.own_certificate import OwnCertificate, issued_by
from pinode.peers.datagrams import DatagramSeal
from pinode.peers.errors import PeerRefused
from pinode.peers.founding import JOIN_METHOD
from pinode.peers.founding_record import FoundingRecord
from pinode.peers.founding_store import FoundingStore
from pinode.peers.identity import Identity
from pinode.peers.known_members import KnownMembers
from pinode.peers.links import PeerLinks
from pinode.people import codec as people_codec
from pinode.people.setup_code import setup_code_hash
from pinode.queue_socket import QueueSocket
from pinode.raft_links import CaughtUp, RaftLinks
from pinode.router.router_process import RouterCertificates, RouterProcess
from pinode.run_id import next_run_id
from pinode.sandbox.sandbox import Isolation
from pinode.scheduler.scheduler import Scheduler
from pinode.settings import Settings
from pinode.slugs.copy_care import CopyCare
from pinode.slugs.replication import SlugReplication
from pinode.slugs.slug_store import SlugStore
from pinode.web.server import WebServer
from pinode.web.site import NodeControl
from replicated_queue.autopilot import Autopilot
from replicated_queue.broker import Broker
from replicated_queue.client_server import queue_protocol
from replicated_queue.raft.autopilot import founding_membership
from replicated_queue.service import ReplicaService

DOMAINS = {
    "registry": registry_codec.decode_command,
    "people": people_codec.decode_command,
    "nodes": nodes_codec.decode_command,
}
EXCHANGE_SECONDS = 5.0
QUEUE_PROTOCOL = "pinode-queue/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What a node stands on before it has parts."""

    settings: Settings
    name: str
    host: str
    record: FoundingRecord
    identity: Identity
    links: PeerLinks
    isolation: Isolation
    facts: NodeFacts
    random: Random


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What this node does with it."""

    certificate: OwnCertificate
    supervisor: Supervisor
    router: RouterProcess
    build_worker: BuildWorker
    one_offs: OneOffs
    scheduler: Scheduler
    slug_tidying: SlugTidying
    copy_care: CopyCare
    history: NodeHistory
    web: WebServer
    queue_socket: QueueSocket
    beanstalk_port: BeanstalkPort


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


def make_work(grounds: Grounds, agreement: Agreement, *, control: NodeControl) -> Work:
    """The parts that build, run, route and show apps."""
    data_dir, cluster = grounds.settings.node.data_dir, agreement.cluster
    certificate = _own_certificate(grounds)
    slugs, sources = _make_shelves(cluster)
    AppLogs(cluster, data_dir / "logs").serve()
    history = NodeHistory(cluster, rows=agreement.gossip.stats)
    history.serve()
    _open_queue_door(grounds, cluster, certificate)
    return Work(
        certificate=certificate,
        supervisor=Supervisor(
            cluster,
            directory=data_dir / "dynos",
            log_directory=data_dir / "logs",
            slugs=slugs.store,
            replication=slugs.copies,
            isolation=grounds.isolation,
            is_caught_up=agreement.caught_up,
            on_reports=agreement.reports.publish,
        ),
        router=RouterProcess(
            cluster,
            directory=data_dir / "router",
            certificates=_router_certificates(grounds.identity, certificate),
            is_caught_up=agreement.caught_up,
        ),
        build_worker=_make_build_worker(grounds, cluster, slugs, sources),
        one_offs=_one_offs(grounds, cluster, slugs),
        scheduler=Scheduler(cluster),
        copy_care=_make_copy_care(agreement, slugs, sources),
        slug_tidying=SlugTidying(cluster, slugs.store, sources.store, is_caught_up=agreement.caught_up),
        history=history,
        web=WebServer(
            cluster,
            ssl_context=certificate.context(),
            ca_pem=grounds.record.web_authority_pem.encode(),
            socket_path=data_dir / "pinode.sock",
            control=control,
            past=history,
            intake=_make_intake(grounds, cluster, sources),
        ),
        queue_socket=QueueSocket(agreement.broker, data_dir / "queue.sock"),
        beanstalk_port=BeanstalkPort(cluster, agreement.broker, grounds.settings.listen.beanstalk),
    )


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Slugs, or sources: those on this disk, and how they come and go between nodes."""

    store: SlugStore
    copies: SlugReplication


def _make_shelves(cluster: LiveCluster) -> tuple[_Shelf, _Shelf]:
    """Of slugs and of sources; both answer the other nodes."""
    data_dir, limits = cluster.settings.node.data_dir, cluster.settings.limits
    slugs = SlugStore(data_dir / "slugs", most_bytes=limits.slug_bytes)
    sources = SlugStore(data_dir / "sources", most_bytes=limits.clone_bytes, kind="source")
    shelves = [_Shelf(store, SlugReplication(cluster, store)) for store in (slugs, sources)]
    for shelf in shelves:
        shelf.copies.serve()
    return shelves[0], shelves[1]


def _make_build_worker(grounds: Grounds, cluster: LiveCluster, slugs: _Shelf, sources: _Shelf) -> BuildWorker:
    return BuildWorker(
        cluster,
        directory=grounds.settings.node.data_dir / "builds",
        slugs=slugs.store,
        replication=slugs.copies,
        sources=sources.copies,
        isolation=grounds.isolation,
    )


def _make_copy_care(agreement: Agreement, *shelves: _Shelf) -> CopyCare:
    pairs = [(shelf.store, shelf.copies) for shelf in shelves]
    return CopyCare(agreement.cluster, *pairs, is_caught_up=agreement.caught_up)


def _make_intake(grounds: Grounds, cluster: LiveCluster, sources: _Shelf) -> Intake:
    return Intake(
        cluster,
        directory=grounds.settings.node.data_dir / "intake",
        store=sources.store,
        copies=sources.copies,
        isolation=grounds.isolation,
    )


def _one_offs(grounds: Grounds, cluster: LiveCluster, slugs: _Shelf) -> OneOffs:
    data_dir = grounds.settings.node.data_dir
    one_offs = OneOffs(
        cluster,
        directory=data_dir / "run",
        log_directory=data_dir / "logs",
        slugs=slugs.store,
        replication=slugs.copies,
        isolation=grounds.isolation,
    )
    one_offs.serve()
    return one_offs


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
        run_id=next_run_id(settings.node.data_dir / "run_id"),
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


def facts_of(settings: Settings, isolation: Isolation) -> NodeFacts:
    """What this node says of itself, from its start on."""
    door = settings.listen.beanstalk
    open_door = f"the beanstalk door at {door} is open to the network, without a password"
    unsandboxed = "builds and dynos run without isolation"
    warnings = [] if isolation.available else [unsandboxed]
    warnings += [open_door] if door is not None and not door.is_loopback else []
    return NodeFacts(
        web_port=settings.listen.web.port,
        router_port=settings.listen.router.port,
        version=__version__,
        arch=architecture(),
        python=platform.python_version(),
        roles=settings.node.roles,
        started_at_unix=time.time(),
        warnings=tuple(warnings),
    )


def _heard(event: Event, own_name: str, cluster: LiveCluster) -> None:
    """Wake whoever waits for changes; give way to a node that had our name first."""
    if isinstance(event, NameConflict):
        raise Conflict(
            f"another node at {event.other.address[0]} has the name {own_name!r} already",
            hint='give this one its own: [node] name = "pi2"',
        )
    cluster.changes.note()


def _own_certificate(grounds: Grounds) -> OwnCertificate:
    issue = issued_by(grounds.record, grounds.identity.secrets, data_dir=grounds.settings.node.data_dir)
    return OwnCertificate(issue, grounds.host)


def _router_certificates(identity: Identity, own: OwnCertificate) -> RouterCertificates:
    web = own.credentials
    return RouterCertificates(
        node_certificate=identity.files.certificate,
        node_key=identity.files.key,
        authority=identity.files.authority,
        web_certificate=web.certificate_file,
        web_key=web.key_file,
    )


def _open_queue_door(grounds: Grounds, cluster: LiveCluster, web: OwnCertificate) -> None:
    """Let queue clients in by the peer port, with the token of a session."""

    async def authenticate(token: bytes) -> bool:
        return cluster.state.people.session(hashlib.sha256(token).digest(), cluster.now_ms) is not None

    door = queue_protocol(cluster.queue, authenticate=authenticate)
    grounds.links.on_queue_client(door, web.context(QUEUE_PROTOCOL))
