"""What a node says of itself when it dials, and whom it takes: cluster, cluster epoch, disk generation. Pure.

The *cluster epoch* is 0 from the founding on and rises with each recovery from a lost majority: what a node
of a lower one holds was left behind. Two nodes that recovered apart drew different ones; the lower gives way.
The *disk generation* rises with each start of a node and bears a mark drawn for that start, so that peers
know an older state when it comes back, and a copy when it starts beside.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

from pinode.peers.frames import VERSION, Hello, Refusal

MARK_BYTES = 8
EPOCH_STEP = 1 << 32  # between two recoveries; what is between is drawn, so that no two are the same
MAX_KNOWN = 256  # nodes whose generation is remembered
# Codes of refusals that say so of the node that is refused.
Outdated = Literal["old_epoch", "set_back", "removed"]
OUTDATED: tuple[Outdated, ...] = ("old_epoch", "set_back", "removed")


@dataclass(frozen=True, slots=True)
class ClusterMark:
    """Which cluster, and which of its lives."""

    cluster_id: bytes  # b"" until founded
    epoch: int


def next_epoch(epoch: int, random: Random) -> int:
    """That of a cluster that is recovered now; `random` must be the system's."""
    return (epoch // EPOCH_STEP + 1) * EPOCH_STEP + random.randrange(EPOCH_STEP)


def recoveries(epoch: int) -> int:
    """How often the cluster was recovered: what people are told of an epoch."""
    return epoch // EPOCH_STEP


NO_CLUSTER = ClusterMark(b"", 0)  # until founded


@dataclass(frozen=True, slots=True)
class DiskGeneration:
    """One start of a node from its disk."""

    number: int
    mark: bytes  # drawn for this start: two starts of one number are not the same


NO_GENERATION = DiskGeneration(0, b"")  # of a node that is of no cluster yet


class Generations:
    """The newest generation of each peer that was heard; kept on the disk by `kept_generations`."""

    def __init__(self, known: Mapping[str, DiskGeneration] | None = None) -> None:
        self._known = dict(known or {})

    @property
    def known(self) -> Mapping[str, DiskGeneration]:
        """By node id."""
        return self._known

    def is_set_back(self, peer: str, heard: DiskGeneration) -> bool:
        """Whether this peer was further once, or runs twice."""
        known = self._known.get(peer)
        if known is None or heard.number > known.number:
            return False
        return heard != known

    def learn(self, peer: str, heard: DiskGeneration) -> bool:
        """Remember it if it is newer; whether it was news. The one heard of longest ago gives way."""
        known = self._known.get(peer)
        if known is not None and heard.number <= known.number:
            return False
        self._known.pop(peer, None)
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[peer] = heard
        return True


class Standing:
    """How this node stands to the others."""

    def __init__(
        self,
        *,
        cluster: Callable[[], ClusterMark],
        generation: Callable[[], DiskGeneration],
        generations: Generations,
        allowed: Callable[[str], bool],
        was_removed: Callable[[str], bool] = lambda peer: False,
        on_news: Callable[[], None] = lambda: None,
        on_outdated: Callable[[Outdated, str], None] = lambda code, message: None,
    ) -> None:
        """`on_news`: a peer's generation is new; `on_outdated`: a peer says that this node's state is old."""
        self._cluster = cluster
        self._generation = generation
        self._generations = generations
        self._allowed = allowed
        self._was_removed = was_removed
        self._on_news = on_news
        self._on_outdated = on_outdated

    def hello(self, lane: str) -> Hello:
        """The first frame of a connection that this node dialled."""
        own, generation = self._cluster(), self._generation()
        return Hello(VERSION, lane, own.cluster_id, own.epoch, generation.number, generation.mark)

    def is_member(self, peer: str, hello: Hello) -> bool:
        """Whether who dialled is heard as a member."""
        return self._is_of_our_cluster(hello) and self._allowed(peer)

    def why_outdated(self, peer: str, hello: Hello) -> Refusal | None:
        """Why nothing of a node of this cluster is heard, whatever it wants; None of all others."""
        if not self._is_of_our_cluster(hello):
            return None
        own = self._cluster()
        if hello.cluster_epoch < own.epoch:
            return Refusal("old_epoch", _recovered_without(peer, hello.cluster_epoch, own.epoch))
        if hello.cluster_epoch > own.epoch:
            self._on_outdated("old_epoch", _recovered_without("this node", own.epoch, hello.cluster_epoch))
            message = f"node {peer} knows a later epoch of this cluster, in which this node is not"
            return Refusal("newer_epoch", message)
        if (removed := self.why_removed(peer)) is not None:
            return removed
        heard = DiskGeneration(hello.disk_generation, hello.generation_mark)
        if self._generations.is_set_back(peer, heard):
            return Refusal(
                "set_back",
                f"node {peer} comes with a disk of generation {heard.number}, "
                f"but {self._generations.known[peer].number} was heard of it already: "
                "an older copy of its disk was put back, or two copies of it run",
            )
        return None

    def why_removed(self, peer: str) -> Refusal | None:
        """What to say to a node that was removed from this cluster."""
        if not self._was_removed(peer):
            return None
        return Refusal("removed", f"node {peer} was removed from this cluster")

    def why_not_member(self, peer: str, hello: Hello) -> Refusal:
        """What to say to who is no member."""
        own = self._cluster().cluster_id
        if own and hello.cluster_id not in (b"", own):
            reason = "it is a node of another cluster, founded apart from this one; clusters never merge"
            return Refusal("other_cluster", f"node {peer} is not a member here: {reason}")
        return Refusal("not_member", f"node {peer} is not a member of the cluster of this node")

    def take(self, peer: str, hello: Hello) -> None:
        """A member is let in: from now on its earlier generations are old."""
        if self._generations.learn(peer, DiskGeneration(hello.disk_generation, hello.generation_mark)):
            self._on_news()

    def hear_refusal(self, peer: str, refusal: Refusal) -> None:
        """A peer let this node not in."""
        for code in OUTDATED:
            if refusal.code == code:
                self._on_outdated(code, f"{peer} refuses: {refusal.message}")

    def _is_of_our_cluster(self, hello: Hello) -> bool:
        own = self._cluster().cluster_id
        return bool(own) and hello.cluster_id == own


def _recovered_without(who: str, its_epoch: int, epoch: int) -> str:
    its, newest = recoveries(its_epoch), recoveries(epoch)
    how = (
        f"the cluster was recovered without {who} (epoch {newest}, it knows {its})"
        if its < newest
        else f"the cluster was recovered twice, apart (epoch {newest}), and what {who} has gives way"
    )
    return f"{how}; it has to come back as a new node"
