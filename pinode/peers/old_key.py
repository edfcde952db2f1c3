"""Starts with a cluster key that does not fit the rest: an old copy, or a new one all by itself."""

import asyncio
import logging
import ssl
from collections.abc import Iterable

from pinode.errors import Conflict, PinodeError
from pinode.peers.founding_record import FoundingRecord
from pinode.peers.held_keys import HeldKeys
from pinode.peers.identity import Identity, hold_keys
from pinode.peers.key_door import NoKeys
from pinode.peers.key_store import KeyStore
from pinode.peers.keys import SealBroken
from pinode.peers.known_members import KnownMembers
from pinode.peers.links import PeerLinks
from pinode.settings import Address, Settings

logger = logging.getLogger(__name__)

COMPLETE_SECONDS = 15.0  # for another node to give what is missing; nodes may all have just started
AGAIN_SECONDS = 0.5


def shows_another_key(error: BaseException) -> bool:
    """Whether a node was not reached because its certificate is signed by another cluster key."""
    return isinstance(error.__cause__, ssl.SSLCertVerificationError)


async def refuse_old_key(links: PeerLinks, addresses: Iterable[Address], held: HeldKeys) -> None:
    """Raise `Conflict` when a node at one of these says that this key was rotated away."""
    for address in addresses:
        try:
            answer = await links.ask_for_keys(None, address, held.marks, held.generation)
        except (PinodeError, TimeoutError) as error:
            logger.debug("no answer about an old key address=%s error=%s", address, error)
            continue
        if isinstance(answer, NoKeys) and answer.code in ("key_rotated", "removed"):
            raise Conflict(
                f"the node at {address} says: {answer.message}.", hint=answer.hint, code=answer.code
            )


async def complete_keys(
    record: FoundingRecord, identity: Identity, links: PeerLinks, settings: Settings
) -> None:
    """Fetch the older data keys if `cluster.key` was put here by hand, or the file beside it is lost.

    Asked are the founders and those heard last. Raises `SealBroken` when nobody gives them in time.
    """
    before = KnownMembers(settings.node.data_dir / "known_members", own_id=identity.node_id).load()
    others = {one.node_id: Address(one.host, one.peer_port) for one in record.members}
    others |= {one.node_id: Address(*one.address) for one in before}
    others.pop(identity.node_id, None)
    deadline = asyncio.get_running_loop().time() + COMPLETE_SECONDS
    while True:
        try:
            record.setup_code(identity.secrets)
            return
        except SealBroken:
            if asyncio.get_running_loop().time() > deadline:
                raise
        logger.info("the keys beside cluster.key are missing, asking other nodes for them")
        for node_id, where in others.items():
            held = identity.secrets.held
            try:
                answer = await links.ask_for_keys(node_id, where, held.marks, held.generation)
            except (PinodeError, TimeoutError) as error:
                logger.info("no answer about cluster keys address=%s reason=%s", where, error)
                continue
            if isinstance(answer, HeldKeys):
                await hold_keys(identity, KeyStore.of(settings), held.joined_with(answer))
                break
        await asyncio.sleep(AGAIN_SECONDS)
