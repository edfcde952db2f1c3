"""Everything that decodes bytes of others or of the disk, fed with damaged and invented ones.

    python -m tests.simulation.fuzzed_decoders [--inputs 10000000] [--seed N]

A decoder answers or raises the typed error; whatever else it raises flies. Memory stays bounded.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from random import Random

import msgpack

from replicated_queue import request_codec
from replicated_queue.codec import decode_command, decode_frame, decode_records, encode_frame, encode_record
from replicated_queue.errors import QueueError
from replicated_queue.frames import FrameReader
from replicated_queue.interfaces import CUT
from replicated_queue.queue import codec as queue_codec
from replicated_queue.queue.commands import Ack, AckMany, Nack, Pause, Put, PutMany, Reserve, SetTopic
from replicated_queue.queue.job import Job
from replicated_queue.queue.views import all_stats, page_of_jobs
from replicated_queue.queue_state import QUEUE_DOMAIN, QueueStateMachine
from replicated_queue.raft.messages import (
    Append,
    AppendRejected,
    Entry,
    EntryId,
    HardState,
    Heartbeat,
    InstallSnapshot,
    Snapshot,
    Vote,
)
from replicated_queue.requests import ExtendLease, ReadJobs
from replicated_queue.sessions import Bundle
from replicated_queue.storage.snapshots import SnapshotDraft, SnapshotMark, SnapshotReader
from replicated_queue.storage.wal import Wal
from tests.replicated_queue.simulated_disk import SimulatedDisk

SEGMENT_BYTES = 4096
MEMORY_GROWTH_BYTES = 64 << 20
ENTRIES = [Entry(3, 8, bytes(13)), Entry(3, 9, b"x" * 40), Entry(4, 10, b"", True)]
COMMANDS = [
    Put("mail", b"data", 1, 5, 1000, 3, "key"),
    PutMany((Put("a", b"1"), Put("b", b"2"))),
    Reserve(("a", "b"), "worker", None, 2),
    Ack(3, 4, b"result"),
    AckMany(((1, 2), (3, 4))),
    Nack(1, 2, 3, "why"),
]
FRAMES = [
    Append(sender=1, to=2, term=5, previous=EntryId(3, 7), commit=6, entries=ENTRIES),
    AppendRejected(sender=1, to=2, term=5, index=7, hint=EntryId(2, 3)),
    Heartbeat(sender=1, to=2, term=5, commit=3, read_round=9),
    Vote(sender=1, to=2, term=5, last=EntryId(4, 9)),
    InstallSnapshot(sender=1, to=2, term=5, snapshot=Snapshot(EntryId(4, 9), (1, 2, 3), (4,))),
]


def seeds() -> list[tuple[bytes, Callable[[bytes], object]]]:
    """Good bytes, each with what decodes them."""
    found: list[tuple[bytes, Callable[[bytes], object]]] = []
    found += [(encode_frame(message, now=77), frame_of_a_peer) for message in FRAMES]
    found.append((encode_record(HardState(4, 2, 7), ENTRIES), lambda data: list(decode_records(data))))
    found.append((bytes([1]) + bytes(8) + b"command", decode_command))
    bundles = []
    for number, command in enumerate(COMMANDS):
        values = queue_codec.command_values(command)
        found.append((queue_codec.pack(values), command_of_bytes))
        bundles.append(Bundle("queue", [1, number, values, 2, 1, (4, 1, 2)], bytes(16), 5))
    entries = [request_codec.encode_bundle(bundle) for bundle in bundles]
    found += [(entry, request_codec.decode_bundle) for entry in entries]
    found.append((entries[0] + entries[1], request_codec.decode_entry))
    requests = [
        request_codec.submit(bundles[0]),
        request_codec.submit(bundles[2], waits=[500, 0]),
        ExtendLease(1, 2, 3),
    ]
    found.append((request_codec.encode_requests(requests), request_codec.decode_requests))
    found += [
        (request_codec.encode_ask(7, 1000, request), request_codec.decode_ask)
        for request in (*requests, ReadJobs("mail", "ready", 5, 10))
    ]
    found.append((request_codec.encode_response(3, 9, [b"answer", (67,)]), request_codec.decode_response))
    jobs = request_codec.jobs_values([Job(1, "mail", b"data", 5, 1, 9, 60.0)])
    found.append((queue_codec.pack(jobs), lambda data: request_codec.jobs_of(queue_codec.unpack(data))))
    queue = filled_queue().queue
    views = page_of_jobs(queue, "mail", state=None, after=0, limit=10, now=1_000, platform=True)
    found.append((request_codec.encode_views(views), request_codec.decode_views))
    stats = all_stats(queue, now=1_000, platform=True)
    found.append((request_codec.encode_stats(stats), request_codec.decode_stats))
    found.append((stream_of(entries), lambda data: list(FrameReader(4096).feed(data))))
    chunks = [chunk for chunk in filled_queue().snapshot() if chunk != CUT]
    found += [(chunk, restoring_with(chunks, place)) for place, chunk in enumerate(chunks)]
    return found


def filled_queue() -> QueueStateMachine:
    """Jobs in every state, topics with settings, sessions that remember."""
    machine = QueueStateMachine()
    puts = [
        Put("mail", b"data", priority, key, 1000, 3, f"key {key}") for priority, key in ((1, 0), (5, 9_000))
    ]
    commands = [
        *COMMANDS,
        *puts,
        Put("a", b"", 3),
        SetTopic("mail", max_jobs=9),
        Reserve(("mail",)),
        Pause("a", 9),
    ]
    for number, command in enumerate(commands, 1):
        bundle = Bundle(QUEUE_DOMAIN, [1, number, queue_codec.command_values(command)], bytes(16), 0)
        machine.apply(request_codec.encode_bundle(bundle), index=number, now=number)
    single = Bundle(QUEUE_DOMAIN, [0, 1, queue_codec.command_values(puts[0])], b"k" * 16, single_shot=True)
    machine.apply(request_codec.encode_bundle(single), index=99, now=99)
    return machine


def restoring_with(chunks: list[bytes], place: int) -> Callable[[bytes], object]:
    """Restores a state from its chunks, of which one is given."""

    def restore(chunk: bytes) -> None:
        steps = QueueStateMachine().restore([*chunks[:place], chunk, *chunks[place + 1 :]])
        while True:
            try:
                next(steps)
            except StopIteration as end:
                end.value()
                return

    return restore


def command_of_bytes(data: bytes) -> object:
    return queue_codec.command_of(queue_codec.unpack(data))


def frame_of_a_peer(data: bytes) -> object:
    return decode_frame(data, sender=1, to=2)


def stream_of(frames: list[bytes]) -> bytes:
    return b"".join(request_codec.LENGTH.pack(len(frame)) + frame for frame in frames)


class Fuzzer:
    """Feeds inputs from a seed; counts what was understood."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.understood = 0
        self._seeds = seeds()
        self._log = log_of_three_batches()
        self._snapshot = snapshot_of_a_queue()

    def run(self, inputs: int) -> None:
        """Whatever is not the typed error flies."""
        for number in range(inputs):
            if number % 500 == 0:
                self._damaged_log()
                self._damaged_snapshot()
                continue
            good, decode = self.random.choice(self._seeds)
            if self.random.random() < 0.1:
                good = msgpack.packb(self._invented(depth=3))
            try:
                decode(self._damaged(good))
                self.understood += 1
            except QueueError:
                pass

    def _damaged(self, good: bytes) -> bytes:
        random, damaged = self.random, bytearray(good)
        for _ in range(random.randrange(4)):
            place = random.randrange(len(damaged) + 1)
            match random.randrange(5):
                case 0:
                    damaged[place:] = b""
                case 1:
                    damaged[place:place] = random.randbytes(random.randrange(9))
                case 2:
                    # A length of 4 GiB where something shorter was.
                    damaged[place : place + 5] = (
                        bytes((random.choice((0xC6, 0xDB, 0xDD, 0xDF, 0xC9)),)) + b"\xff" * 4
                    )
                case _:
                    if place < len(damaged):
                        damaged[place] = random.randrange(256)
        return bytes(damaged)

    def _invented(self, *, depth: int) -> object:
        random = self.random
        match random.randrange(9 if depth else 6):
            case 0:
                return random.choice((None, True, False, -1, 2**64 - 1, 1.5))
            case 1 | 2:
                return random.randrange(80)
            case 3:
                return random.randbytes(random.randrange(20))
            case 4 | 5:
                return random.choice(("queue", "mail", "", "\x00", "ä" * 9))
            case _:
                return [self._invented(depth=depth - 1) for _ in range(random.randrange(8))]

    def _damaged_snapshot(self) -> None:
        """A snapshot on the disk, with bytes changed or its end missing."""
        file = SimulatedDisk().create("snapshot")
        file.write_at(0, self._damaged(self._snapshot))
        reader = SnapshotReader(file)
        try:
            reader.check()
            list(reader.chunks())
            self.understood += 1
        except QueueError:
            pass

    def _damaged_log(self) -> None:
        """A log on the disk, with bytes changed: read to some end, or refused as damaged."""
        disk = SimulatedDisk()
        for name, content in self._log.items():
            file = disk.create(name)
            damaged = bytearray(content)
            for _ in range(self.random.randrange(3)):
                damaged[self.random.randrange(len(damaged))] = self.random.randrange(256)
            file.write_at(0, bytes(damaged))
            file.sync()
        try:
            Wal(disk, segment_bytes=SEGMENT_BYTES)
            self.understood += 1
        except QueueError:
            pass


