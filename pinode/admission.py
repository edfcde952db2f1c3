"""Who is let into a founded cluster: by a join token, or by the cluster key in a copied file.

A name belongs to one node. A new card in an old machine comes with the old name and a new key: it takes the
place of the node of that name if that one is gone, and the old id never comes back.
"""

import logging
from collections.abc import Callable

from pinode.apps.errors import Refused
from pinode.cluster import Cluster
from pinode.errors import PinodeError
from pinode.nodes.commands import AddNode
from pinode.nodes.errors import JoinTokenRefused, KeyRotationUnderWay
from pinode.peers.errors import MalformedFrame
from pinode.peers.founding_record import FoundingMember, FoundingRecord
from pinode.peers.held_keys import encode_held
from pinode.peers.join_codec import Admitted, JoinRequest, Rejected, decode_request, encode_answer
from pinode.peers.join_token import hash_of
from pinode.peers.keys import ClusterSecrets
from pinode.settings import Address
from replicated_queue.errors import QueueError

logger = logging.getLogger(__name__)

AGREE_SECONDS = 10.0


class Admission:
    """The judge of one node, which asks the log."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        record: FoundingRecord,
        secrets: ClusterSecrets,
        is_gone: Callable[[str], bool],
        is_caught_up: Callable[[], bool],
    ) -> None:
        """`is_gone(node id)`: dead or off, as observed for long enough to let a successor in."""
        self._cluster = cluster
        self._record = record
        self._secrets = secrets
        self._is_gone = is_gone
        self._is_caught_up = is_caught_up

    async def by_token(self, request: JoinRequest) -> Admitted | Rejected:
        """Judge somebody who proves nothing but a token."""
        token_hash = hash_of(request.secret)
        if not self._cluster.state.nodes.is_good(token_hash, self._cluster.now_ms):
            # A wrong secret costs no entry of the log; but this node may not have heard of the token yet.
            return _rejected(JoinTokenRefused()) if self._is_caught_up() else _not_now()
        return await self._add(request, token_hash, cluster_key=self._secrets.cluster_key.secret)

    async def by_key(self, peer: str, payload: bytes) -> bytes:
        """Judge somebody whose link has proved that it holds the cluster key."""
        request = decode_request(payload)
        if request.member.node_id != peer:
            raise MalformedFrame("a node wants to join as another")
        answer = await self._add(request, None, cluster_key=b"")
        if isinstance(answer, Admitted):
            logger.info("node admitted by its key name=%s id=%s", request.member.name, peer)
        return encode_answer(answer)

    async def _add(
        self, request: JoinRequest, token_hash: bytes | None, *, cluster_key: bytes
    ) -> Admitted | Rejected:
        member = request.member
        command = AddNode(
            node_id=member.node_id,
            name=member.name,
            host=member.host,
            peer_port=member.peer_port,
            token_hash=token_hash,
            replaces=self._predecessor(member, request.replaces),
            feature_level=request.feature_level,
        )
        try:
            await self._cluster.execute(command, timeout_seconds=AGREE_SECONDS)
        except KeyRotationUnderWay as refused:
            return _rejected(refused, is_passing=True)
        except Refused as refused:
            return _rejected(refused)
        except (PinodeError, QueueError, TimeoutError) as error:
            logger.info("a join has to wait name=%s reason=%r", member.name, error)
            return _not_now()
        return Admitted(
            self._record,
            self._addresses(member.node_id),
            cluster_key,
            held_keys=encode_held(self._secrets.held),
        )

    def _predecessor(self, member: FoundingMember, replaces: str | None) -> str | None:
        """Whose place the new node takes, if anybody's: a node that is there keeps its own."""
        nodes = self._cluster.state.nodes
        holder = nodes.named(member.name)
        meant = nodes.get(replaces or "") or holder
        if meant is None or meant.node_id == member.node_id or not self._is_gone(meant.node_id):
            return None
        return meant.node_id

    def _addresses(self, joiner: str) -> tuple[Address, ...]:
        """Where the others are, the living first."""
        others = [node for node in self._cluster.nodes() if node.node_id != joiner]
        others.sort(key=lambda node: node.state != "alive")
        return tuple(Address(node.host, node.peer_port) for node in others)


def _rejected(refused: Refused, *, is_passing: bool = False) -> Rejected:
    return Rejected(refused.code, refused.message, refused.hint, is_passing=is_passing)


def _not_now() -> Rejected:
    return Rejected("no_leader", "no majority of the nodes is in reach now", "", is_passing=True)
