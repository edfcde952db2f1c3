"""What survives a power cut: the write-ahead log of a replica, its disk, and the thread that writes it.

`docs/storage.md` has the format and the order of syncs.
"""