def snapshot_of_a_queue() -> bytes:
    """The file of a good snapshot."""
    disk = SimulatedDisk()
    draft = SnapshotDraft(disk, "own")
    draft.begin()
    for chunk in filled_queue().snapshot():
        if chunk != CUT:
            draft.append(chunk)
    draft.end(SnapshotMark(Snapshot(EntryId(2, 9), (1, 2, 3), (4,)), 77))
    return disk.open("snapshot.new").read()


def log_of_three_batches() -> dict[str, bytes]:
    """Files of a good log."""
    disk = SimulatedDisk()
    wal = Wal(disk, segment_bytes=SEGMENT_BYTES)
    for first in (1, 3, 5):
        entries = [Entry(2, index, b"data" * index) for index in (first, first + 1)]
        wal.append(encode_record(HardState(2, 1, first - 1), entries))
    return {name: bytes(file.durable) for name, file in disk.files.items()}


def main() -> None:
    """Run many inputs and say how it went."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    fuzzer = Fuzzer(wanted.seed)
    fuzzer.run(10_000)
    before, began = peak_bytes(), time.perf_counter()
    fuzzer.run(wanted.inputs)
    growth, seconds = peak_bytes() - before, time.perf_counter() - began
    print(
        f"{wanted.inputs} inputs in {seconds:.0f} s, {fuzzer.understood} understood, the rest refused, "
        f"memory grew by {growth / 2**20:.1f} MiB"
    )
    if growth > MEMORY_GROWTH_BYTES:
        sys.exit("memory is not bounded")


def peak_bytes() -> int:
    """The most memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
