"""Which nodes the cluster has, as all of them agree: registered, removed, and tokens that let others join.

It begins with the members of the founding record and changes by commands in the log. Who is alive is another
question, which gossip answers; who votes follows this table, one node at a time.
"""
