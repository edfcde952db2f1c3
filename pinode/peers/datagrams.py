"""The seal of gossip's datagrams, under keys that follow from the cluster key; `gossip.sealing` says how."""

from random import Random

from gossip.sealing import EchoSeal
from pinode.peers.identity import Identity
from pinode.peers.keys import derive


class DatagramSeal(EchoSeal):
    """The seal of one process start of this node."""

    def __init__(self, identity: Identity, *, cluster_id: bytes, random: Random) -> None:
        gossip_key = identity.secrets.gossip_key
        super().__init__(
            identity.node_id,
            derive=lambda purpose: derive(gossip_key, purpose=purpose),
            cluster_id=cluster_id,
            random=random,
        )
