"""How the cluster is doing, told to people and programs: pure views of what this node already knows."""
