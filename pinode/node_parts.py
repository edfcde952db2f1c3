"""The parts of a node that build, run, route and show apps, made and wired."""

import hashlib
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

from pinode import __version__
from pinode.beanstalk_port import BeanstalkPort
from pinode.deploy.build_worker import BuildWorker
from pinode.deploy.intake import Intake
from pinode.dynos.one_off import OneOffs
from pinode.dynos.supervisor import Supervisor
from pinode.host import architecture
from pinode.lan_names.announcer import LanNames
from pinode.live_cluster import LiveCluster
from pinode.local_door import LocalDoor
from pinode.logs.app_log import AppLogs
from pinode.memory import settle
from pinode.metrics.history import NodeHistory
from pinode.node_agreement import Agreement, Grounds
from pinode.node_facts import NodeFacts, interpreters_told
from pinode.operations.departure import Departure, serve_farewells
from pinode.operations.step_down import serve_step_downs
from pinode.operations.tidying import SlugTidying
from pinode.own_certificate import OwnCertificate, issued_by
from pinode.peers.identity import Identity
from pinode.queue_socket import QueueSocket
from pinode.router.router_process import RouterCertificates, RouterProcess
from pinode.sandbox.interpreters import interpreters_here
from pinode.sandbox.sandbox import Isolation
from pinode.scheduler.cron import Cron
from pinode.scheduler.scheduler import Scheduler
from pinode.settings import Settings
from pinode.slugs.copy_care import CopyCare
from pinode.slugs.replication import SlugReplication
from pinode.slugs.slug_store import SlugStore
from pinode.web.node_side import NodeControl
from pinode.web.server import WebServer
from replicated_queue.client_server import queue_protocol

QUEUE_PROTOCOL = "pinode-queue/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What this node does with it."""

    certificate: OwnCertificate
    supervisor: Supervisor
    router: RouterProcess
    build_worker: BuildWorker
    one_offs: OneOffs
    scheduler: Scheduler
    cron: Cron
    slug_tidying: SlugTidying
    copy_care: CopyCare
    history: NodeHistory
    web: WebServer
    queue_socket: QueueSocket
    beanstalk_port: BeanstalkPort
    departure: Departure
    lan_names: LanNames


def make_work(
    grounds: Grounds,
    agreement: Agreement,
    *,
    local_door: LocalDoor,
    control: NodeControl,
    on_left: Callable[[], None],
) -> Work:
    """The parts that build, run, route and show apps."""
    data_dir, cluster = grounds.settings.node.data_dir, agreement.cluster
    certificate = _own_certificate(grounds)
    slugs, sources = _make_shelves(cluster)
    AppLogs(cluster, data_dir / "logs").serve()
    history = _make_history(agreement)
    serve_farewells(cluster)
    serve_step_downs(cluster, agreement.replica.transfer_leadership)
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
        cron=Cron(cluster, wall_clock=grounds.wall_clock),
        copy_care=_make_copy_care(agreement, slugs, sources),
        slug_tidying=SlugTidying(cluster, slugs.store, sources.store, is_caught_up=agreement.caught_up),
        history=history,
        web=_make_web(grounds, cluster, certificate, local_door, control, history, sources),
        queue_socket=QueueSocket(agreement.broker, data_dir / "queue.sock"),
        beanstalk_port=BeanstalkPort(cluster, agreement.broker, grounds.settings.listen.beanstalk),
        departure=Departure(cluster, on_left=on_left, starts_at_boot=local_door.is_of_unit),
        lan_names=LanNames(cluster),
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


def _make_web(
    grounds: Grounds,
    cluster: LiveCluster,
    certificate: OwnCertificate,
    local_door: LocalDoor,
    control: NodeControl,
    history: NodeHistory,
    sources: _Shelf,
) -> WebServer:
    return WebServer(
        cluster,
        ssl_context=certificate.context(),
        ca_pem=grounds.record.web_authority_pem.encode(),
        local_door=local_door,
        control=control,
        past=history,
        intake=_make_intake(grounds, cluster, sources),
        on_loaded=settle,
    )


def _make_history(agreement: Agreement) -> NodeHistory:
    history = NodeHistory(agreement.cluster, rows=agreement.gossip.stats)
    history.serve()
    return history


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
        interpreters=interpreters_told(interpreters_here(managed=settings.node.data_dir / "python")),
        roles=settings.node.roles,
        started_at_unix=time.time(),
        warnings=tuple(warnings),
    )


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
