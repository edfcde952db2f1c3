"""Whom this node hears, and where it finds the others: from what is agreed, the log's group, and gossip."""

from pinode.node_agreement import Agreement
from pinode.settings import Address


class PeerBook:
    """Empty until the node is of a cluster."""

    def __init__(self) -> None:
        self._agreement: Agreement | None = None

    def open(self, agreement: Agreement) -> None:
        """From now on it answers from this."""
        self._agreement = agreement

    def may_speak(self, node_id: str) -> bool:
        """Whoever holds the cluster key, of this cluster, unless it was removed and counts for nothing.

        A node that was away may know less than the others: it must hear even a leader that joined meanwhile.
        A voter that was removed is heard until the others have agreed to go on without it.
        """
        agreement = self._agreement
        if agreement is None:
            return False
        is_removed = agreement.cluster.state.nodes.removed(node_id) is not None
        return not is_removed or int(node_id, 16) in agreement.replica.membership

    def was_removed(self, node_id: str) -> bool:
        """Whether it is to be told so."""
        return self._agreement is not None and not self.may_speak(node_id)

    def addresses(self) -> dict[str, Address]:
        """Where the others are, by id: the registered ones, and those that were heard, now or before."""
        agreement = self._agreement
        if agreement is None:
            return {}
        before = agreement.known_members.addresses()
        registered = [node.node_id for node in agreement.cluster.state.nodes.all()]
        now = {node_id: self.address_of(node_id) for node_id in (*before, *registered)}
        found = before | {node_id: where for node_id, where in now.items() if where is not None}
        found.pop(agreement.cluster.node_id, None)
        return {node_id: Address(*where) for node_id, where in found.items()}

    def address_of(self, node_id: str) -> tuple[str, int] | None:
        """Where a member is now, by gossip; before it was heard, where it was when it joined."""
        agreement = self._agreement
        if agreement is None:
            return None
        for heard in agreement.gossip.members():
            if heard.node_id == node_id:
                return heard.address
        known = agreement.cluster.state.nodes.get(node_id)
        return (known.host, known.peer_port) if known else None
