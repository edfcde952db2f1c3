"""Have the leader hand over to another voter, whichever node is asked."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pinode.apps.observed import NodeView
from pinode.cluster import Cluster
from pinode.errors import Conflict, NoLeader, PinodeError
from replicated_queue.errors import QueueError

METHOD = "step down"
HAND_OVER_SECONDS = 5.0  # for the leader to answer
SUCCESSOR_SECONDS = 3.0  # for this node to hear who leads after it


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Names of nodes: who led, and who leads now; the second is None where this node has not heard it yet."""

    was: str
    leader: str | None


def serve_step_downs(cluster: Cluster, hand_over: Callable[[], Awaitable[None]]) -> None:
    """Let other nodes ask this one to call `hand_over`, which is done when it leads no more, or has tried."""

    async def answer(_: str, __: bytes) -> bytes:
        if cluster.is_leader:
            await hand_over()
        return b""

    cluster.peers.serve(METHOD, answer)


async def step_down(cluster: Cluster) -> HandedOver:
    """Ask the leader to hand over, and wait for its successor.

    Raises `NoLeader` where there is none to ask, `Conflict` where no other voter could lead.
    """
    leader = cluster.node(cluster.leader_id) if cluster.leader_id else None
    if leader is None or not cluster.has_quorum:
        raise NoLeader("no node leads now.", hint="`pinode status` shows what is missing.")
    refusal = why_nobody_else(cluster.nodes(), leader)
    if refusal is not None:
        raise refusal
    deadline_ms = cluster.now_ms + int((HAND_OVER_SECONDS + SUCCESSOR_SECONDS) * 1000)
    try:
        await cluster.peers.call(leader.node_id, METHOD, b"", timeout_seconds=HAND_OVER_SECONDS)
    except (PinodeError, QueueError, OSError, TimeoutError) as error:
        raise NoLeader(
            f"{leader.name} leads, and does not answer: {error}",
            hint="If it is gone, the others elect another one by themselves.",
        ) from error
    return HandedOver(was=leader.name, leader=await _successor(cluster, leader, deadline_ms=deadline_ms))


def why_nobody_else(nodes: Sequence[NodeView], leader: NodeView) -> Conflict | None:
    """What stands against it, if anything: there is no second voter in reach."""
    others = [node for node in nodes if node.counts_as == "voter" and node.node_id != leader.node_id]
    if any(node.is_in_reach for node in others):
        return None
    if not others:
        return Conflict(
            f"{leader.name} is the only voter of this cluster.",
            hint="With three nodes there are three voters, and any of them can lead.",
            code="no_successor",
        )
    return Conflict(
        f"no other voter is in reach of this node: {', '.join(sorted(node.name for node in others))}.",
        hint=f"Bring one back first; {leader.name} leads on meanwhile.",
        code="no_successor",
    )


async def _successor(cluster: Cluster, leader: NodeView, *, deadline_ms: int) -> str | None:
    while cluster.leader_id in (leader.node_id, None):
        left = (deadline_ms - cluster.now_ms) / 1000
        if left <= 0:
            break
        await cluster.changed(cluster.revision, timeout_seconds=left)
    if cluster.leader_id == leader.node_id:
        raise Conflict(
            f"{leader.name} leads on: no other voter has the whole log yet.",
            hint="Try again in a moment.",
            code="no_successor",
        )
    successor = cluster.node(cluster.leader_id) if cluster.leader_id else None
    return successor.name if successor else None
