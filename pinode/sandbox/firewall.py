"""Keeps builds and dynos from this machine's own services: the packet filter's rules, put in place by nft(8).

One table for the machine, since user numbers of builds and dynos are the same for every node on it. It stays
when the node's process ends, since dynos do.
"""

import asyncio
import logging
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from pinode.sandbox.firewall_rules import (
    close_to_builds,
    give_port,
    open_to_builds,
    rules,
)
from pinode.sandbox.spec import SYSTEM_PATH, SandboxError

NFT_SECONDS = 10

logger = logging.getLogger(__name__)


class Firewall:
    """The table of this machine. Where it cannot be put in place nothing is closed, and `warning` says so."""

    def __init__(self) -> None:
        self.warning = ""
        self._is_up = False
        self._owners: dict[int, int] = {}  # who was given a port last
        self._open: Counter[int] = Counter()  # ports that builds under way need
        self._lock = threading.Lock()  # dynos are started in threads

    def is_impossible(self) -> None:
        """pinode is not root here: builds and dynos have no user number of their own."""
        self.warning = (
            "builds and dynos reach what listens on this machine's loopback: pinode is not root here"
        )

    async def put_up(self, *, doors: Collection[int], app_ports: str, dyno_ports: str) -> None:
        """Put the rules in place (see `rules`), in one step, whatever was there before."""
        try:
            script = rules(doors=doors, app_ports=app_ports, dyno_ports=dyno_ports)
            await asyncio.to_thread(_nft, script)
        except SandboxError as error:
            self.warning = f"builds and dynos reach what listens on this machine's loopback: {error.message}"
            logger.warning("%s %s", self.warning, error.hint)
        else:
            self._is_up, self.warning = True, ""

    def give_port(self, uid: int | None, port: int) -> None:
        """The processes of `uid` may reach `port`, and no other dyno's may. Call it before they start."""
        if not self._is_up or uid is None:
            return
        with self._lock:
            last_owner = self._owners.get(port)
            if last_owner == uid:
                return
            try:
                _nft(give_port(uid, port, last_owner=last_owner))
            except SandboxError as error:  # it serves all the same, only not itself
                logger.warning("a dyno does not reach its own port=%d reason=%s", port, error)
            else:
                self._owners[port] = uid

    @asynccontextmanager
    async def open_to_builds(self, ports: Collection[int]) -> AsyncIterator[None]:
        """While inside, builds reach these ports on loopback."""
        ports = set(ports) if self._is_up else set()
        new = {port for port in ports if not self._open[port]}
        self._open.update(ports)
        try:
            if new:
                await asyncio.to_thread(_nft, open_to_builds(new))
            yield
        finally:
            self._open.subtract(ports)
            if done := {port for port in ports if not self._open[port]}:
                await asyncio.shield(asyncio.to_thread(_nft, close_to_builds(done)))


def _nft(script: str) -> None:
    """Raises `SandboxError`."""
    program = shutil.which("nft", path=SYSTEM_PATH)
    if program is None:
        raise SandboxError("nft is not installed.", hint="apt install nftables")
    try:
        done = subprocess.run(
            [program, "-f", "-"],
            input=script,
            text=True,
            capture_output=True,
            timeout=NFT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"nft does not run: {error}") from error
    if done.returncode:
        said = done.stderr.strip().partition("\n")[0]
        raise SandboxError(f"nft refused the rules: {said}", hint="Does this kernel have nf_tables?")
