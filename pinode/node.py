"""A node, from its data directory to its end: makes its parts and runs them in one task group."""

import asyncio
import contextlib
import logging
import os
import sys
from random import Random, SystemRandom
from typing import Any, Protocol

from pinode.card.old_state import OldState, Reason
from pinode.card.set_aside import SetAside
from pinode.errors import Conflict, NoLeader
from pinode.host import default_node_name
from pinode.key_care import KeyCare, Surroundings
from pinode.local_door import LocalDoor
from pinode.machine_watch import MachineWatch
from pinode.node_agreement import Agreement, Grounds, make_agreement
from pinode.node_parts import Work, facts_of, make_work
from pinode.own_address import OwnAddress, for_own_family, own_address
from pinode.peer_book import PeerBook
from pinode.peers.certificates import fingerprint
from pinode.peers.cluster_key import load_or_make_cluster_key
from pinode.peers.founding import found
from pinode.peers.founding_record import FoundingRecord
from pinode.peers.identity import Identity, load_identity
from pinode.peers.joining import Joining, join_with_token
from pinode.peers.kept_generations import KeptGenerations, next_generation
from pinode.peers.key_store import KeyStore
from pinode.peers.keys import ClusterSecrets
from pinode.peers.links import PeerLinks
from pinode.peers.old_key import complete_keys
from pinode.peers.rejoin import read_rejoin
from pinode.peers.standing import NO_CLUSTER, NO_GENERATION, Outdated, Standing
from pinode.registration import Registration
from pinode.sandbox.sandbox import Isolation, find_isolation
from pinode.settings import Address, Settings
from pinode.wall_clock import WallClock
from pinode.wind_down import Ending, wind_down

logger = logging.getLogger(__name__)


