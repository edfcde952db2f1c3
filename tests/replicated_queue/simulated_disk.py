"""A disk in memory that forgets, tears and mixes up what was not synced, as power cuts do; it can be full."""

from collections.abc import Callable
from errno import ENOSPC, EROFS
from random import Random

from replicated_queue.storage.errors import DiskFailed, NoRoom

SECTOR_BYTES = 512


class PowerCut(Exception):
    """The machine is off in the middle of an operation."""


class SimulatedFile:
    """What the system shows (`cached`) and what the platter holds (`durable`)."""

    def __init__(self, disk: "SimulatedDisk", name: str) -> None:
        self.name = name
        self.cached = bytearray()
        self.durable = bytearray()
        self.unsynced: list[tuple[int, bytes]] = []
        self._disk = disk

    @property
    def size_bytes(self) -> int:
        return len(self.cached)

    def read(self, offset: int = 0, size_bytes: int | None = None) -> bytes:
        end = len(self.cached) if size_bytes is None else offset + size_bytes
        return bytes(self.cached[offset:end])

    def reserve(self, size_bytes: int) -> None:
        self._grow_to(size_bytes)
        self._disk.step("reserve")

    def write_at(self, offset: int, data: bytes) -> None:
        self._disk.check_writable(self.name)
        self._grow_to(offset + len(data))
        self.cached[offset : offset + len(data)] = data
        self.unsynced.append((offset, bytes(data)))
        self._disk.step("write")

    def sync(self) -> None:
        self._disk.step("sync")
        unsynced, self.unsynced = self.unsynced, []
        if self._disk.is_sync_failing:
            # As systems do: what could not be written stays in the cache, but is taken for written.
            raise DiskFailed(self.name, "Input/output error")
        self.durable.extend(bytes(len(self.cached) - len(self.durable)))
        for offset, data in unsynced:
            self.durable[offset : offset + len(data)] = data

    def close(self) -> None:
        pass

    def lose_power(self, random: Random, flips: float = 0.0) -> None:
        """Of what was not synced, any sectors may have arrived, in any order, or half of one.

        In a share of `flips` of them a bit is wrong; never one that was there before and synced.
        """
        share = random.choice((0.0, 0.5, 1.0))
        for offset, data in self.unsynced:
            for start in range(0, len(data), SECTOR_BYTES):
                sector = data[start : start + SECTOR_BYTES]
                if random.random() < share:
                    if random.random() < 0.1:
                        sector = sector[: random.randrange(len(sector))]
                    if flips and random.random() < flips:
                        sector = self._flipped(offset + start, sector, random)
                    self._arrived(offset + start, sector)
        self.unsynced = []
        self.cached[:] = self.durable

    def flip_bit(self, offset: int) -> None:
        """A bit rots."""
        self.durable[offset] ^= 1
        self.cached[offset] ^= 1

    def _flipped(self, offset: int, sector: bytes, random: Random) -> bytes:
        before = self.durable[offset : offset + len(sector)].ljust(len(sector), b"\0")
        new = [place for place, byte in enumerate(sector) if byte != before[place]]
        if not new:
            return sector
        place = random.choice(new)
        return sector[:place] + bytes((sector[place] ^ 1 << random.randrange(8),)) + sector[place + 1 :]

    def _arrived(self, offset: int, data: bytes) -> None:
        self.durable.extend(bytes(max(0, offset + len(data) - len(self.durable))))
        self.durable[offset : offset + len(data)] = data

    def _grow_to(self, size_bytes: int) -> None:
        more = size_bytes - len(self.cached)
        if more > 0:
            self._disk.check_room(self.name, more)
            self.cached.extend(bytes(more))


class SimulatedDisk:
    """Satisfies `Disk`. `cut_after` operations the power goes; what was written until then stays uncertain.

    `capacity_bytes` bounds the files together; a disk that `is_read_only` takes nothing at all.
    """

    def __init__(self) -> None:
        self.files: dict[str, SimulatedFile] = {}
        self.operations = 0
        self.syncs = 0
        self.cut_after: int | None = None
        self.is_sync_failing = False
        self.is_read_only = False
        self.capacity_bytes: int | None = None
        self._durable_files: dict[str, SimulatedFile] = {}
        self._unsynced_names: list[Callable[[dict[str, SimulatedFile]], object]] = []

    def step(self, kind: str) -> None:
        self.operations += 1
        self.syncs += kind == "sync"
        if self.cut_after is not None and self.operations > self.cut_after:
            raise PowerCut

    def check_writable(self, name: str) -> None:
        if self.is_read_only:
            raise NoRoom(name, OSError(EROFS, "Read-only file system"))

    def check_room(self, name: str, more_bytes: int) -> None:
        self.check_writable(name)
        used = sum(len(file.cached) for file in self.files.values())
        if self.capacity_bytes is not None and used + more_bytes > self.capacity_bytes:
            raise NoRoom(name, OSError(ENOSPC, "No space left on device"))

    def fill(self) -> None:
        """Somebody else takes all that is left."""
        self.capacity_bytes = 0

    def names(self) -> list[str]:
        return sorted(self.files)

    def open(self, name: str) -> SimulatedFile:
        return self.files[name]

    def create(self, name: str) -> SimulatedFile:
        self.check_writable(name)
        file = SimulatedFile(self, name)
        self._change_names(lambda files: files.__setitem__(name, file))
        self.step("create")
        return file

    def rename(self, old: str, new: str) -> None:
        self.check_writable(new)
        self.files[old].name = new
        self._change_names(lambda files: files.__setitem__(new, files.pop(old)) if old in files else None)
        self.step("rename")

    def remove(self, name: str) -> None:
        self.check_writable(name)
        self._change_names(lambda files: files.pop(name, None))
        self.step("remove")

    def sync_names(self) -> None:
        self.step("sync")
        if self.is_sync_failing:
            raise DiskFailed("the directory", "Input/output error")
        for change in self._unsynced_names:
            change(self._durable_files)
        self._unsynced_names = []

    def close(self) -> None:
        pass

    def lose_power(self, random: Random, flips: float = 0.0) -> None:
        """Names arrive in order, as far as they do; bytes as they like."""
        for change in self._unsynced_names[: random.randrange(len(self._unsynced_names) + 1)]:
            change(self._durable_files)
        self._unsynced_names = []
        self.files = dict(self._durable_files)
        for name, file in self.files.items():
            file.name = name
            file.lose_power(random, flips)
        self.cut_after = None

    def _change_names(self, change: Callable[[dict[str, SimulatedFile]], object]) -> None:
        change(self.files)
        self._unsynced_names.append(change)
