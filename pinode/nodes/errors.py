"""What is refused about nodes, each with what to do about it."""

from pinode.apps.errors import Refused
from pinode.errors import Conflict, InvalidInput, NotAllowed, NotFound


class NodeError(Refused):
    """Root of what is refused about nodes."""


class NodeNameTaken(NodeError, Conflict):
    """Another node has this name."""

    code = "node_name_taken"

    def __init__(self, *, name: str, other: str, where: str) -> None:
        super().__init__(
            f"the name {name!r} is taken by node {other} at {where}.",
            hint=f'Give this node another: [node] name = "{name}-2". If it is meant to replace that one, '
            f"remove that one first: `pinode node:remove {name} --confirm {name}`.",
            name=name,
            other=other,
            where=where,
        )


class NodeWasRemoved(NodeError, Conflict):
    """The id belonged to a node that was removed."""

    code = "node_was_removed"

    def __init__(self, *, node_id: str, name: str) -> None:
        super().__init__(
            f"node {node_id} ({name}) was removed from this cluster, and a removed id never comes back.",
            hint="To let this machine join anew, move its data directory away and start it with a token.",
            node_id=node_id,
            name=name,
        )


class NodeTooOld(NodeError, Conflict):
    """The program of the node cannot apply what the others may agree on."""

    code = "node_too_old"

    def __init__(self, *, name: str, level: int, needed: int) -> None:
        super().__init__(
            f"the pinode on {name} is too old for this cluster: it supports feature level {level}, "
            f"and the cluster is at {needed}.",
            hint="Install the version there that the others run; `pinode nodes` on one of them shows it.",
            name=name,
            level=level,
            needed=needed,
        )


class NodeUnknown(NodeError, NotFound):
    """No such node is registered."""

    code = "node_not_found"

    def __init__(self, *, node_id: str) -> None:
        super().__init__(
            f"there is no node {node_id[:100]!r}.", hint="`pinode nodes` lists them.", node_id=node_id
        )


class LastNode(NodeError, Conflict):
    """A cluster without nodes would be none."""

    code = "last_node"

    def __init__(self, *, name: str) -> None:
        super().__init__(
            f"{name!r} is the only node of this cluster: without it nothing of the cluster is left.",
            hint="To give it up, stop the node and delete its data directory.",
            name=name,
        )


class TooManyNodes(NodeError, Conflict):
    """The bound on nodes is reached."""

    code = "too_many_nodes"

    def __init__(self, *, bound: int) -> None:
        super().__init__(
            f"the cluster has {bound} nodes, as many as it may have.",
            hint="Remove one that is gone: `pinode node:remove`.",
            bound=bound,
        )


class InvalidNode(NodeError, InvalidInput):
    """A node's id, name or address breaks its rule."""

    code = "invalid_node"

    def __init__(self, *, what: str, rule: str) -> None:
        super().__init__(f"{what} {rule}.", what=what, rule=rule)


class JoinTokenRefused(NodeError, NotAllowed):
    """The token is unknown, revoked or expired; which of these is told to nobody."""

    code = "join_token_refused"

    def __init__(self) -> None:
        super().__init__(
            "the join token is not one of this cluster, or no longer good.",
            hint="`pinode join-token` on any node of the cluster makes a new one.",
        )


class KeyRotationUnderWay(NodeError, Conflict):
    """The cluster key is being replaced: nobody new is let in meanwhile, nor is it replaced by a third."""

    code = "key_rotation_under_way"

    def __init__(self) -> None:
        super().__init__(
            "the cluster key is being rotated.",
            hint="`pinode status` shows what it waits for; try again when it is done.",
        )


class TooManyJoinTokens(NodeError, Conflict):
    """The bound on tokens that are good is reached."""

    code = "too_many_join_tokens"

    def __init__(self, *, bound: int) -> None:
        super().__init__(
            f"{bound} join tokens are good at the moment, as many as there may be.",
            hint="One token lets several nodes join. `pinode join-token --revoke` makes them worthless.",
            bound=bound,
        )
