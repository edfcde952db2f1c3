"""A disk in memory that forgets, tears and mixes up what was not synced, as power cuts do."""

from random import Random

from replicated_queue.storage.errors import DiskFailed

SECTOR_BYTES = 512


class PowerCut(Exception):
    """The machine is off in the middle of an operation."""


class SimulatedFile:
    """What the system shows (`cached`) and what the platter holds (`durable`)."""

    def __init__(self, disk: "SimulatedDisk", name: str, size_bytes: int) -> None:
        self.name = name
        self.cached = bytearray(size_bytes)
        self.durable = bytearray(size_bytes)
        self.unsynced: list[tuple[int, bytes]] = []
        self._disk = disk

    def read(self) -> bytes:
        return bytes(self.cached)

    def write_at(self, offset: int, data: bytes) -> None:
        self.cached[offset : offset + len(data)] = data
        self.unsynced.append((offset, bytes(data)))
        self._disk.step("write")

    def sync(self) -> None:
        self._disk.step("sync")
        unsynced, self.unsynced = self.unsynced, []
        if self._disk.is_sync_failing:
            # As systems do: what could not be written stays in the cache, but is taken for written.
            raise DiskFailed(self.name, "Input/output error")
        for offset, data in unsynced:
            self.durable[offset : offset + len(data)] = data

    def close(self) -> None:
        pass

    def lose_power(self, random: Random) -> None:
        """Of what was not synced, any sectors may have arrived, in any order, or half of one."""
        share = random.choice((0.0, 0.5, 1.0))
        for offset, data in self.unsynced:
            for start in range(0, len(data), SECTOR_BYTES):
                sector = data[start : start + SECTOR_BYTES]
                if random.random() < share:
                    if random.random() < 0.1:
                        sector = sector[: random.randrange(len(sector))]
                    self.durable[offset + start : offset + start + len(sector)] = sector
        self.unsynced = []
        self.cached[:] = self.durable

    def flip_bit(self, offset: int) -> None:
        """A bit rots."""
        self.durable[offset] ^= 1
        self.cached[offset] ^= 1


class SimulatedDisk:
    """Satisfies `Disk`. `cut_after` operations the power goes; what was written until then stays uncertain."""

    def __init__(self) -> None:
        self.files: dict[str, SimulatedFile] = {}
        self.operations = 0
        self.syncs = 0
        self.cut_after: int | None = None
        self.is_sync_failing = False

    def step(self, kind: str) -> None:
        self.operations += 1
        self.syncs += kind == "sync"
        if self.cut_after is not None and self.operations > self.cut_after:
            raise PowerCut

    def names(self) -> list[str]:
        return sorted(self.files)

    def open(self, name: str) -> SimulatedFile:
        return self.files[name]

    def create(self, name: str, *, size_bytes: int) -> SimulatedFile:
        self.step("create")
        self.files[name] = SimulatedFile(self, name, size_bytes)
        return self.files[name]

    def close(self) -> None:
        pass

    def lose_power(self, random: Random) -> None:
        for file in self.files.values():
            file.lose_power(random)
        self.cut_after = None
