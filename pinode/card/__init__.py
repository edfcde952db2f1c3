"""The card: a node's data directory as a thing that is copied, moved, put back from a backup, or worn out.

A node's votes count on its disk remembering them. `hardware` says whether the directory is still on the
machine that made it (`board` asks the machine), `old_state` why a node may have forgotten what it promised,
and whether it may begin anew. What it held is then set aside, never deleted, and it comes back as a new
node under a new key (`set_aside`). `recover` goes on with what one node has when a majority is lost.
"""
