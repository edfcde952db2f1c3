"""The shell's part of snapshots: when one is taken, how it reaches a peer, how a leader's is taken in."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass

import msgpack

from .codec import Frame, encode_frame
from .errors import MalformedMessage, QueueError
from .interfaces import CUT, PeerId, StateMachine, Transport
from .memory import give_back
from .persistence import Persistence
from .raft.log import RaftLog
from .raft.messages import Entry, EntryId, InstallSnapshot, Ready, Snapshot
from .replica import Replica
from .revival import step_by_step
from .settings import ReplicaSettings
from .storage.errors import DamagedSnapshot, DiskFailed, NoRoom
from .storage.recovery import Recovered
from .storage.snapshots import SnapshotDraft, SnapshotFiles, SnapshotMark

logger = logging.getLogger(__name__)

OF_NOW = EntryId(0, 0)  # asked for by who wants the state as it is
RETRY_SECONDS = 30.0  # after a snapshot that found no room
OFFER_SECONDS = 10.0  # until an offered snapshot must be asked for, and again for each piece of it
INSTALL_SECONDS = 60.0  # from its last piece until it must be acknowledged
MAX_SNAPSHOT_BYTES = 512 * 1024 * 1024  # of a leader; far above what the bounds of the state allow
ENTRY_BYTES = 64  # what an entry takes beside its data


@dataclass(frozen=True, slots=True)
class Prepared:
    """A snapshot that came from a leader, on the disk and decoded; `become` makes the state be it."""

    mark: SnapshotMark
    become: Callable[[], None]


class SnapshotKeeper:
    """Takes, serves and receives snapshots of one replica. One at a time is taken or received."""

    def __init__(
        self,
        *,
        state_machine: StateMachine,
        transport: Transport,
        persistence: Persistence,
        settings: ReplicaSettings,
        install: Callable[[Frame], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """`install` hands a leader's offer to the algorithm; if that takes it, it calls `take_over`."""
        self._state_machine = state_machine
        self._transport = transport
        self._persistence = persistence
        self._settings = settings
        self._install = install
        self._on_failure = on_failure
        self._task: asyncio.Task[None] | None = None
        self._prepared: Prepared | None = None  # while the algorithm is asked about it
        self._replica: Replica | None = None  # until `start`
        self._log_bytes = 0  # written since the newest snapshot
        self._size_bytes = 0  # of that snapshot
        self._is_busy = False  # with taking one, or waiting for room for it
        self._wanted = asyncio.Event()
        self._retry: asyncio.TimerHandle | None = None  # while there is no room
        self._offered: Frame | None = None  # a leader's, that was not fetched yet
        self._offers: dict[PeerId, asyncio.TimerHandle] = {}  # ours to peers, until they must be answered
        self._replaces_from: PeerId | None = None  # whose state ours should be
        self._taken = asyncio.Event()  # one more
        self._disappointed: set[PeerId] = set()  # they came for one that was damaged

    def start(self, replica: Replica, recovered: Recovered) -> None:
        """Begin; `recovered` is what was on the disk."""
        self._replica = replica
        self._log_bytes = sum(map(bytes_of, recovered.entries))
        self._size_bytes = recovered.snapshot_bytes
        self._task = asyncio.get_running_loop().create_task(self._run(), name="snapshots")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Let go of what is not finished."""
        for timer in (*self._offers.values(), *([self._retry] if self._retry is not None else [])):
            timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)

    def written(self, ready: Ready) -> None:
        """These entries go into the log."""
        if ready.entries:
            self._log_bytes += sum(map(bytes_of, ready.entries))
            self._want_one()

    def _want_one(self) -> None:
        bound = max(self._settings.snapshot_floor_bytes, self._settings.snapshot_factor * self._size_bytes)
        if self._log_bytes > bound:
            self._take_soon()

    def _take_soon(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            self._wanted.set()

    def received(self, frame: Frame) -> None:
        """A leader offers its snapshot, for it does not have what we need any more."""
        self._offered = frame
        self._wanted.set()

    def replace_state(self, leader: PeerId) -> None:
        """Ours is not what the leader's is: have it be that."""
        self._replaces_from = leader
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            offered, self._offered = self._offered, None
            try:
                if self._is_busy and self._retry is None:
                    await self._take()
                    self._is_busy = False
                if offered is not None:
                    await self._receive(offered)
                if self._replaces_from is not None:
                    leader, self._replaces_from = self._replaces_from, None
                    await self._replace(leader)
            except NoRoom as error:
                logger.warning("snapshot found no room reason=%s", error)
                self._is_busy = True
                self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._is_busy = False
        self._want_one()

    # Taking one

    async def _take(self) -> None:
        replica, files = self._replica, self._files
        assert replica is not None
        mark: SnapshotMark | None = None
        draft = await asyncio.to_thread(files.draft, "own")
        chunks = self._state_machine.snapshot()
        log_bytes = 0
        try:
            await asyncio.to_thread(draft.begin)
            for chunk in chunks:
                if chunk == CUT:
                    mark = mark_of(replica)
                    log_bytes, self._log_bytes = self._log_bytes, 0
                else:
                    await asyncio.to_thread(draft.append, chunk)
            assert mark is not None, "a snapshot without a cut"
            await asyncio.to_thread(draft.end, mark)
            await asyncio.to_thread(draft.publish, mark.snapshot.last)
        except BaseException:  # whatever it was, half a snapshot must not stay
            if isinstance(chunks, Generator):
                chunks.close()
            self._log_bytes += log_bytes
            await asyncio.to_thread(draft.discard)
            raise
        self._size_bytes = draft.size_bytes
        await asyncio.to_thread(files.forget_damaged, mark.snapshot.last)
        self._compact(replica, mark, await asyncio.to_thread(files.forget_old))
        self._taken.set()
        for peer in sorted(self._disappointed):
            self.peer_lost(peer)
        self._disappointed.clear()
        logger.info(
            "snapshot taken index=%d bytes=%d log_bytes=%d",
            mark.snapshot.last.index,
            draft.size_bytes,
            log_bytes,
        )

    def _compact(self, replica: Replica, mark: SnapshotMark, needless: int) -> None:
        """The snapshot is on the disk: forget what it covers, in memory, and on the disk what two cover."""
        log = replica.raft.log
        if log.snapshot is None or mark.snapshot.last.index > log.snapshot.last.index:
            replica.compacted(mark.cluster_time)
            log.compact(mark.snapshot, keep=entries_within(log, mark, self._settings.kept_log_bytes))
            give_back()  # the entries
        if needless:
            self._persistence.forget_upto(needless)

    # To a peer

    def offer(self, message: InstallSnapshot, cluster_time: int) -> None:
        """Tell a peer that it needs a snapshot. If it does not come for it, the algorithm hears of that."""
        self._transport.send(message.to, encode_frame(message, now=cluster_time), lane="votes")
        self._expect(message.to, OFFER_SECONDS)

    async def serve(self, peer: PeerId, request: bytes) -> AsyncGenerator[bytes, None]:
        """The bytes of a snapshot for a peer. Raises `QueueError` if it is not there (any more), or damaged.

        A damaged one is of no use to the peer, and would be offered again and again: another is taken.
        """
        try:
            term, index = msgpack.unpackb(request)
            last = EntryId(int(term), int(index))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise MalformedMessage("no request for a snapshot") from error
        if self._replica is None:
            raise QueueError("this node is starting: its log is not read yet")
        if last == OF_NOW:
            last = await self._fresh()
        reader = await asyncio.to_thread(self._files.open, last)
        if reader is None:
            raise QueueError(f"the snapshot of entry {last.index} is not here any more")
        offset = 0
        try:
            await asyncio.to_thread(reader.check)
            while data := await asyncio.to_thread(reader.raw, offset):
                self._expect(peer, OFFER_SECONDS)
                yield data
                offset += len(data)
            self._expect(peer, INSTALL_SECONDS)
        except DamagedSnapshot as error:
            logger.error("snapshot damaged, another is taken index=%d reason=%s", last.index, error)
            self._files.found_damaged(last)
            self._disappointed.add(peer)
            self._take_soon()
            raise
        finally:
            reader.close()

    async def _fresh(self) -> EntryId:
        """Have one taken; where it ends. Raises `QueueError` where there is none."""
        self._taken.clear()
        self._take_soon()
        async with asyncio.timeout(OFFER_SECONDS):
            await self._taken.wait()
        snapshot = self._replica.raft.log.snapshot if self._replica is not None else None
        if snapshot is None:
            raise QueueError("no snapshot was taken")
        return snapshot.last

    def _expect(self, peer: PeerId, seconds: float) -> None:
        """Take the transfer to `peer` for failed if nothing happens for so long."""
        before = self._offers.pop(peer, None)
        if before is not None:
            before.cancel()
        loop = asyncio.get_running_loop()
        self._offers[peer] = loop.call_later(seconds, self._gave_up, peer)

    def peer_lost(self, peer: PeerId) -> None:
        """What `peer` was sent has gone, perhaps with its process: let it be offered a snapshot anew."""
        timer = self._offers.get(peer)
        if timer is not None:
            timer.cancel()
            self._gave_up(peer)

    def _gave_up(self, peer: PeerId) -> None:
        self._offers.pop(peer, None)
        if self._replica is not None:
            self._replica.raft.snapshot_ended(peer, arrived=False)

    # From a leader

    async def _receive(self, offered: Frame) -> None:
        """Fetch it, prove it, put it on the disk, decode it; only then the algorithm hears of it."""
        message, replica = offered.message, self._replica
        assert isinstance(message, InstallSnapshot) and replica is not None
        last = message.snapshot.last
        if last.index <= replica.raft.log.commit_index:
            self._install(offered)  # came meanwhile by other ways, as the answer says
            return
        draft = await asyncio.to_thread(self._files.draft, "incoming")
        is_published = False
        try:
            await self._fetch(message.sender, last, draft)
            mark = await asyncio.to_thread(draft.reader().check)
            if mark.snapshot.last != last:
                raise DamagedSnapshot(f"the snapshot of node {message.sender:016x}", f"it is of {mark}")
            become = await step_by_step(self._state_machine.restore(draft.reader().chunks()))
            await asyncio.to_thread(draft.publish, last)
            is_published = True
        except (NoRoom, DiskFailed):
            raise
        except (OSError, TimeoutError, QueueError) as error:
            logger.warning("snapshot not received from=%016x reason=%s", message.sender, error)
            return
        finally:
            if not is_published:
                await asyncio.to_thread(draft.discard)
        self._prepared = Prepared(mark, become)
        self._install(offered)
        self._prepared = None
        kept = replica.raft.log.snapshot
        if kept is None or kept.last != last:
            return  # what we have came meanwhile by other ways, and its snapshot is still needed
        self._size_bytes, self._log_bytes = draft.size_bytes, 0
        await asyncio.to_thread(self._files.forget_before, last)
        logger.info("snapshot received index=%d bytes=%d", last.index, draft.size_bytes)

    async def _replace(self, leader: PeerId) -> None:
        """Become the leader's state of now, and run again what the log has behind it; the log itself is good.

        If anything fails, the next comparison finds the difference again.
        """
        replica = self._replica
        assert replica is not None
        draft = await asyncio.to_thread(self._files.draft, "incoming")
        is_published = False
        try:
            await self._fetch(leader, OF_NOW, draft)
            mark = await asyncio.to_thread(draft.reader().check)
            become = await step_by_step(self._state_machine.restore(draft.reader().chunks()))
            last = mark.snapshot.last
            log = replica.raft.log
            begin = log.snapshot.last.index if log.snapshot is not None else 0
            if not begin <= last.index <= replica.applied_index or log.term_at(last.index) != last.term:
                raise QueueError(f"the log here does not go on from entry {last.index}")
            await asyncio.to_thread(draft.publish, last)
            is_published = True
        except (NoRoom, DiskFailed):
            raise
        except (OSError, TimeoutError, QueueError) as error:
            logger.warning("state not replaced from=%016x reason=%r", leader, error)
            return
        finally:
            if not is_published:
                await asyncio.to_thread(draft.discard)
        become()
        replica.replaced(last.index)
        self._size_bytes = draft.size_bytes
        self._compact(replica, mark, 0)
        await asyncio.to_thread(self._files.forget_before, last)
        logger.warning("state replaced by the leader's index=%d bytes=%d", last.index, draft.size_bytes)

    def take_over(self, snapshot: Snapshot) -> None:
        """The algorithm has taken the snapshot: the state is it, from now on."""
        prepared, replica = self._prepared, self._replica
        assert prepared is not None and prepared.mark.snapshot == snapshot and replica is not None, snapshot
        prepared.become()
        replica.restored(snapshot.last.index, stamp=prepared.mark.cluster_time)

    async def _fetch(self, peer: PeerId, last: EntryId, draft: SnapshotDraft) -> None:
        async for data in self._transport.fetch(peer, msgpack.packb(tuple(last))):
            if draft.size_bytes + len(data) > MAX_SNAPSHOT_BYTES:
                raise QueueError(f"it is larger than {MAX_SNAPSHOT_BYTES} bytes")
            await asyncio.to_thread(draft.append_raw, data)

    @property
    def _files(self) -> SnapshotFiles:
        assert self._persistence.snapshots is not None
        return self._persistence.snapshots


def mark_of(replica: Replica) -> SnapshotMark:
    """What a snapshot of the state of this moment is of."""
    members = replica.raft.membership
    snapshot = Snapshot(replica.raft.log.applied, members.voters.ids, members.learners)
    return SnapshotMark(snapshot, replica.newest_applied_stamp)


def entries_within(log: RaftLog, mark: SnapshotMark, most_bytes: int) -> int:
    """How many entries before the snapshot's end may be kept, newest first."""
    size = count = 0
    for index in range(mark.snapshot.last.index, log.base.index, -1):
        size += bytes_of(log.entry_at(index))
        if size > most_bytes:
            break
        count += 1
    return count


def bytes_of(entry: Entry) -> int:
    """What an entry takes in the log, about."""
    return len(entry.data) + ENTRY_BYTES
