"""Names of apps on the local network: `<app>.local`, by multicast DNS, leads to the nodes that live.

The leader alone announces, for all nodes, so that a name never has two owners in one cluster. `wanted` says
what is to be announced, `name_book` what is to be done about it now (both pure); `records` makes packets,
`responder` answers and listens with the instance of zeroconf that discovery opened, and `announcer` does what
the book says. An app never takes the name of another machine.
"""
