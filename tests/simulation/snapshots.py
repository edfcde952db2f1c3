"""Snapshots in a simulated group: taken, offered, fetched and installed in steps, as `SnapshotKeeper` does.

Between any two steps entries are applied, the power goes, links break.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from replicated_queue.codec import Frame
from replicated_queue.errors import QueueError
from replicated_queue.interfaces import CUT
from replicated_queue.raft.messages import EntryId, InstallSnapshot
from replicated_queue.snapshotting import bytes_of, entries_within, mark_of
from replicated_queue.storage.errors import DamagedSnapshot, NoRoom
from replicated_queue.storage.snapshots import SnapshotDraft, SnapshotMark
from tests.simulation.machine import SETTINGS, Machine, Walk

if TYPE_CHECKING:
    from tests.simulation.world import World

OFFER_SECONDS = 1.0
INSTALL_SECONDS = 3.0
RETRY_SECONDS = 1.0
PIECE_BYTES = 500


class LinkBroke(Exception):
    """The bytes of a snapshot come no more."""


def errands(world: "World", node: Machine) -> Walk:
    """Take the snapshot that is due and receive the one that was offered, one after the other."""
    while is_due(node) or node.offered is not None:
        offered, node.offered = node.offered, None
        try:
            if is_due(node):
                yield from taking(world, node)
            if offered is not None:
                yield from receiving(world, node, offered)
        except NoRoom:
            yield RETRY_SECONDS
    node.errand = None


def is_due(node: Machine) -> bool:
    return node.must_take or node.log_bytes > max(
        SETTINGS.snapshot_floor_bytes, SETTINGS.snapshot_factor * node.snapshot_bytes
    )


def taking(world: "World", node: Machine) -> Walk:
    assert node.replica is not None and node.store is not None
    replica, files = node.replica, node.store.snapshots
    draft = files.draft("own")
    yield world.moment()
    mark: SnapshotMark | None = None
    log_bytes = 0
    try:
        draft.begin()
        yield world.moment()
        for chunk in node.journal.snapshot():
            if chunk == CUT:
                mark = mark_of(replica)
                log_bytes, node.log_bytes = node.log_bytes, 0
                world.promises.check_snapshot(mark.snapshot.last, node.journal.digest())
            else:
                draft.append(chunk)
                yield world.moment()
        assert mark is not None
        draft.end(mark)
        yield world.moment()
        draft.publish(mark.snapshot.last)
    except NoRoom:
        node.log_bytes += log_bytes
        if node.disk.capacity_bytes != 0:
            draft.discard()
        raise
    yield world.moment()
    node.must_take = False
    node.snapshot_bytes = draft.size_bytes
    files.forget_damaged(mark.snapshot.last)
    needless = files.forget_old()
    yield world.moment()
    log = replica.raft.log
    if log.snapshot is None or mark.snapshot.last.index > log.snapshot.last.index:
        replica.compacted(mark.cluster_time)
        log.compact(mark.snapshot, keep=entries_within(log, mark, SETTINGS.kept_log_bytes))
    world.snapshots_taken += 1
    if needless:
        yield world.moment()
        node.store.wal.forget_upto(needless)


def receiving(world: "World", node: Machine, offered: Frame) -> Walk:
    assert node.replica is not None and node.store is not None
    replica, files, message = node.replica, node.store.snapshots, offered.message
    assert isinstance(message, InstallSnapshot)
    last = message.snapshot.last
    if last.index <= replica.raft.log.commit_index:
        world.install(node, offered)
        return
    draft = files.draft("incoming")
    is_published = False
    try:
        yield from fetching(world, node, message, draft)
        mark = draft.reader().check()
        if mark.snapshot.last != last:
            raise DamagedSnapshot("of a peer", f"it is of {mark}")
        become = yield from slowly(world, node.journal.restore(draft.reader().chunks()))
        yield world.moment()
        draft.publish(last)
        is_published = True
        yield world.moment()
    except NoRoom:
        raise
    except (LinkBroke, QueueError):
        return
    finally:
        if not is_published:
            draft.discard()
    node.prepared = (mark, become)
    world.install(node, offered)
    node.prepared = None
    kept = replica.raft.log.snapshot
    if kept is None or kept.last != last:
        return
    world.snapshots_received += 1
    node.snapshot_bytes, node.log_bytes = draft.size_bytes, 0
    yield world.moment()
    files.forget_before(last)


def slowly(world: "World", steps: Iterator[None]):  # type: ignore[no-untyped-def]
    """Run steps with moments between them; what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        yield world.moment()


def fetching(world: "World", node: Machine, message: InstallSnapshot, draft: SnapshotDraft) -> Walk:
    """The bytes of the sender's file, piece by piece, over a connection of its own."""
    sender = world.nodes[message.sender]
    life, last = sender.life, message.snapshot.last

    def link_holds() -> bool:
        pair = {(node.me, sender.me), (sender.me, node.me)}
        return sender.is_on and sender.life == life and not pair & world.blocked

    yield world.moment()
    if not link_holds():
        raise LinkBroke
    assert sender.store is not None
    reader = sender.store.snapshots.open(EntryId(*last))
    if reader is None:
        raise QueueError("that snapshot is not here any more")
    try:
        reader.check()
    except DamagedSnapshot:
        assert sender.is_rotten
        sender.store.snapshots.found_damaged(last)
        sender.must_take = True
        world.run_errands(sender)
        raise
    offset = 0
    while data := reader.raw(offset)[:PIECE_BYTES]:
        expect(world, sender, node.me, OFFER_SECONDS)
        yield world.moment()
        if not link_holds() or (not world.is_healed and world.random.random() < 0.02):
            raise LinkBroke
        draft.append_raw(data)
        offset += len(data)
    expect(world, sender, node.me, INSTALL_SECONDS)


def expect(world: "World", sender: Machine, peer: int, seconds: float) -> None:
    """Take the transfer for failed if nothing happens for so long."""
    life, number = sender.life, sender.offers.get(peer, 0) + 1
    sender.offers[peer] = number

    def gave_up() -> None:
        if sender.life == life and sender.replica is not None and sender.offers.get(peer) == number:
            sender.replica.raft.snapshot_ended(peer, arrived=False)
            world.turn(sender)

    world.after(seconds, gave_up)


def grown(node: Machine, entries: list) -> None:  # type: ignore[type-arg]
    """These go into the log."""
    node.log_bytes += sum(map(bytes_of, entries))
