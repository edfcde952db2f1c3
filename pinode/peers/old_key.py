"""A first start with a copy of a cluster key that was rotated since: it is told so, not left waiting."""

import logging
import ssl
from collections.abc import Iterable

from pinode.errors import Conflict, PinodeError
from pinode.peers.held_keys import HeldKeys
from pinode.peers.key_door import NoKeys
from pinode.peers.links import PeerLinks
from pinode.settings import Address

logger = logging.getLogger(__name__)


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
