"""From a build that was asked for to the release that serves, for whoever waits for it."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from pinode.apps.errors import BuildNotFound
from pinode.apps.release import Release
from pinode.cluster import Cluster
from pinode.errors import PinodeError, TimedOut

LOOK_SECONDS = 10.0
WAIT_SECONDS = 1_800.0


class NotDeployed(PinodeError):
    """The build, or the release made from it, did not get there."""

    code = "not_deployed"


async def until_live(
    cluster: Cluster,
    build_id: int,
    *,
    within_seconds: float = WAIT_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Release:
    """The release of the build, once it serves. Raises `NotDeployed` with the reason, `TimedOut`."""
    deadline = clock() + within_seconds
    while True:
        revision = cluster.revision
        release = _live_release(cluster, build_id)
        if release is not None:
            return release
        left = deadline - clock()
        if left <= 0:
            raise TimedOut(
                f"build {build_id} does not serve yet after {within_seconds:.0f} s.", hint="It goes on."
            )
        await cluster.changed(revision, timeout_seconds=min(left, LOOK_SECONDS))


def _live_release(cluster: Cluster, build_id: int) -> Release | None:
    registry = cluster.state.registry
    build = registry.build(build_id)
    if build is None:
        raise BuildNotFound(build_id=build_id)
    if build.state in ("cancelled", "failed"):
        verb = "was cancelled" if build.state == "cancelled" else "failed"
        raise NotDeployed(f"build {build_id} {verb}: {build.failure or 'it did not say why'}")
    if build.version is None:
        return None
    release = registry.release(build.app, build.version)
    if release is None:
        raise NotDeployed(f"release v{build.version} of {build.app} is gone")
    if release.state == "failed":
        raise NotDeployed(
            f"release v{release.version} failed: {release.failure or 'it did not say why'}",
            hint=f"What its dynos said: pinode logs -a {build.app}",
        )
    return release if release.state in ("live", "superseded") else None


async def lines_of(chunks: AsyncGenerator[bytes, None]) -> AsyncIterator[str]:
    """Bytes as they come, as whole lines."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
