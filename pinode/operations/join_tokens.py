"""Join tokens: made on any node, good on all."""

from dataclasses import dataclass, field

from pinode.cluster import Cluster
from pinode.nodes.commands import CreateJoinToken, RevokeJoinTokens
from pinode.peers.join_token import SECRET_BYTES, JoinToken, encode_join_token
from pinode.settings import Address


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token in words, which is shown once."""

    text: str = field(repr=False)
    expires_in_seconds: int


async def make_join_token(cluster: Cluster, *, expires_seconds: int, secret: bytes, by: str) -> MadeToken:
    """Have a token agreed on; `secret` is 16 fresh random bytes. Raises `TooManyJoinTokens`."""
    assert len(secret) == SECRET_BYTES
    token = JoinToken(_addresses(cluster), cluster.peer_authority_hash, secret)
    await cluster.execute(
        CreateJoinToken(token_hash=token.secret_hash, lifetime_ms=expires_seconds * 1000, by=by)
    )
    return MadeToken(encode_join_token(token), expires_seconds)


async def revoke_join_tokens(cluster: Cluster, *, by: str) -> int:
    """Make all worthless; how many were good."""
    revoked: int = await cluster.execute(RevokeJoinTokens(by=by))
    return revoked


def _addresses(cluster: Cluster) -> tuple[Address, ...]:
    """Where a joiner asks: here first, for whoever made the token reaches this node."""
    nodes = [node for node in cluster.nodes() if node.state in ("alive", "suspect")]
    nodes.sort(key=lambda node: node.node_id != cluster.node_id)
    return tuple(Address(node.host, node.peer_port) for node in nodes)
