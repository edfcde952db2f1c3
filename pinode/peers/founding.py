"""Founding: a set of fresh nodes becomes one cluster, without a master, whichever starts first.

Nodes look for each other at the `join` addresses and at those discovery finds, pass on whom they know, and
agree on one record (see `agreement`). A node that has the record never founds again; it only tells others.
Whoever finds a cluster that was founded without it, and holds its key, asks to join it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from random import Random

from pinode.errors import Conflict, PinodeError
from pinode.peers.agreement import (
    Accept,
    Accepted,
    AcceptorState,
    Ballot,
    Group,
    Outbid,
    Prepare,
    Promised,
    Proposal,
)
from pinode.peers.coming_back import ComingBack
from pinode.peers.discovery import Discovery
from pinode.peers.errors import MalformedFrame, PeerRefused
from pinode.peers.founding_codec import (
    MAX_KNOWN,
    Founded,
    Look,
    Message,
    Seen,
    decode,
    decode_record,
    encode,
    encode_record,
)
from pinode.peers.founding_record import FoundingMember, FoundingRecord, new_founding_record
from pinode.peers.founding_store import FoundingStore, write_to_the_end
from pinode.peers.held_keys import decode_held
from pinode.peers.identity import Identity, hold_keys
from pinode.peers.join_codec import Admitted, JoinRequest, decode_answer, encode_request
from pinode.peers.joining import ANSWER_SECONDS as JOIN_SECONDS
from pinode.peers.joining import raise_what_is_final
from pinode.peers.key_store import KeyStore
from pinode.peers.links import PeerLinks
from pinode.peers.old_key import refuse_old_key, shows_another_key
from pinode.peers.rejoin import Rejoin
from pinode.settings import Address, Settings

logger = logging.getLogger(__name__)

METHOD = "founding"
JOIN_METHOD = "join"
ANSWER_SECONDS = 3.0
FIRST_PAUSE_SECONDS = 0.2
LAST_PAUSE_SECONDS = 2.0  # between looks, while nodes are missing
LISTEN_SECONDS = 1.5  # how long discovery is given to tell of a cluster that is there already
OTHERS_TURN = 0.25  # how likely a node that is not the lowest proposes after a look

Members = dict[str, FoundingMember]


async def found(
    settings: Settings,
    *,
    identity: Identity,
    name: str,
    host: str,
    links: PeerLinks,
    random: Random,
    may_found: bool = True,
    rejoin: Rejoin | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> FoundingRecord:
    """Return the record of this node's cluster: the one on disk, else one agreed on with the others.

    Waits until as many nodes as expected see each other, if it `may_found`, or until a founded cluster of the
    same key is met and admits this node; with `rejoin` for that cluster alone, to take its old place there.
    `links` must be running, `random` be the system's. Raises `Conflict` when another node has this name, and
    what a cluster that is met refuses.
    """
    member = FoundingMember(
        node_id=identity.node_id, name=name, host=host, peer_port=settings.listen.peer.port
    )
    founder = Founder(settings, identity, member, links, random, wall_clock)
    founder.may_found = may_found and rejoin is None
    if rejoin is not None:
        founder.back = ComingBack(rejoin, data_dir=settings.node.data_dir, name=name)
    links.serve(METHOD, founder.answer, open_to_holders=True)
    return await founder.run()


class Founder:
    """One node's part in the founding: answers others at any time, proposes when enough are there."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        member: FoundingMember,
        links: PeerLinks,
        random: Random,
        wall_clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._member = member
        self._links = links
        self._random = random
        self._wall_clock = wall_clock
        self.may_found = True
        self.back: ComingBack | None = None  # to the cluster that this machine was a node of
        self._store = FoundingStore(settings.node.data_dir)
        self._record = self._store.record()
        self._state = self._store.state()
        self._writing = asyncio.Lock()  # what is on disk is never older than what was answered
        self._known: dict[Address, None] = dict.fromkeys((*settings.cluster.join, *self._store.addresses()))
        self._members: Members = {member.node_id: member}
        self._highest_round = self._state.promised.round
        self._news = asyncio.Event()
        self._of_another_key: set[Address] = set()
        self._founded_without_us: FoundingRecord | None = None

    async def run(self) -> FoundingRecord:
        """Found, adopt what was founded, or join it."""
        if self._record is None:
            async with Discovery.of(self._settings, self._identity, self._member) as discovery:
                if discovery.is_on:
                    await self._pause(LISTEN_SECONDS)
                await self._look_until_founded(discovery)
        assert self._record is not None
        if not self._record.has(self._member.node_id) and self._store.joined_as() != self._member.node_id:
            raise Conflict(
                f"{self._settings.node.data_dir} holds the cluster {self._record.name!r}, but not its key",
                hint="Restore node.key from a backup, or start this node with an empty data directory.",
            )
        return self._record

    async def _look_until_founded(self, discovery: Discovery) -> None:
        pause = FIRST_PAUSE_SECONDS
        seen_before = 0
        while self._record is None:
            self._news.clear()
            await discovery.listen()
            discovery.refuse_foreign_cluster()
            self._learn(discovery.addresses())
            seen = await self._look_around()
            await refuse_old_key(self._links, self._of_another_key, self._identity.secrets.held)
            if self._record is None and self._founded_without_us is not None:
                await self._join(self._founded_without_us)
            elif self._record is None and self._is_my_turn(seen):
                await self._propose(seen)
            if self._record is None:
                if len(seen) != seen_before:
                    self._say_what_is_waited_for(len(seen))
                    pause = FIRST_PAUSE_SECONDS
                await self._pause(pause * self._random.uniform(0.5, 1.5))
                pause, seen_before = min(2 * pause, LAST_PAUSE_SECONDS), len(seen)

    def _say_what_is_waited_for(self, seen: int) -> None:
        if self.back is not None:
            logger.info("%s", self.back.what_is_waited_for)
        if self.may_found:
            logger.info("waiting for nodes seen=%d expected=%d", seen, self._settings.cluster.expect)
        else:
            logger.info("looking for a node of the cluster at %s", ", ".join(map(str, self._known)))

    async def _pause(self, seconds: float) -> None:
        """Wait, or less when somebody new or the record came in."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass

    @property
    def _cluster_name(self) -> str:
        return self._record.name if self._record else self._settings.cluster.name

    # -- looking -------------------------------------------------------------------------------------------

    async def _look_around(self) -> Members:
        """Ask every known address; return who answered now, this node among them."""
        look = Look(self._member, self._settings.cluster.name, tuple(self._known))
        answers = await asyncio.gather(*(self._ask(address, look) for address in list(self._known)))
        seen = {self._member.node_id: self._member}
        for answer in answers:
            if not isinstance(answer, Seen):
                continue
            if answer.record is None and answer.cluster_name != self._settings.cluster.name:
                logger.warning(
                    "node of another cluster seen name=%s cluster=%s", answer.member.name, answer.cluster_name
                )
                continue
            self._learn(answer.known)
            if answer.record is None:
                self._refuse_taken_name(answer.member)
            else:
                await self._decide(answer.record)
            seen[answer.member.node_id] = answer.member
        self._members.update(seen)
        return seen

    def _learn(self, addresses: Iterable[Address]) -> None:
        own = Address(self._member.host, self._member.peer_port)
        for address in addresses:
            if address != own and address not in self._known and len(self._known) < MAX_KNOWN:
                self._known[address] = None
                self._news.set()

    async def _ask(self, address: Address, message: Message) -> Message | None:
        try:
            answer = await self._links.exchange(
                address.host, address.port, METHOD, encode(message), timeout_seconds=ANSWER_SECONDS
            )
            return decode(answer)
        except (PinodeError, TimeoutError) as error:
            logger.debug("no answer about founding address=%s error=%s", address, error)
            if shows_another_key(error):
                self._of_another_key.add(address)
            return None

    def _refuse_taken_name(self, other: FoundingMember) -> None:
        """Of two nodes with one name, the one with the lower id keeps it."""
        if other.name == self._member.name and other.node_id < self._member.node_id:
            raise Conflict(
                f"the name {other.name!r} is taken by the node at {other.host}:{other.peer_port}",
                hint='Give this node another: [node] name = "pi2"',
            )

    # -- joining -------------------------------------------------------------------------------------------

    async def _join(self, record: FoundingRecord) -> None:
        """Ask the members of a founded cluster to take this node in; what they refuse is raised."""
        if self.back is not None:
            self.back.refuse_copy()
        replaces = self.back.replaces if self.back is not None else None
        request = encode_request(JoinRequest(self._member, replaces, secret=b""))
        for address in list(self._known):
            try:
                answer = decode_answer(
                    await self._links.exchange(
                        address.host, address.port, JOIN_METHOD, request, timeout_seconds=JOIN_SECONDS
                    )
                )
            except (PinodeError, TimeoutError) as error:
                logger.info("no answer about joining address=%s error=%s", address, error)
                continue
            if isinstance(answer, Admitted):
                await self._keep_joined(answer)
                return
            await raise_what_is_final(answer, self.back)
            logger.info("not admitted yet cluster=%s reason=%s", record.name, answer.message)

    async def _keep_joined(self, admitted: Admitted) -> None:
        if admitted.held_keys:
            held = self._identity.secrets.held.joined_with(decode_held(admitted.held_keys))
            await hold_keys(self._identity, KeyStore.of(self._settings), held)
        async with self._writing:
            await asyncio.to_thread(
                self._store.keep_joined, self._member.node_id, admitted.record, admitted.addresses
            )
            self._record = admitted.record
        logger.info("joined the cluster name=%s by its key", admitted.record.name)

    # -- proposing -----------------------------------------------------------------------------------------

    def _group(self, seen: Members) -> Group:
        """Whom a proposal is for: those bound to a value already, else the expected number of nodes."""
        if self._state.accepted is not None:
            return self._state.accepted.value.members
        return frozenset(sorted(seen)[: self._settings.cluster.expect])

    def _is_my_turn(self, seen: Members) -> bool:
        """The lowest node proposes at once, the others now and then, in case it cannot."""
        group = self._group(seen)
        if (
            not self.may_found
            or len(group) < self._settings.cluster.expect
            or self._member.node_id not in group
        ):
            return False
        return self._member.node_id == min(group) or self._random.random() < OTHERS_TURN

    async def _propose(self, seen: Members) -> None:
        """Try one ballot."""
        self._highest_round += 1
        proposal = Proposal(Ballot(self._highest_round, self._member.node_id), self._group(seen))
        asked: Group = frozenset()
        while missing := proposal.nodes_to_ask() - asked:
            asked |= missing
            for node_id, answer in await self._ask_nodes(missing, Prepare(proposal.ballot, proposal.group)):
                if isinstance(answer, Promised):
                    proposal.take_promise(node_id, answer)
        if self._record is not None:
            return
        value = proposal.choose(lambda: self._new_content(proposal.group))
        if value is None:
            return
        for node_id, answer in await self._ask_nodes(value.members, Accept(proposal.ballot, value)):
            if isinstance(answer, Accepted):
                proposal.take_accepted(node_id)
        if proposal.is_decided and self._record is None:
            record = decode_record(value.content)
            await self._decide(record)
            await self._ask_nodes(asked | seen.keys(), Founded(record))

    async def _ask_nodes(self, nodes: Group, message: Message) -> list[tuple[str, Message]]:
        """Ask several nodes, this one perhaps among them; return who answered what."""
        answers = await asyncio.gather(*(self._ask_node(node_id, message) for node_id in sorted(nodes)))
        heard = [pair for pair in zip(sorted(nodes), answers, strict=True) if pair[1] is not None]
        for _, answer in heard:
            if isinstance(answer, Outbid):
                self._highest_round = max(self._highest_round, answer.promised.round)
            elif isinstance(answer, Founded):
                await self._decide(answer.record)
        return [(node_id, answer) for node_id, answer in heard if answer is not None]

    async def _ask_node(self, node_id: str, message: Message) -> Message | None:
        if node_id == self._member.node_id:
            return await self._take(message)
        member = self._members.get(node_id)
        return await self._ask(Address(member.host, member.peer_port), message) if member else None

    def _new_content(self, group: Group) -> bytes:
        record = new_founding_record(
            name=self._settings.cluster.name,
            members=[self._members[node_id] for node_id in group],
            secrets=self._identity.secrets,
            random=self._random,
            created_at_unix=self._wall_clock(),
        )
        return encode_record(record)

    # -- answering -----------------------------------------------------------------------------------------

    async def answer(self, peer: str, payload: bytes) -> bytes:
        """Answer another founding node. What is promised is on disk before."""
        if self.back is not None and self._record is None:
            raise PeerRefused("this node is of a founded cluster and waits for it", code="rejoining")
        message = decode(payload)
        if isinstance(message, Look):
            if message.member.node_id != peer:
                raise MalformedFrame("a node introduces itself as another")
            self._learn([Address(message.member.host, message.member.peer_port), *message.known])
        return encode(await self._take(message))

    async def _take(self, message: Message) -> Message:
        async with self._writing:
            if isinstance(message, Look):
                return Seen(self._member, self._cluster_name, tuple(self._known), self._record)
            if isinstance(message, Founded):
                await self._keep(message.record)
                return message
            if self._record is not None:
                return Founded(self._record)
            return await self._take_ballot(message)

    async def _take_ballot(self, message: Message) -> Message:
        state: AcceptorState
        answer: Message
        if isinstance(message, Prepare):
            state, answer = self._state.prepare(message)
        elif isinstance(message, Accept):
            state, answer = self._state.accept(message)
        else:
            raise MalformedFrame("an answer nobody asked for")
        if state != self._state:
            # The others may be founded, and silent, when a node comes back that promised: it must find them.
            await write_to_the_end(self._store.keep_addresses, tuple(self._known))
            await write_to_the_end(self._store.keep_state, state)
            self._state = state
        return answer

    async def _decide(self, record: FoundingRecord) -> None:
        async with self._writing:
            await self._keep(record)

    async def _keep(self, record: FoundingRecord) -> None:
        """Take over a decided record, if this node is part of it; only called with `_writing` held."""
        if self._record is not None:
            return
        if self.back is not None and not self.back.is_to(record):
            logger.warning("a cluster that this node is not of was met name=%s", record.name)
        elif record.has(self._member.node_id):
            await write_to_the_end(self._store.keep_record, record)
            self._record = record
            logger.info("cluster founded name=%s members=%d", record.name, len(record.members))
        else:
            self._founded_without_us = record
        self._news.set()