class Runs(Protocol):
    """A part of a node."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class Node:
    """One node. `run` it once."""

    def __init__(
        self, settings: Settings, joining: Joining, wall_clock: WallClock, local_door: LocalDoor
    ) -> None:
        self._wall_clock = wall_clock
        self._local_door = local_door
        self._settings = settings
        self._joining = joining
        self._rejoin = read_rejoin(settings.node.data_dir)
        self._left_behind = tuple(aside.warning for aside in SetAside(settings.node.data_dir).all()[-1:])
        self._name = settings.node.name or default_node_name()
        self._own = OwnAddress("127.0.0.1")  # until it is looked for
        self._end = asyncio.Event()
        self._ending = Ending()
        self._removal: Conflict | None = None
        self._removals_known = 0
        self._peers = PeerBook()
        self._identity: Identity | None = None
        self._record: FoundingRecord | None = None
        self._generation = NO_GENERATION
        self._outdated: asyncio.Future[OldState] = asyncio.get_running_loop().create_future()
        self._agreement: Agreement | None = None
        self._work: Work | None = None
        self._isolation: Isolation = find_isolation(required=settings.sandbox.required)
        self._facts = facts_of(settings, self._isolation)
        self._random: Random = SystemRandom()

    def request_end(self) -> None:
        """End this process; dynos and router go on (SIGTERM)."""
        self._end.set()

    def stop(self, *, everything: bool) -> int:
        """End the dynos, the router and this process; with `everything` without handing over. Its pid."""
        self._ending.with_dynos = True
        self._ending.is_at_once = everything
        self._end.set()
        return os.getpid()

    def leave(self, *, by: str) -> None:
        """Begin to leave the cluster for good. Raises `Conflict` where the others could not go on without."""
        assert self._work
        self._work.departure.begin(by=by)

    def leaving(self) -> dict[str, Any]:
        """How far that is."""
        assert self._work
        return self._work.departure.progress()

    @property
    def has_left(self) -> bool:
        """Whether this node is none of its cluster any more, by its own wish."""
        return self._ending.has_left

    def _leave_behind(self) -> None:
        self._ending.has_left = True
        self.stop(everything=True)

    def setup_code(self) -> str | None:
        """The code that registers the first user; None once there is one. Raises `NoLeader` until known."""
        assert self._record and self._identity and self._agreement
        if self._agreement.cluster.state.people.has_users:
            return None
        if not self._agreement.caught_up():
            raise NoLeader(
                "this node has not heard yet whether there is an administrator",
                hint="wait until `pinode status` shows a leader, then ask again",
            )
        return self._record.setup_code(self._identity.secrets)

    async def run(self) -> None:
        """Run until asked to end. A part that fails ends the node: half a node is worse than none."""
        live = asyncio.create_task(self._live(), name="node")
        ending = asyncio.create_task(self._end.wait(), name="end")
        try:
            await asyncio.wait({live, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not live.done() and self._agreement is not None and self._work is not None:
                seconds = self._settings.timings.stop_seconds
                await wind_down(self._agreement, self._work, self._ending, stop_seconds=seconds)
        finally:
            ending.cancel()
            live.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await live
        if self._removal is not None:
            raise self._removal

    async def _live(self) -> None:
        self._own = await own_address(self._settings)
        settings = self._settings = for_own_family(self._settings, self._own.host)
        await self._close_loopback()
        had_key = settings.cluster.key_file.exists()
        secrets = await self._cluster_secrets(settings)
        identity = self._identity = load_identity(settings.node.data_dir, secrets)
        generations = KeptGenerations(settings.node.data_dir)
        links = PeerLinks(
            identity,
            listen=settings.listen.peer,
            standing=self._standing(generations),
            address_of=self._peers.address_of,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(links.run(), name="links")
            tasks.create_task(generations.run(), name="generations")
            tasks.create_task(self._end_when_outdated(), name="standing")
            logger.info("node starts name=%s id=%s address=%s", self._name, identity.node_id, self._own.host)
            try:
                record = await found(
                    settings,
                    identity=identity,
                    name=self._name,
                    host=self._own.host,
                    links=links,
                    random=self._random,
                    may_found=not self._joining.is_asked_for,
                    rejoin=self._rejoin,
                )
            except Conflict:
                if not had_key:  # made a moment ago, and nothing was founded with it
                    settings.cluster.key_file.unlink()
                raise
            await complete_keys(record, identity, links, settings)
            self._be_member(tasks, record, identity, links)

    def _be_member(
        self, tasks: asyncio.TaskGroup, record: FoundingRecord, identity: Identity, links: PeerLinks
    ) -> None:
        """It has a cluster: make the parts, and let them run."""
        settings = self._settings
        self._generation = next_generation(settings.node.data_dir, self._random)
        self._record = record
        grounds = Grounds(
            settings=settings,
            name=self._name,
            host=self._own.host,
            record=record,
            generation=self._generation,
            identity=identity,
            links=links,
            isolation=self._isolation,
            random=self._random,
            facts=self._facts,
            wall_clock=self._wall_clock,
        )
        agreement = self._agreement = make_agreement(grounds)
        self._peers.open(agreement)
        work = self._work = make_work(
            grounds, agreement, local_door=self._local_door, control=self, on_left=self._leave_behind
        )
        is_founding = record.has(identity.node_id) and not (settings.node.data_dir / "log").exists()
        self._say_where(record, is_new=is_founding)
        keys = self._key_care(agreement, identity, links)
        watch = MachineWatch(
            settings,
            own=self._own,
            facts=self._facts,
            warnings=lambda: self._warnings(agreement, work, keys),
            agreement=agreement,
            work=work,
        )
        agreement.replica.on_membership(lambda _: self._look_for_removed(agreement, links))
        agreement.replica.on_applied(lambda _: self._note_removals(agreement, links))
        registration = Registration(
            agreement.cluster, host=lambda: self._own.host, is_caught_up=agreement.caught_up
        )
        identity.secrets.on_change(work.router.tell_certificates)
        tasks.create_task(keys.run(), name="keys")
        tasks.create_task(registration.run(), name="registration")
        tasks.create_task(watch.announce(identity), name="announce")
        tasks.create_task(watch.run(), name="machine")
        self._start(tasks, agreement, work)

    def _key_care(self, agreement: Agreement, identity: Identity, links: PeerLinks) -> KeyCare:
        around = Surroundings(
            identity=identity,
            links=links,
            store=KeyStore.of(self._settings),
            is_caught_up=agreement.caught_up,
            addresses=self._peers.addresses,
            on_removed=self._be_removed,
        )
        return KeyCare(agreement.cluster, around)

    async def _cluster_secrets(self, settings: Settings) -> ClusterSecrets:
        """From the key on this disk, which whoever joins by a token is given first."""
        token = self._joining.token
        if token is not None:
            await join_with_token(settings, token, name=self._name, host=self._own.host, rejoin=self._rejoin)
        key = load_or_make_cluster_key(settings)
        store = KeyStore.of(settings)
        held = store.load(key)
        store.keep(held)  # a rotation may have been cut short between two files
        return ClusterSecrets(held)

    async def _close_loopback(self) -> None:
        """Keep builds and dynos from this machine's own services. Nodes of a demo are such services."""
        listen, firewall = self._settings.listen, self._isolation.firewall
        if self._own.is_meant_for_this_machine:
            return
        if not self._isolation.own_uids:
            firewall.is_impossible()
            return
        await firewall.put_up(
            doors={listen.web.port, listen.apps.port, listen.apps_tls.port},
            app_ports=str(listen.app_ports),
            dyno_ports=str(listen.dyno_ports),
        )

    def _standing(self, generations: KeptGenerations) -> Standing:
        return Standing(
            cluster=lambda: self._record.mark if self._record else NO_CLUSTER,
            generation=lambda: self._generation,
            generations=generations.all,
            allowed=self._peers.may_speak,
            was_removed=self._peers.was_removed,
            on_news=generations.note_news,
            on_outdated=self._hear_outdated,
        )

    def _hear_outdated(self, code: Outdated, message: str) -> None:
        """A peer says that what this node holds is older than what it promised, or of an older epoch."""
        if code == "removed":
            self._be_removed(message)
        elif not self._outdated.done():
            reason = Reason.SET_BACK if code == "set_back" else Reason.OLD_EPOCH
            self._outdated.set_result(OldState(reason, message))

    async def _end_when_outdated(self) -> None:
        raise await self._outdated

    def _start(self, tasks: asyncio.TaskGroup, agreement: Agreement, work: Work) -> None:
        parts: dict[str, Runs] = {
            "gossip": agreement.gossip,
            "known members": agreement.known_members,
            "replica": agreement.replica,
            "broker": agreement.broker,
            "autopilot": agreement.autopilot,
            "caught up": agreement.caught_up,
            "reports": agreement.reports,
            "history": work.history,
            "web": work.web,
            "queue socket": work.queue_socket,
            "beanstalk port": work.beanstalk_port,
            "router": work.router,
            "supervisor": work.supervisor,
            "build worker": work.build_worker,
            "scheduler": work.scheduler,
            "cron": work.cron,
            "one_offs": work.one_offs,
            "slug tidying": work.slug_tidying,
            "copy care": work.copy_care,
            "departure": work.departure,
        }
        for name, part in parts.items():
            tasks.create_task(part.run(), name=name)

    def _say_where(self, record: FoundingRecord, *, is_new: bool) -> None:
        """What a person wants to know when a node is up."""
        web = f"https://{Address(self._own.host, self._settings.listen.web.port)}"
        logger.info("node is a member cluster=%s web=%s", record.name, web)
        logger.info(
            "browsers will warn until they trust its CA; SHA-256 %s", fingerprint(record.web_authority_pem)
        )
        if is_new and sys.stdout.isatty():  # to the person who started it; a log would keep the secret
            assert self._identity
            code = record.setup_code(self._identity.secrets)
            print(f"\nregister the first user at {web}/register with the setup code {code}\n", flush=True)
        elif is_new:
            logger.info("the first user registers at %s/register with the code of `pinode setup-code`", web)
        if not self._isolation.available:
            logger.warning(
                "builds and dynos run WITHOUT isolation: %s %s", self._isolation.reason, self._isolation.hint
            )

    def _note_removals(self, agreement: Agreement, links: PeerLinks) -> None:
        removals = agreement.cluster.state.nodes.removals
        if self._removals_known != removals:
            self._removals_known = removals
            self._look_for_removed(agreement, links)

    def _look_for_removed(self, agreement: Agreement, links: PeerLinks) -> None:
        """Others were removed: they are to hear it from us. This node was: it has heard it."""
        removed = agreement.cluster.state.nodes.removed(agreement.cluster.node_id)
        if removed is not None:
            self._be_removed(f"this node ({removed.name}) was removed from its cluster by {removed.by}")
        links.cut_off_removed()

    def _be_removed(self, message: str) -> None:
        """End, and the dynos with it: they have successors elsewhere."""
        if self._ending.has_left or self._removal is not None:
            return
        if self._work is not None and self._work.departure.is_saying_farewell:
            self._leave_behind()  # the others were quicker than their answer
            return
        data_dir = self._settings.node.data_dir
        self._removal = Conflict(
            f"{message}.",
            hint=f"Its id never comes back. To let this machine join anew: move {data_dir} away, then "
            "`pinode start --join TOKEN` with a token of `pinode join-token`.",
            code="removed",
        )
        self.stop(everything=True)

    def _warnings(self, agreement: Agreement, work: Work, keys: KeyCare) -> tuple[str, ...]:
        """What this node says of itself in everybody's `pinode status`."""
        wall = self._isolation.firewall.warning
        found = (
            *self._facts.warnings,
            *self._left_behind,
            *work.cron.warnings,
            *work.router.warnings,
            *agreement.replica.warnings,
        )
        return (*found, *(said for said in (keys.problem, wall) if said))
