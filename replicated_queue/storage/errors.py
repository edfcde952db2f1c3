"""What can go wrong with a replica's disk. No process goes on after one of these: a promise may be broken."""

from ..errors import QueueError


class StorageError(QueueError):
    """The replica cannot keep what it promises; the process must end rather than go on."""


class DirectoryLocked(StorageError):
    """Another process already works in this directory."""

    def __init__(self, directory: object) -> None:
        super().__init__(
            f"{directory} is in use by another running node. "
            "Stop that one first, or start with another data directory."
        )


class DiskFailed(StorageError):
    """A write or a sync failed: nobody knows what the disk holds (the cache may already be dropped)."""

    def __init__(self, path: object, reason: object) -> None:
        super().__init__(
            f"writing {path} failed ({reason}); the node stops, because it can no longer keep its promises. "
            "Check the disk (worn out, pulled out?), then start it again."
        )


class NoRoom(StorageError):
    """The disk refused to take more; nothing is in doubt. While a replica runs, it waits for room."""

    def __init__(self, path: object, reason: object) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"there is no room for {path} ({reason}). "
            "Free space on that disk, or make it writable; what was promised is safe."
        )


class CorruptLog(StorageError):
    """Bytes that were known to be on the disk are damaged: this replica forgot promises and must not vote."""

    def __init__(self, path: object, *, offset: int, reason: str) -> None:
        self.offset = offset
        self.reason = f"{path} is damaged at byte {offset}: {reason}"
        super().__init__(
            f"{path} is damaged at byte {offset} ({reason}), before a point that was known to be safe. "
            "This node must not vote any more. Move its log directory away and let the node join again as a "
            "new member; if it is the only node, restore a backup."
        )


class NewerLogFormat(StorageError):
    """The log was written by a newer version of this program."""

    def __init__(self, path: object, *, version: int) -> None:
        super().__init__(
            f"{path} has format {version}, which this version does not know. Start the newer version again."
        )


class DamagedSnapshot(StorageError):
    """A snapshot cannot be read as it was written; an older one with more of the log may do."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path} is no whole snapshot ({reason}).")
