"""The seal of gossip's datagrams, under keys that follow from the cluster key; `gossip.sealing` says how."""

from random import Random

from gossip.keys import Derive, KeyRing
from gossip.sealing import EchoSeal
from pinode.peers.identity import Identity
from pinode.peers.keys import ClusterSecrets, derive
from pinode.peers.standing import ClusterMark

EPOCH_BYTES = 8


def gossip_derive(secrets: ClusterSecrets) -> Derive:
    """The keys of gossip that follow from one cluster key, as `gossip.keys.KeyRing` wants them."""
    return lambda purpose: derive(secrets.gossip_key, purpose=purpose)


class DatagramSeal(EchoSeal):
    """The seal of one process start of this node; its `keys` begin with the node's cluster key.

    Nodes of another cluster, or of another epoch of this one, are strangers to it.
    """

    def __init__(self, identity: Identity, *, cluster: ClusterMark, random: Random) -> None:
        self.keys = KeyRing(gossip_derive(identity.secrets))
        context = cluster.cluster_id + cluster.epoch.to_bytes(EPOCH_BYTES, "big")
        super().__init__(identity.node_id, keys=self.keys, cluster_id=context, random=random)
