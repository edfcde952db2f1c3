"""How the nodes were in the last day, in memory: rings of every node's statistics, on every node.

Any node draws any node's chart without asking another; one that starts asks a living peer for its rings once.
"""
