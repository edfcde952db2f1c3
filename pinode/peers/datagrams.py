"""The seal of gossip's datagrams, under keys that follow from the cluster key; `gossip.sealing` says how."""

from random import Random

from gossip.keys import Derive, KeyRing
from gossip.sealing import EchoSeal
from pinode.peers.identity import Identity
from pinode.peers.keys import ClusterSecrets, derive


def gossip_derive(secrets: ClusterSecrets) -> Derive:
    """The keys of gossip that follow from one cluster key, as `gossip.keys.KeyRing` wants them."""
    return lambda purpose: derive(secrets.gossip_key, purpose=purpose)


class DatagramSeal(EchoSeal):
    """The seal of one process start of this node; its `keys` begin with the node's cluster key."""

    def __init__(self, identity: Identity, *, cluster_id: bytes, random: Random) -> None:
        self.keys = KeyRing(gossip_derive(identity.secrets))
        super().__init__(identity.node_id, keys=self.keys, cluster_id=cluster_id, random=random)
