"""Runs on this node what the registry places here, and leaves it running when the node process ends.

A node that starts finds its dynos again first. What it knows of the registry may be old, so it stops and
starts nothing until it has applied what a leader had committed; if there is no leader for a while, it starts
the web dynos that it ran last.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from pinode.apps.observed import DynoReport
from pinode.apps.placement import Placement
from pinode.cluster import Cluster
from pinode.dynos.dyno import DynoTimings
from pinode.dynos.dyno_record import DynoRecord, Launch, read_records
from pinode.dynos.guest import Guest, Premises
from pinode.dynos.launch import digest_for_here
from pinode.dynos.proc import boot_id, children_of_all
from pinode.dynos.process import STATUS_NAME, DynoProcess, end_leftovers, exit_code_in
from pinode.logs.dyno_log import remove_surplus
from pinode.sandbox.leftovers import remove_folder
from pinode.sandbox.sandbox import Isolation
from pinode.slugs.replication import SlugReplication
from pinode.slugs.slug_store import SlugStore

logger = logging.getLogger(__name__)

LEADERLESS_SECONDS = 60.0  # after a start: then the last known web dynos run, for better than nothing
CATCH_UP_LOOK_SECONDS = 1.0
LOOK_SECONDS = 2.0  # between looks at the logs and the memory of running dynos
CHANGE_SECONDS = 30.0

Reporter = Callable[[tuple[DynoReport, ...]], None]


class Supervisor:
    """One per node. `directory` is `data_dir/dynos`, `log_directory` `data_dir/logs`."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        directory: Path,
        log_directory: Path,
        slugs: SlugStore,
        replication: SlugReplication,
        isolation: Isolation,
        is_caught_up: Callable[[], bool],
        on_reports: Reporter,
        timings: DynoTimings | None = None,
        clock: Callable[[], float] = time.monotonic,
        leaderless_seconds: float = LEADERLESS_SECONDS,
    ) -> None:
        """`is_caught_up()`: this process has applied up to a leader's commit index since its start."""
        self._cluster = cluster
        self._directory = directory
        self._log_directory = log_directory
        self._slugs = slugs
        self._replication = replication
        self._isolation = isolation
        self._is_caught_up = is_caught_up
        self._on_reports = on_reports
        self._timings = timings or DynoTimings(
            start_seconds=cluster.settings.timings.start_seconds,
            stop_seconds=cluster.settings.timings.stop_seconds,
            release_seconds=cluster.settings.timings.release_seconds,
            cron_seconds=cluster.settings.timings.cron_seconds,
        )
        self._clock = clock
        self._leaderless_seconds = leaderless_seconds
        self._guests: dict[int, Guest] = {}
        self._ended: dict[int, DynoRecord] = {}  # ran before this process, and ended meanwhile
        self._changed = asyncio.Event()
        self._one_is_gone = asyncio.Event()
        self._is_stopping = False
        self._reported: tuple[DynoReport, ...] | None = None
        self._last_leader_at = 0.0
        self._next_look = 0.0
        self._memory_look: asyncio.Task[None] | None = None
        self._apps: dict[str, int] | None = None  # that this process knew last, with when they began

    @property
    def running(self) -> int:
        """How many dynos have a process here now."""
        return sum(guest.is_running for guest in self._guests.values())

    async def run(self) -> None:
        """Find the dynos that still run, then follow the registry until cancelled; dynos go on running."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._last_leader_at = self._clock()
        try:
            async with asyncio.TaskGroup() as tasks:
                premises = self._premises(tasks)
                await self._find_running(premises)
                tasks.create_task(self._follow_cluster())
                while True:
                    self._changed.clear()
                    self._reconcile(premises)
                    self._tick(premises)
                    self._publish()
                    await self._wait()
        finally:
            for guest in self._guests.values():
                guest.let_go()

    async def stop_all(self) -> None:
        """End all dynos of this node (`pinode stop`); returns when their processes are gone."""
        self._is_stopping = True
        for guest in list(self._guests.values()):
            guest.stop(drain=False)
        self._changed.set()
        bound = self._timings.stop_seconds + self._timings.start_seconds
        async with asyncio.timeout(bound):
            while self._guests:
                await self._one_is_gone.wait()
                self._one_is_gone.clear()

    # --- one round

    def _premises(self, tasks: asyncio.TaskGroup) -> Premises:
        return Premises(
            cluster=self._cluster,
            directory=self._directory,
            log_directory=self._log_directory,
            slugs=self._slugs,
            replication=self._replication,
            isolation=self._isolation,
            timings=self._timings,
            clock=self._clock,
            tasks=tasks,
            taken_ports=lambda: [guest.port for guest in self._guests.values() if guest.port],
            changed=self._changed.set,
        )

    async def _follow_cluster(self) -> None:
        revision = self._cluster.revision
        while True:
            revision = await self._cluster.changed(revision, timeout_seconds=CHANGE_SECONDS)
            self._changed.set()

    async def _wait(self) -> None:
        deadlines = [at for guest in self._guests.values() if (at := guest.next_deadline()) is not None]
        if self.running:
            deadlines.append(self._next_look)
        if not self._is_caught_up():
            deadlines.append(self._clock() + CATCH_UP_LOOK_SECONDS)
        delay = max(0.0, min(deadlines) - self._clock()) if deadlines else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._changed.wait()

    def _tick(self, premises: Premises) -> None:
        now = self._clock()
        for number, guest in list(self._guests.items()):
            guest.tick()
            if guest.is_gone:
                del self._guests[number]
                self._one_is_gone.set()
                self._tidy_logs(guest.launch.folder_name)
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            for guest in self._guests.values():
                guest.log.notice_growth()
            if self.running and (self._memory_look is None or self._memory_look.done()):
                self._memory_look = premises.tasks.create_task(self._look_at_memory())

    async def _look_at_memory(self) -> None:
        children = await asyncio.to_thread(children_of_all)
        for guest in list(self._guests.values()):
            await guest.look_at_memory(children)

    def _publish(self) -> None:
        rows = tuple(self._guests[number].report() for number in sorted(self._guests))
        if rows != self._reported:
            self._reported = rows
            self._on_reports(rows)

    # --- what should run

    def _reconcile(self, premises: Premises) -> None:
        if self._is_stopping:
            return
        if self._is_caught_up():
            self._last_leader_at = self._clock()
            self._follow_registry(premises)
            self._forget_destroyed()
        elif self._cluster.leader_id is not None:
            self._last_leader_at = self._clock()
        elif self._clock() - self._last_leader_at >= self._leaderless_seconds:
            self._start_last_known(premises)

    def _follow_registry(self, premises: Premises) -> None:
        wanted = {
            one.number: one for one in self._cluster.state.registry.placements_on(self._cluster.node_id)
        }
        for number, guest in list(self._guests.items()):
            if number not in wanted:
                guest.stop()
            elif wanted[number].app != guest.launch.placement.app:
                guest.rename(wanted[number].app)
            else:
                guest.look_for_slug()
        for number in [number for number in self._ended if number not in wanted]:
            premises.tasks.create_task(self._remove(self._directory / str(number)))
            del self._ended[number]
        for number, placement in wanted.items():
            if number not in self._guests and (launch := self._launch(placement)) is not None:
                self._begin(launch, premises)

    def _launch(self, placement: Placement) -> Launch | None:
        registry = self._cluster.state.registry
        app = registry.app(placement.app)
        release = registry.release(placement.app, placement.version)
        if app is None or release is None:
            return None
        run = registry.cron_run(placement.number)
        command = release.cron_command(run.ordinal) if run else None
        command = command or release.process_types.get(placement.process_type)
        if command is None:
            return None
        return Launch(
            placement=placement,
            slug_digest=digest_for_here(self._cluster, release),
            command=command,
            config=release.config,
            health_checks=release.health_checks.get(placement.process_type, ()),
            folder=app.folder,
            is_cron=run is not None,
        )

    def _begin(self, launch: Launch, premises: Premises) -> None:
        number = launch.placement.number
        guest = self._guests[number] = Guest(launch, premises)
        ended = self._ended.pop(number, None)
        if ended is not None:
            code = exit_code_in(self._directory / str(number) / STATUS_NAME)
            if launch.runs_once:
                guest.found_ended(code)
                return
            known = "nobody saw how" if code is None else f"with status {code}"
            guest.log.say(f"It ended while the node was away ({known}) and is started again")
        guest.begin()

    def _start_last_known(self, premises: Premises) -> None:
        """No leader since this process began: better an old release than none."""
        for record in list(self._ended.values()):
            if record.launch.listens:
                logger.warning(
                    "no leader for long, starting what ran last app=%s dyno=%s",
                    record.launch.placement.app,
                    record.launch.placement.dyno,
                )
                self._begin(record.launch, premises)

    # --- what runs already

    async def _find_running(self, premises: Premises) -> None:
        for folder, record in await asyncio.to_thread(lambda: list(read_records(self._directory))):
            if record is None or folder.name != str(record.launch.placement.number):
                end_leftovers(folder / STATUS_NAME)
                await self._remove(folder)
                continue
            process = DynoProcess.find(record.process, folder / STATUS_NAME)
            if process is None:
                if record.process.boot_id == boot_id():  # else these numbers are others' by now
                    end_leftovers(folder / STATUS_NAME)
                self._ended[record.launch.placement.number] = record
                continue
            guest = self._guests[record.launch.placement.number] = Guest(record.launch, premises)
            await asyncio.to_thread(guest.open_own_port, record.port)
            guest.adopt(record, process)
            logger.info(
                "dyno found running app=%s dyno=%s", record.launch.placement.app, record.launch.placement.dyno
            )

    async def _remove(self, folder: Path) -> None:
        await asyncio.to_thread(remove_folder, folder)

    # --- logs

    def _forget_destroyed(self) -> None:
        """The log of an app ends with the app, also where none of its dynos ran at the end."""
        apps = {app.folder_name: app.created_index for app in self._cluster.state.registry.apps()}
        if apps == self._apps:
            return
        known = _folders_in(self._log_directory) if self._apps is None else self._apps
        self._apps = apps
        for folder in known:
            if known[folder] != apps.get(folder):
                self._tidy_logs(folder)

    def _tidy_logs(self, folder: str) -> None:
        """Delete the oldest logs of an app over its bound, all of them when it was destroyed; but not those
        of dynos that are still here.
        """
        keep = frozenset(guest.log.path for guest in self._guests.values())
        apps = self._cluster.state.registry.apps()
        is_destroyed = self._is_caught_up() and not any(app.folder_name == folder for app in apps)
        most_bytes = 0 if is_destroyed else self._cluster.settings.limits.log_bytes
        try:
            remove_surplus(self._log_directory, folder, most_bytes=most_bytes, keep=keep)
            if is_destroyed:
                with contextlib.suppress(OSError):  # one of its dynos is still here: after that one's end
                    (self._log_directory / folder).rmdir()
        except OSError as error:  # a disk that is read-only now, say
            logger.warning("logs not deleted folder=%s reason=%s", folder, error)


def _folders_in(directory: Path) -> dict[str, int]:
    """Their names, of apps of which nothing else is known yet."""
    try:
        return {folder.name: -1 for folder in directory.iterdir()}
    except OSError:
        return {}
