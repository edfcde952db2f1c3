"""The lease under which a build is done: kept while it is ours, given back when this node ends."""

import asyncio
import logging
import time

from pinode.cluster import Cluster
from replicated_queue import errors as queue_errors
from replicated_queue.queue.job import Job

GIVE_BACK_SECONDS = 2.0

logger = logging.getLogger(__name__)


class BuildLease:
    """Of the job that this node reserved for a build."""

    def __init__(self, cluster: Cluster, job: Job, build_id: int) -> None:
        self._cluster = cluster
        self._job = job
        self._build_id = build_id

    def is_ours(self) -> bool:
        """Whether the build is still to be done, by us."""
        build = self._cluster.state.registry.build(self._build_id)
        return (
            build is not None
            and not build.is_finished
            and build.token == self._job.token
            and build.cancelled_by is None
        )

    def is_cancelled(self) -> bool:
        """Whether somebody wants it ended, and waits to hear that it has."""
        build = self._cluster.state.registry.build(self._build_id)
        return build is not None and build.cancelled_by is not None

    async def until_lost(self) -> None:
        """Keep the lease; return when it, or the build, is no longer ours."""
        revision = self._cluster.revision
        extend_at = 0.0
        while self.is_ours():
            if time.monotonic() >= extend_at:
                extend_at = time.monotonic() + self._job.lease_seconds / 3
                if not await self._extend():
                    return
            remaining = max(0.0, extend_at - time.monotonic())
            revision = await self._cluster.changed(revision, timeout_seconds=remaining)

    async def give_back(self) -> None:
        """This node ends: let another one begin at once instead of when the lease ends."""
        try:
            async with asyncio.timeout(GIVE_BACK_SECONDS):
                await self._cluster.queue.platform_queue.nack(
                    self._job, reason="the node that built it ended"
                )
        except (queue_errors.QueueError, OSError):
            pass  # the lease ends by itself

    async def _extend(self) -> bool:
        try:
            await self._cluster.queue.platform_queue.extend(self._job)
        except queue_errors.Refusal as refused:
            logger.info("build lost its lease build=%d reason=%s", self._build_id, refused)
            return False
        except (queue_errors.QueueError, OSError) as error:
            # Without a leader nobody else gets the job either: a new one grants a full lease first.
            logger.info("build lease not extended build=%d reason=%s", self._build_id, error)
        return True
