"""The seal of gossip's datagrams, under keys that follow from the cluster key; `gossip.sealing` says how."""

from random import Random

from gossip.keys import Derive, KeyRing
from gossip.sealing import EchoSeal
from pinode.peers.derived_keys import DerivedKeys, derive
from pinode.peers.identity import Identity
from pinode.peers.keys import ClusterSecrets
from pinode.peers.standing import ClusterMark

EPOCH_BYTES = 8


def gossip_derive(keys: DerivedKeys) -> Derive:
    """The keys of gossip that follow from one cluster key, as `gossip.keys.KeyRing` wants them."""
    return lambda purpose: derive(keys.gossip_key, purpose=purpose)


def gossip_keys(secrets: ClusterSecrets) -> KeyRing:
    """Those of all cluster keys that open, the one in use sealing."""
    in_use, *others = secrets.opening
    ring = KeyRing(gossip_derive(in_use))
    for keys in others:
        ring.install(gossip_derive(keys))
    return ring


class DatagramSeal(EchoSeal):
    """The seal of one process start of this node; its `keys` follow the node's cluster keys.

    Nodes of another cluster, or of another epoch of this one, are strangers to it.
    """

    def __init__(self, identity: Identity, *, cluster: ClusterMark, random: Random) -> None:
        secrets = identity.secrets
        self.keys = gossip_keys(secrets)
        secrets.on_change(lambda: self.keys.become(gossip_keys(secrets)))
        context = cluster.cluster_id + cluster.epoch.to_bytes(EPOCH_BYTES, "big")
        super().__init__(identity.node_id, keys=self.keys, cluster_id=context, random=random)
