"""The way of a request to a dyno: a process of its own on every node, which outlives the node process.

`route_table` computes the routes from what is agreed and what is observed; `router_process` starts the router
and pushes them to it. All else runs inside the router and knows nothing of the cluster: listeners, heads
parsed strictly, bodies spliced, a hop over mutual TLS to the router of another node.
"""
