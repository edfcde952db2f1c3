"""What survives a power cut: the write-ahead log of one replica, the disk it stands on, and the thread that writes it.

`docs/storage.md` has the format and the order of syncs.
"""
