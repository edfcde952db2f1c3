"""Nodes with one agreed log, keys on real disks, and links that carry only what a shared key lets through.

Who holds none of the marks that the others hold hears nothing of the log, as with gossip and TLS. Nodes lag
behind, are switched off between any two looks, and one that was removed asks everybody for the new key.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from pinode.apps.errors import Refused
from pinode.apps.observed import NodeView
from pinode.cluster import Cluster
from pinode.errors import TimedOut, Unreachable
from pinode.key_care import KeyCare, Surroundings
from pinode.nodes.commands import AdoptKey, NodeCommand, OfferKey, RemoveNode, RotateKey
from pinode.nodes.node import RegisteredNode
from pinode.nodes.node_table import NodeTable
from pinode.peers.cluster_key import ClusterKey, read_cluster_key, write_cluster_key
from pinode.peers.derived_keys import derived
from pinode.peers.held_keys import HeldKeys
from pinode.peers.identity import load_identity, load_node_id
from pinode.peers.key_door import KeysAnswer, KeysJudge
from pinode.peers.key_store import KeyStore
from pinode.peers.keys import ClusterSecrets
from pinode.settings import Address
from replicated_queue.errors import QueueError
from tests.pinode.fake_cluster import node_view

FIRST_KEY = ClusterKey(b"1" * 32)
NOWHERE = Address("x", 1)


class KeyNode:
    """One node: `Cluster` and links to its `KeyCare`, and a disk that outlives its process."""

    def __init__(self, world: "KeyWorld", folder: Path, number: int) -> None:
        self.world, self.folder, self.number = world, folder, number
        write_cluster_key(folder / "cluster.key", FIRST_KEY)
        self.node_id = load_node_id(folder)
        self.judge: KeysJudge
        self.is_on = False
        self.removals_told: list[str] = []
        self.revision = 0
        self.logged = 0  # how much of the log is on its disk

    def start(self) -> None:
        """From what is on the disk; nothing of the log is applied before a leader is heard."""
        self.store = KeyStore(self.folder / "cluster.key", self.folder)
        held = self.store.load(read_cluster_key(self.folder / "cluster.key"))
        self.store.keep(held)
        self.secrets = ClusterSecrets(held)
        self.identity = load_identity(self.folder, self.secrets)
        self.table, self.applied, self.is_caught_up = NodeTable(self.world.founders), 0, False
        self.is_on = True
        around = Surroundings(
            identity=self.identity,
            links=self,
            store=self.store,
            is_caught_up=lambda: self.is_caught_up,
            addresses=lambda: {node_id: NOWHERE for node_id in self.world.nodes if node_id != self.node_id},
            on_removed=self.removals_told.append,
        )
        self.care = KeyCare(cast(Cluster, self), around)

    @property
    def held(self) -> HeldKeys:
        return self.secrets.held

    @property
    def state(self) -> Any:
        return SimpleNamespace(nodes=self.table)

    @property
    def hears(self) -> list["KeyNode"]:
        """Whom it shares a key with, itself among them."""
        return [
            one for one in self.world.registered if one.is_on and set(one.held.marks) & set(self.held.marks)
        ]

    @property
    def has_quorum(self) -> bool:
        return 2 * len(self.hears) > len(self.world.table_of_all.all()) and self in self.hears

    @property
    def is_leader(self) -> bool:
        return self.is_caught_up and self.has_quorum and self.world.leader is self

    def nodes(self) -> Sequence[NodeView]:
        return [
            replace(
                node_view(1, known.name),
                node_id=known.node_id,
                state="alive" if self.world.nodes[known.node_id] in self.hears else "dead",
            )
            for known in self.table.all()
        ]

    def apply(self, to: int) -> None:
        """What was agreed up to there, if a majority can be heard."""
        if self.is_on and self.has_quorum:
            for command in self.world.log[self.applied : to]:
                apply(self.table, command)
            self.applied = max(self.applied, min(to, len(self.world.log)))
            self.logged = max(self.logged, self.applied)
            self.is_caught_up = self.is_caught_up or self.applied == len(self.world.log)

    async def execute(self, command: NodeCommand, **_: Any) -> Any:
        if not self.has_quorum:
            raise TimedOut("no majority")
        self.world.log.append(command)
        self.world.table_of_all_apply(command)
        self.apply(len(self.world.log))

    def on_keyless(self, judge: KeysJudge) -> None:
        self.judge = judge

    async def ask_for_keys(
        self, node_id: str | None, address: Address, marks: tuple[str, ...], generation: int
    ) -> KeysAnswer:
        there = self.world.nodes[node_id or ""]
        if not there.is_on:
            raise Unreachable("it is off")
        return there.judge(self.node_id, marks, generation)

    def cut_off(self, is_stranger: Callable[[str], bool]) -> None:
        """There are no lasting links here."""

    async def look(self) -> None:
        try:
            await self.care.look()
        except (Refused, TimedOut, QueueError):
            pass


class KeyWorld:
    """Some nodes that founded a cluster."""

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self.random = Random(seed)
        self.log: list[NodeCommand] = []
        self.founders: list[RegisteredNode] = []
        self.removed_at: dict[str, int] = {}
        made = []
        for number in range(1, count + 1):
            (folder / str(number)).mkdir(parents=True)
            made.append(KeyNode(self, folder / str(number), number))
        self.nodes = {node.node_id: node for node in made}
        self.founders = [
            RegisteredNode(node_id=node.node_id, name=f"pi{node.number}", host="x", peer_port=1)
            for node in made
        ]
        self.table_of_all = NodeTable(self.founders)
        self.leader: KeyNode | None = made[0]
        for node in made:
            node.start()

    @property
    def registered(self) -> list[KeyNode]:
        found = [self.nodes[known.node_id] for known in self.table_of_all.all()]
        return sorted(found, key=lambda node: node.number)  # ids are drawn, and no seed says their order

    @property
    def on(self) -> list[KeyNode]:
        return [node for node in self.registered if node.is_on]

    def table_of_all_apply(self, command: NodeCommand) -> None:
        apply(self.table_of_all, command)

    async def anything(self) -> None:
        """One thing that may happen, chosen at random."""
        random, on = self.random, self.on
        what = random.choices(
            ("look", "apply", "off", "on", "leader", "rotate", "remove", "spy"), (30, 20, 2, 4, 2, 3, 0.3, 6)
        )[0]
        node = random.choice(self.registered)
        if what == "look" and node.is_on:
            await node.look()
        elif what == "apply":
            node.apply(random.randint(node.applied, len(self.log)) if node.is_on else 0)
        elif what == "off" and node.is_on:
            node.is_on = False
        elif what == "on" and not node.is_on:
            node.start()
        elif what == "leader" and on:
            self.leader = random.choice(on)
        elif what in ("rotate", "remove"):
            await self._ask_leader(what)
        elif what == "spy":
            self.spy()

    async def _ask_leader(self, what: str) -> None:
        leader = self.leader
        if leader is None or not leader.is_on or not leader.is_leader or leader.applied < len(self.log):
            return
        if what == "rotate":
            await leader.execute(RotateKey(by="ada"))
        elif len(self.registered) > 3:
            lost = self.random.choice([node for node in self.registered if node is not leader])
            await leader.execute(RemoveNode(node_id=lost.node_id, by="ada"))
            self.removed_at[lost.node_id] = len(self.log)

    def recover(self, survivor: KeyNode) -> None:
        """`pinode recover` on that node: its log and its keys are all that is left."""
        for node in self.on:
            node.is_on = False
        self.log = self.log[: survivor.logged]
        self.table_of_all = NodeTable(self.founders)
        for command in self.log:
            apply(self.table_of_all, command)
        store = KeyStore(survivor.folder / "cluster.key", survivor.folder)
        held = store.load(read_cluster_key(survivor.folder / "cluster.key"))
        others = [node for node in self.registered if node is not survivor]
        for lost in others:
            self.log.append(RemoveNode(node_id=lost.node_id, by="pinode recover"))
        adopt = AdoptKey(generation=held.newest_generation, mark=derived(held.in_use).mark, by="recover")
        self.log.append(adopt)
        for command in self.log[survivor.logged :]:
            apply(self.table_of_all, command)
        self.leader = survivor

    def spy(self) -> None:
        """Who was removed asks everybody, with its own node key, for what it does not hold."""
        for node_id, removed_at in self.removed_at.items():
            spy = self.nodes[node_id]
            for node in self.on:
                answer = node.judge(node_id, spy.held.marks, 0)
                given = set(answer.marks) if isinstance(answer, HeldKeys) else set()
                later = {
                    one.mark for one in self.log[removed_at:] if isinstance(one, OfferKey)
                }  # drawn after it was removed
                assert not given & later, f"{node.number} gave the removed {spy.number} a new key"

    async def heal(self) -> None:
        """Everything is on, and nothing fails any more."""
        for node in self.registered:
            if not node.is_on:
                node.start()
        for _ in range(40):
            for node in self.registered:
                node.apply(len(self.log))
                await node.look()
            leaders = [node for node in self.registered if node.has_quorum and node.is_caught_up]
            self.leader = leaders[0] if leaders and self.leader not in leaders else self.leader

    def is_settled(self) -> bool:
        """Whether everyone holds the newest key alone."""
        rotation = self.table_of_all.key_rotation
        if rotation is None:
            return all(node.held == HeldKeys(in_use=FIRST_KEY) for node in self.registered)
        return rotation.is_over and {node.held.marks for node in self.registered} == {(rotation.mark,)}


def apply(table: NodeTable, command: NodeCommand) -> None:
    try:
        table.apply(command, now=1)
    except Refused:
        pass
