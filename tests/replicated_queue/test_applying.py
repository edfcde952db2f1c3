"""When a replica applies: a leader at once, a follower in the next quiet moment."""

import asyncio
from itertools import pairwise
from math import inf
from pathlib import Path
from random import Random

from replicated_queue.applying import QUIET_SECONDS, Applying
from replicated_queue.codec import decode_frame, encode_command, encode_frame
from replicated_queue.interfaces import Lane
from replicated_queue.raft.messages import Append, AppendResponse, Entry, EntryId
from replicated_queue.service import ReplicaService
from replicated_queue.storage.store import ReplicaStore
from replicated_queue.storage.writer import StoreWriter, Write, WriterCallbacks
from tests.replicated_queue.service_group import Journal
from tests.waiting import eventually

LEADER, ME, OTHER = 1, 2, 3


def may_begin(applying: Applying, now: float, *, leads: bool = False, has_new: bool = True) -> bool:
    return applying.may_begin(leads=leads, has_any=True, has_new=has_new, now=now)


def test_a_follower_applies_when_no_more_entries_came_for_a_moment() -> None:
    applying = Applying()

    with_entries = may_begin(applying, 1.0)
    due = applying.due
    early, quiet = may_begin(applying, 1.0002, has_new=False), may_begin(applying, due, has_new=False)

    assert (with_entries, early, quiet) == (False, False, True)
    assert due == 1.0 + QUIET_SECONDS
    assert applying.due == inf


def test_what_comes_in_the_quiet_moment_ends_it() -> None:
    applying = Applying()
    may_begin(applying, 1.0)

    meanwhile = may_begin(applying, 1.0004)

    assert not meanwhile
    assert applying.due == 1.0004 + QUIET_SECONDS


def test_under_load_a_follower_applies_every_few_milliseconds() -> None:
    applying = Applying()
    times = [1.0 + number * 0.0004 for number in range(60)]

    applied = [now for now in times if may_begin(applying, now)]

    assert len(applied) == 2
    assert all(0.009 < after - before < 0.011 for before, after in pairwise((1.0, *applied)))


def test_a_follower_that_hears_of_a_commit_alone_applies_at_once() -> None:
    assert may_begin(Applying(), 1.0, has_new=False)


def test_a_leader_applies_at_once_also_what_rested_when_it_was_elected() -> None:
    applying = Applying()
    may_begin(applying, 1.0)

    assert may_begin(applying, 1.0001, leads=True)
    assert applying.due == inf


class SlowWriter(StoreWriter):
    """Writes nothing before `go_on`, and says so as the real one does."""

    def __init__(self, store: ReplicaStore, callbacks: WriterCallbacks) -> None:
        super().__init__(store, callbacks)
        self.held: list[Write] = []

    def submit(self, write: Write) -> None:
        self.held.append(write)

    def go_on(self) -> None:
        held, self.held = self.held, []
        for write in held:
            super().submit(write)


class Follower:
    """A service that a scripted leader speaks to; `told` is what it answers and applies, in order."""

    def __init__(self, folder: Path) -> None:
        self.told: list[str] = []
        self.now = 1.0
        self._writers: list[SlowWriter] = []
        self.service = ReplicaService(
            peer_id=ME,
            voters=(LEADER, ME, OTHER),
            state_machine=_Telling(self.told),
            directory=folder,
            transport=self,  # type: ignore[arg-type]
            random=Random(1),
            clock=lambda: self.now,
            make_writer=self._writer,
        )

    @property
    def writer(self) -> SlowWriter:
        return self._writers[0]

    def _writer(self, store: ReplicaStore, callbacks: WriterCallbacks) -> SlowWriter:
        self._writers.append(SlowWriter(store, callbacks))
        return self._writers[0]

    def send(self, peer: int, frame: bytes, *, lane: Lane) -> None:
        message = decode_frame(frame, sender=ME, to=peer).message
        if isinstance(message, AppendResponse):
            self.told.append(f"has {message.index}")

    def hears(self, index: int, data: bytes, *, commit: int) -> None:
        """One more entry of its leader."""
        entry = Entry(1, index, encode_command(data, now=1))
        previous = EntryId(1 if index > 1 else 0, index - 1)
        append = Append(sender=LEADER, to=ME, term=1, previous=previous, commit=commit, entries=[entry])
        self.service.receive(LEADER, encode_frame(append, now=1))


class _Telling(Journal):
    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self._told = told

    def apply(self, command: bytes, *, index: int, now: int, parts: object = ()) -> bytes:
        self._told.append(f"applies {index}")
        return b""


async def follower_with_one_entry(folder: Path) -> tuple[Follower, "asyncio.Task[None]"]:
    follower = Follower(folder)
    run = asyncio.create_task(follower.service.run())
    await eventually(
        lambda: follower.service.last_index == 0 and follower.service.term == 0 and follower._writers
    )
    follower.hears(1, b"first", commit=0)
    await eventually(lambda: follower.writer.held)
    follower.writer.go_on()
    await eventually(lambda: follower.told == ["has 1"])
    return follower, run


async def end(run: "asyncio.Task[None]") -> None:
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def test_a_follower_acknowledges_new_entries_before_it_applies_what_came_committed_with_them(
    tmp_path: Path,
) -> None:
    follower, run = await follower_with_one_entry(tmp_path)

    follower.hears(2, b"second", commit=1)
    await eventually(lambda: follower.writer.held)
    follower.writer.go_on()
    await eventually(lambda: len(follower.told) == 2)
    follower.now += 2 * QUIET_SECONDS
    await eventually(lambda: len(follower.told) == 3)

    assert follower.told == ["has 1", "has 2", "applies 1"]
    await end(run)


async def test_a_disk_that_stalls_keeps_no_follower_from_applying(tmp_path: Path) -> None:
    follower, run = await follower_with_one_entry(tmp_path)

    follower.hears(2, b"second", commit=1)
    await eventually(lambda: follower.writer.held)
    follower.now += 2 * QUIET_SECONDS
    await eventually(lambda: len(follower.told) == 2)

    assert follower.told == ["has 1", "applies 1"]
    await end(run)
