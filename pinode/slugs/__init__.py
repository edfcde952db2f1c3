"""Built apps, named by the sha256 of their archive: kept on this node's disk, copied between nodes, never
changed.
"""
