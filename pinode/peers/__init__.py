"""Who the nodes are to each other, and how they talk: keys, certificates, sealed datagrams, links, founding.

Whoever holds the cluster key is a member: everything else is derived from it (`keys`). Each node proves
who it is by a key pair of its own (`identity`), pinned in the founding record. `links` carries the traffic
between nodes over mutual TLS, `datagrams` seals gossip, `founding` agrees on the one cluster that a set of
fresh nodes becomes, and `discovery` tells nodes on one network of each other. `cluster_key` and `tls` are
free of `cryptography`, for commands and for the router.
"""
