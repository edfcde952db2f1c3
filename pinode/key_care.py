"""Keeps this node's cluster keys as the cluster agrees; on the leader, takes a rotation further.

It compares and acts: whatever was missed, and wherever a power cut fell, the next look does the rest. A node
that hears nobody asks those it knew, in case that the key was rotated without it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from pinode.cluster import Cluster
from pinode.errors import PinodeError
from pinode.nodes.commands import AdvanceKeyRotation, ConfirmKey, OfferKey
from pinode.nodes.key_rotation import KeyRotation, next_step
from pinode.peers.cluster_key import new_cluster_key
from pinode.peers.derived_keys import derived
from pinode.peers.errors import MalformedFrame
from pinode.peers.held_keys import HeldKeys
from pinode.peers.identity import Identity, hold_keys
from pinode.peers.key_door import KeysAnswer, KeysJudge, NoKeys
from pinode.peers.key_store import KeyStore
from pinode.settings import Address
from replicated_queue.errors import QueueError

logger = logging.getLogger(__name__)

SPACING_SECONDS = 0.05  # between two looks, however much changes
AGAIN_SECONDS = 2.0  # when a step was not possible
LONELY_SECONDS = (1.0, 8.0)  # between two questions of a node that hears nobody, at first and at last
QUIET_SECONDS = 600.0


class KeysNotKept(PinodeError):
    """The disk does not take them: without that they are not held either."""


class KeyLinks(Protocol):
    """What is wanted of `PeerLinks`."""

    def on_keyless(self, judge: KeysJudge) -> None: ...
    async def ask_for_keys(
        self, node_id: str | None, address: Address, marks: tuple[str, ...], generation: int
    ) -> KeysAnswer: ...
    def cut_off(self, is_stranger: Callable[[str], bool]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the keys of a node depend on, beside the cluster."""

    identity: Identity
    links: KeyLinks
    store: KeyStore
    is_caught_up: Callable[[], bool]
    addresses: Callable[[], Mapping[str, Address]]  # of the others, by node id, as last known
    on_removed: Callable[[str], None]  # a member says that this node was removed


