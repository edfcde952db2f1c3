"""The end of a node: what it still does for the others and for its dynos, each within its time."""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass

from pinode.node_agreement import Agreement
from pinode.node_parts import Work
from replicated_queue.errors import QueueError

logger = logging.getLogger(__name__)

# At the most, when this node is stopped:
BUILDS_END_SECONDS = 20.0
HAND_OVER_SECONDS = 5.0
DYNOS_END_SECONDS = 5.0  # beyond what they have between SIGTERM and SIGKILL
ROUTER_ENDS_SECONDS = 5.0


@dataclass(slots=True)
class Ending:
    """How a node is to end. As it stands: this process alone; dynos and router go on."""

    with_dynos: bool = False
    is_at_once: bool = False  # without handing over
    has_left: bool = False  # it is none of its cluster any more


async def wind_down(agreement: Agreement, work: Work, ending: Ending, *, stop_seconds: float) -> None:
    """Hand over what others can do better when they know; with its dynos, end these and the router.

    Dynos have `stop_seconds` between SIGTERM and SIGKILL. What does not succeed in time is logged and left.
    """
    await _within(BUILDS_END_SECONDS, work.build_worker.stop(), "giving the builds back")
    if not ending.with_dynos:
        return
    if ending.has_left:
        await _within(HAND_OVER_SECONDS, agreement.gossip.leave(), "saying goodbye")
    if not ending.is_at_once:
        await _within(HAND_OVER_SECONDS, _hand_over(agreement), "handing over")
    await _within(stop_seconds + DYNOS_END_SECONDS, work.supervisor.stop_all(), "ending the dynos")
    await _within(ROUTER_ENDS_SECONDS, work.router.stop(), "ending the router")


async def _hand_over(agreement: Agreement) -> None:
    """Tell the others what they would find out anyway, only later."""
    if agreement.replica.is_leader and len(agreement.cluster.state.nodes) > 1:
        await agreement.replica.transfer_leadership()
    await agreement.gossip.leave()


async def _within(seconds: float, work: Coroutine[None, None, None], what: str) -> None:
    """Give a last piece of work its time; the node ends in any case."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except (TimeoutError, OSError, QueueError) as error:
        logger.warning("%s did not succeed, ending anyway reason=%r", what, error)
