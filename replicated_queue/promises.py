"""What a replica says and writes: at once what needs no disk, its promises when they are on the disk."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from .applying import Applying
from .codec import Checkpoint
from .interfaces import Transport
from .outgoing import Offer, Outgoing
from .persistence import MakeWriter, Persistence, PersistenceCallbacks
from .raft.messages import Ready
from .replica import Replica
from .settings import ReplicaSettings
from .slow_disk import DiskWatch
from .storage.disk import Disk
from .storage.errors import NoRoom

logger = logging.getLogger(__name__)


class Promises:
    """Carries out one Ready after the other, and hears from the disk how far it is."""

    def __init__(
        self,
        directory: Path,
        transport: Transport,
        *,
        settings: ReplicaSettings,
        open_disk: Callable[[Path], Disk],
        make_writer: MakeWriter,
        offer: Offer,
        clock: Callable[[], float],
        guard: Callable[[Callable[[], None]], None],
        wake: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """`guard` does what the disk asked for, `wake` is for a turn soon, `fail` for a disk that failed."""
        self.persistence = Persistence(
            directory,
            segment_bytes=settings.segment_bytes,
            open_disk=open_disk,
            make_writer=make_writer,
            callbacks=PersistenceCallbacks(self._on_cast, self._on_durable, self._on_room, fail),
        )
        self._outgoing = Outgoing(transport, settings.max_append_bytes, offer)
        self._clock = clock
        self._guard = guard
        self._wake = wake
        self._applying = Applying()
        self._disk_watch = DiskWatch()
        self._replica: Replica | None = None
        self.lacking: NoRoom | None = None  # why the disk takes no more

    def tell_checkpoint(self, checkpoint: Checkpoint | None) -> None:
        """What heartbeats say of our state from now on."""
        self._outgoing.checkpoint = checkpoint

    def start(self, replica: Replica) -> None:
        """The log is read."""
        self._replica = replica

    def stop(self) -> None:
        """What the disk says from now on is of no interest."""
        self._replica = None

    def carry_out(self, ready: Ready, *, now: float) -> None:
        """Write and send what `ready` says, now or when the disk has it."""
        replica = self._replica
        assert replica is not None
        # First what others work on meanwhile: handing a write to its thread costs this one a moment's rest.
        if ready.messages:
            self._outgoing.messages(ready.messages, replica.cluster_time(now), now=now)
        waits = self.persistence.write(ready, now=now)
        if not waits.for_vote and ready.promises:
            self._outgoing.votes([ready], replica.cluster_time(now))
        if not waits.for_log:
            self._keep(replica, [ready], now)

    def tell_news(self, now: float) -> None:
        """What is not urgent, when it has waited long enough."""
        if now >= self._outgoing.news_due and self._replica is not None:
            self._outgoing.tell_news(self._replica.cluster_time(now), now=now)

    def next_deadline(self) -> float:
        """When `tell_news` must be called, or what is committed be applied."""
        return min(self._outgoing.news_due, self._applying.due)

    def may_apply(self, now: float) -> bool:
        """Whether to apply in this turn what is committed."""
        assert self._replica is not None
        raft = self._replica.raft
        return self._applying.may_begin(
            leads=raft.replication is not None,
            has_any=raft.log.has_unapplied,
            has_new=raft.log.has_unhanded,
            now=now,
        )

    def watch_disk(self, now: float) -> None:
        """A leader whose disk stalls or is full hands over, if somebody is fit to."""
        replica = self._replica
        assert replica is not None
        if replica.raft.replication is None:
            return
        oldest, is_full = self.persistence.oldest_unsynced, self.lacking is not None
        trouble = self._disk_watch.judge(replica.raft.replication, oldest, is_full=is_full, now=now)
        if trouble is not None:
            logger.warning("disk %s successor=%016x", trouble.reason, trouble.successor)
            if trouble.successor:
                replica.raft.transfer_leadership(trouble.successor)

    def _on_cast(self, cast: Sequence[Ready]) -> None:
        """Term and vote are on the disk; entries may still be on their way, or wait for room."""
        if self._replica is None or not cast:
            return
        replica, now = self._replica, self._clock()

        def count() -> None:
            self._outgoing.votes(cast, replica.cluster_time(now))
            for ready in cast:
                replica.raft.persisted(ready.term, 0)

        self._guard(count)
        self._wake()

    def _on_durable(self, durable: Sequence[Ready]) -> None:
        """All of these is on the disk."""
        if self._replica is not None and durable:
            replica, now = self._replica, self._clock()
            self._guard(lambda: self._keep(replica, durable, now))
            if replica.raft.has_more:
                self._wake()

    def _on_room(self, lacking: NoRoom | None) -> None:
        """The disk takes no more, and why; None: it does again."""
        self.lacking = lacking
        if lacking is not None:
            logger.error("disk full, no changes are taken reason=%s", lacking)
        else:
            logger.info("disk has room again")
        self._wake()

    def _keep(self, replica: Replica, durable: Sequence[Ready], now: float) -> None:
        if any(ready.promises for ready in durable):
            self._outgoing.acknowledgements(durable, replica.cluster_time(now))
        for ready in durable:
            replica.raft.persisted(ready.term, ready.last_index)