class KeyCare:
    """One a node."""

    def __init__(self, cluster: Cluster, around: Surroundings) -> None:
        self._cluster = cluster
        self._around = around
        self._secrets = around.identity.secrets
        self._lonely_looks = 0
        self.problem = ""  # for `pinode status`
        around.links.on_keyless(self.judge)

    async def run(self) -> None:
        """Look whenever something changed, until cancelled."""
        await asyncio.sleep(LONELY_SECONDS[0])  # most starts hear a leader within this
        while True:
            revision = self._cluster.revision
            try:
                seconds = await self.look()
                self.problem = ""
            except KeysNotKept as error:
                self.problem = error.message
                logger.warning("%s", error)
                seconds = AGAIN_SECONDS
            except (PinodeError, QueueError, TimeoutError, OSError) as error:
                logger.info("the cluster keys are looked at again reason=%r", error)
                seconds = AGAIN_SECONDS
            await asyncio.sleep(SPACING_SECONDS)
            await self._cluster.changed(revision, timeout_seconds=seconds)

    async def look(self) -> float:
        """Do what is to be done now; in how many seconds to look again if nothing changes."""
        cluster = self._cluster
        if not self._around.is_caught_up() or not cluster.has_quorum:
            await self._ask(self._around.addresses())
            self._lonely_looks += 1
            first, last = LONELY_SECONDS
            return min(last, first * float(2 ** min(self._lonely_looks, 8)))
        self._lonely_looks = 0
        rotation = cluster.state.nodes.key_rotation
        if rotation is None or self._is_settled(rotation):
            return QUIET_SECONDS
        await self._follow(rotation)
        if cluster.is_leader:
            await self._lead()
        return AGAIN_SECONDS

    def judge(self, peer: str, marks: tuple[str, ...], generation: int) -> KeysAnswer:
        """Which keys another node is given that holds these of that generation.

        Who is entitled was agreed on with the newest key: what this node knows of the table may be of before.
        """
        nodes, held = self._cluster.state.nodes, self._secrets.held
        if (removed := nodes.removed(peer)) is not None:
            message = f"this node ({removed.name}) was removed from its cluster by {removed.by}"
            return NoKeys("removed", message)
        if held.generation <= generation and set(held.marks) <= set(marks):
            return NoKeys("known", "this node holds no other keys")
        rotation = nodes.key_rotation
        entitled = set(held.entitled)
        if rotation is not None and rotation.mark == derived(held.newest).mark:
            entitled.update(rotation.entitled)  # not on the disk yet
        if peer in entitled:
            return held
        if any(nodes.was_rotated_away(mark) for mark in marks):
            return NoKeys(
                "key_rotated",
                "the cluster key was rotated: this copy of it is an old one, and opens nothing any more",
                "`pinode join-token` on a node of the cluster makes a token; move the old cluster.key away, "
                "then `pinode start --join TOKEN`.",
            )
        return NoKeys("unknown_node", f"node {peer} is not a node of this cluster")

    def _is_settled(self, rotation: KeyRotation) -> bool:
        held = self._secrets.held
        if rotation.generation < held.newest_generation:
            return True  # others have told it of a later one than is applied here
        return rotation.is_over and held.marks == (rotation.mark,)

    async def _follow(self, rotation: KeyRotation) -> None:
        """Do what the stage asks of each node, and confirm it."""
        if rotation.stage == "wanted":
            return
        if rotation.mark not in self._secrets.held.marks:
            await self._ask(self._those_who_have(rotation), agreed=rotation.mark)
        held, own_id = self._secrets.held, self._cluster.node_id
        if rotation.mark not in held.marks:
            logger.info("the new cluster key was not fetched yet mark=%s", rotation.mark)
            return
        if held.entitled != frozenset(rotation.entitled):
            held = replace(held, entitled=frozenset(rotation.entitled))
            await self._take(held)
        if rotation.stage != "install" and rotation.mark != self._secrets.mark:
            held = held.using_successor(generation=rotation.generation)
            await self._take(held)
        if rotation.stage == "done":
            await self._take(held.alone())
            nodes = self._cluster.state.nodes
            self._around.links.cut_off(lambda peer: nodes.get(peer) is None)
        elif own_id not in rotation.ready:
            await self._cluster.execute(
                ConfirmKey(
                    generation=rotation.generation, mark=rotation.mark, stage=rotation.stage, node_id=own_id
                )
            )

    async def _lead(self) -> None:
        cluster, rotation = self._cluster, self._cluster.state.nodes.key_rotation
        step = next_step(
            rotation,
            cluster.nodes(),
            own_id=cluster.node_id,
            own_marks=self._secrets.held.marks,
        )
        if rotation is not None and step == "draw":
            await self._offer_new_key(rotation)
        elif isinstance(step, AdvanceKeyRotation):
            await cluster.execute(step)
            logger.info("rotation of the cluster key goes on stage=%s mark=%s", step.stage, step.mark)

    async def _offer_new_key(self, rotation: KeyRotation) -> None:
        """It is on this disk before anybody hears of it; who is entitled to it, only the log says."""
        cluster = self._cluster
        key = new_cluster_key()
        await self._take(self._secrets.held.with_successor(key, entitled=frozenset()))
        await cluster.execute(
            OfferKey(
                generation=rotation.generation,
                mark=derived(key).mark,
                previous=self._secrets.mark,
                node_id=cluster.node_id,
                instead_of=rotation.mark,
            )
        )
        logger.info("new cluster key drawn mark=%s", derived(key).mark)

    def _those_who_have(self, rotation: KeyRotation) -> Mapping[str, Address]:
        """In a later stage everybody in reach has it who has confirmed the one before."""
        others = self._around.addresses()
        in_reach = {node.node_id for node in self._cluster.nodes() if node.is_in_reach}
        wanted = rotation.ready if rotation.stage == "install" else in_reach
        return {node_id: where for node_id, where in others.items() if node_id in wanted}

    async def _ask(self, others: Mapping[str, Address], *, agreed: str = "") -> None:
        """Ask all of them at once, and hold what most of those who give any give, or what is agreed."""
        marks, generation = self._secrets.held.marks, self._secrets.held.generation
        answers = await asyncio.gather(
            *(self._ask_one(peer, where, marks, generation) for peer, where in others.items())
        )
        given = [one for one in answers if isinstance(one, HeldKeys) and (not agreed or agreed in one.marks)]
        if given:
            held = self._secrets.held.joined_with(_most_given(given), agreed=agreed)
            if held != self._secrets.held:
                logger.info("cluster keys fetched marks=%s", ",".join(held.marks))
                await self._take(held)
            return
        for answer in () if agreed else answers:
            if isinstance(answer, NoKeys) and answer.code == "removed":
                self._around.on_removed(answer.message)

    async def _ask_one(
        self, peer: str, where: Address, marks: tuple[str, ...], generation: int
    ) -> KeysAnswer | None:
        try:
            return await self._around.links.ask_for_keys(peer, where, marks, generation)
        except (PinodeError, MalformedFrame, OSError, TimeoutError) as error:
            logger.debug("no answer about cluster keys peer=%s reason=%r", peer, error)
            return None

    async def _take(self, held: HeldKeys) -> None:
        try:
            await hold_keys(self._around.identity, self._around.store, held)
        except OSError as error:
            raise KeysNotKept(f"the cluster key cannot be written: {error}") from error


def _most_given(given: Iterable[HeldKeys]) -> HeldKeys:
    """A single node that was removed meanwhile, and pretends, shall not mislead one that was away."""
    listed = list(given)
    votes = Counter(held.in_use.secret for held in listed)
    return max(listed, key=lambda held: (votes[held.in_use.secret], held.generation, len(held.marks)))
