"""A dyno of this node: carries out what its `Dyno` decides, and tells it what came of that."""

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pinode.apps.health_check import HealthCheck
from pinode.apps.observed import DynoReport
from pinode.cluster import Cluster
from pinode.dynos.check_command import ask_command
from pinode.dynos.dyno import (
    Announce,
    Conclude,
    Dyno,
    DynoTimings,
    Effect,
    Forget,
    Kill,
    Prepare,
    Probe,
    Start,
    Terminate,
)
from pinode.dynos.dyno_record import DynoRecord, Launch, write_record
from pinode.dynos.health import Health, is_listening, look
from pinode.dynos.launch import APP_FOLDER, digest_for, environment, is_free, sandbox_spec
from pinode.dynos.memory_use import taken_bytes, too_much
from pinode.dynos.once_dyno import OnceDyno, cron_run, release_command
from pinode.dynos.once_entries import Begun, agree_on_end, agree_on_start
from pinode.dynos.ports import choose_port
from pinode.dynos.process import STATUS_NAME, DynoProcess, end_leftovers
from pinode.logs.dyno_log import DynoLog
from pinode.sandbox.interpreters import settle_interpreter
from pinode.sandbox.leftovers import remove_folder
from pinode.sandbox.limits import uid_of_app
from pinode.sandbox.sandbox import Isolation
from pinode.sandbox.spec import SandboxError, SandboxSpec
from pinode.slugs.replication import SlugReplication
from pinode.slugs.slug_store import SlugStore

logger = logging.getLogger(__name__)

CRASH_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """What all dynos of a node share."""

    cluster: Cluster
    directory: Path
    log_directory: Path
    slugs: SlugStore
    replication: SlugReplication
    isolation: Isolation
    timings: DynoTimings
    clock: Callable[[], float]
    tasks: asyncio.TaskGroup
    taken_ports: Callable[[], Collection[int]]
    changed: Callable[[], None]  # a dyno's state is another now


class Guest:
    """The shell around one `Dyno`."""

    def __init__(self, launch: Launch, premises: Premises) -> None:
        settings = premises.cluster.settings
        placement = launch.placement
        self.launch = launch
        self.port: int | None = None
        self._premises = premises
        self._folder = premises.directory / str(placement.number)
        self._dyno = _dyno_of(launch, premises.timings)
        self._process: DynoProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._since_ms = premises.cluster.now_ms
        self._shown = self._dyno.state
        self.log = DynoLog(
            premises.log_directory,
            app=launch.folder_name,
            dyno=placement.dyno,
            placement=placement.number,
            most_bytes=settings.limits.log_bytes // 2,
        )

    # --- for the supervisor

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it is left."""
        return self._dyno.is_gone

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def begin(self) -> None:
        """Start it."""
        self._perform(self._dyno.begin(self._premises.clock()))

    def open_own_port(self, port: int) -> None:
        """Let it reach itself there, where dynos' ports are closed to dynos; some milliseconds of waiting."""
        isolation = self._premises.isolation
        if isolation.own_uids:
            isolation.firewall.give_port(uid_of_app(self.launch.folder_name), port)

    def adopt(self, record: DynoRecord, process: DynoProcess) -> None:
        """Take over the process that was found."""
        self.port = record.port
        self._process = process
        process.watch(self._on_exit)
        listening = self.launch.listens and is_listening(process, record.port)
        effects = self._dyno.adopt(self._premises.clock(), is_listening=listening, restarts=record.restarts)
        self._perform(effects)

    def found_ended(self, exit_code: int | None) -> None:
        """It is a command that runs once, and ended while no process of this node watched."""
        self._happened(self._dyno.exited(exit_code, self.log.last_lines(CRASH_LINES), self._premises.clock()))

    def stop(self, *, drain: bool = True) -> None:
        """End it."""
        self._perform(self._dyno.stop(self._premises.clock(), drain=drain))

    def rename(self, app: str) -> None:
        """Its app is called otherwise now. The process goes on, and learns it when it is started again."""
        placement = replace(self.launch.placement, app=app)
        self.launch = replace(self.launch, placement=placement, folder=self.launch.folder_name)
        self._dyno.app = app

    def look_for_slug(self) -> None:
        """If it waits to be started again, and another slug fits this node by now, do not wait."""
        if (
            self._process is None
            and isinstance(self._dyno, Dyno)
            and digest_for(self.launch, self._premises.cluster) != self.launch.slug_digest
        ):
            self._perform(self._dyno.may_have_another_slug(self._premises.clock()))

    async def look_at_memory(self, children: Mapping[int, Sequence[int]]) -> None:
        """End it if it takes more than it may; `children` are those of all processes."""
        process, most = self._process, self._premises.cluster.settings.limits.dyno_memory_bytes
        if process is None:
            return
        taken = await asyncio.to_thread(lambda: taken_bytes(process.pids_among(children), most=most))
        if taken > most and process is self._process:
            self._happened(self._dyno.took_too_much(too_much(taken, most), self._premises.clock()))

    def tick(self) -> None:
        """Do what is due."""
        self._perform(self._dyno.tick(self._premises.clock()))

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._dyno.next_deadline()

    def let_go(self) -> None:
        """The node process ends, the dyno goes on."""
        if self._process is not None:
            self._process.close()

    def report(self) -> DynoReport:
        """Its row."""
        placement, dyno = self.launch.placement, self._dyno
        return DynoReport(
            placement=placement.number,
            app=placement.app,
            version=placement.version,
            process_type=placement.process_type,
            ordinal=placement.ordinal,
            node_id=placement.node_id,
            state=dyno.state,
            port=self.port if dyno.state == "up" and self.launch.listens else None,
            restarts=dyno.restarts,
            exit_code=dyno.exit_code,
            detail=dyno.detail,
            last_lines=dyno.last_lines if dyno.state in ("crashed", "exited", "failed") else (),
            since_ms=self._since_ms,
        )

    # --- effects

    def _happened(self, effects: list[Effect]) -> None:
        """An event came outside of the supervisor's round: there may be something new to wait for."""
        self._perform(effects)
        self._premises.changed()

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Prepare():
                    self._run(self._prepare())
                case Start():
                    self._run(self._start())
                case Probe(is_last=is_last):
                    self._run(self._probe(is_last))
                case Terminate() if self._process is not None:
                    self._premises.tasks.create_task(asyncio.to_thread(self._process.terminate))
                case Kill() if self._process is not None:
                    self._premises.tasks.create_task(asyncio.to_thread(self._process.kill))
                case Announce():
                    self._run(self._announce())
                case Conclude(failure=failure):
                    self._premises.tasks.create_task(self._conclude(failure))
                case Forget():
                    self._premises.tasks.create_task(self._forget())
        self._note_state()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._premises.tasks.create_task(work)

    def _note_state(self) -> None:
        state = self._dyno.state
        if state != self._shown:
            self._shown = state
            self._since_ms = self._premises.cluster.now_ms
            placement = self.launch.placement
            logger.info(
                "dyno %s app=%s dyno=%s placement=%d%s",
                state,
                placement.app,
                placement.dyno,
                placement.number,
                f" reason={self._dyno.detail}" if self._dyno.detail else "",
            )
            self.log.say(f"State is {state}" + (f": {self._dyno.detail}" if self._dyno.detail else ""))

    async def _prepare(self) -> None:
        """Have the slug here, and the app's folder as it was built."""
        slugs, digest = self._premises.slugs, digest_for(self.launch, self._premises.cluster)
        self.launch = replace(self.launch, slug_digest=digest)
        owner = uid_of_app(self.launch.folder_name) if self._premises.isolation.own_uids else None
        app = self._folder / APP_FOLDER
        try:
            await asyncio.to_thread(self._clear)
            if not slugs.has(digest):
                await self._premises.replication.fetch(digest)
            await slugs.unpack(digest, app, owner=owner)
            await asyncio.to_thread(settle_interpreter, app)
        except Exception as error:  # whatever is wrong with this slug or its holders, the other dynos go on
            logger.warning("dyno not prepared placement=%d reason=%s", self.launch.placement.number, error)
            effects = self._dyno.prepare_failed(str(error), self._premises.clock())
        else:
            effects = self._dyno.prepared(self._premises.clock())
        self._happened(effects)

    def _clear(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_folder(self._folder / APP_FOLDER)

    async def _start(self) -> None:
        try:
            self.port = self._choose_port()
            process = await asyncio.to_thread(self._make_process, self.port)
        except Exception as error:  # whatever is wrong with this app, the other dynos go on
            logger.warning("dyno not started placement=%d", self.launch.placement.number, exc_info=True)
            self._happened(self._dyno.start_failed(f"could not be started: {error}", self._premises.clock()))
            return
        self._process = process
        process.watch(self._on_exit)
        self._happened(self._dyno.started(self._premises.clock()))

    async def _announce(self) -> None:
        assert isinstance(self._dyno, OnceDyno)
        begun = await agree_on_start(self._premises.cluster, self.launch, is_wanted=lambda: not self.is_gone)
        now = self._premises.clock()
        if begun is Begun.AGREED:
            self._happened(self._dyno.announced(now))
        elif begun is Begun.BEFORE:
            self._happened(self._dyno.has_begun_before(now))

    async def _conclude(self, failure: str | None) -> None:
        await agree_on_end(
            self._premises.cluster,
            self.launch,
            exit_code=self._dyno.exit_code,
            failure=failure,
            last_lines=self._dyno.last_lines,
            is_wanted=lambda: not self.is_gone,
        )

    def _choose_port(self) -> int:
        return choose_port(
            self._premises.cluster.settings.listen.dyno_ports,
            first_choice=self.port,
            number=self.launch.placement.number,
            taken=set(self._premises.taken_ports()) - {self.port},
            is_free=is_free,
        )

    def _make_process(self, port: int) -> DynoProcess:
        premises = self._premises
        status = self._folder / STATUS_NAME
        status_fd = os.open(status, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        output = self.log.open()
        try:
            spec = self._spec(port, status_fd)
            self.open_own_port(port)
            process = DynoProcess.start(spec, premises.isolation, output=output, status=status)
        finally:
            os.close(status_fd)
            os.close(output)
        record = DynoRecord(
            launch=self.launch, process=process.record(), port=port, restarts=self._dyno.restarts
        )
        try:
            write_record(self._folder, record)
        except OSError:  # a full disk, say: what is not noted would run on unseen
            process.kill()
            process.close()
            raise
        return process

    def _spec(self, port: int, status_fd: int) -> SandboxSpec:
        cluster, isolation = self._premises.cluster, self._premises.isolation
        config = {name: cluster.reveal(value) for name, value in self.launch.config.values.items()}
        home = isolation.home(self._folder / APP_FOLDER)
        return sandbox_spec(
            self.launch,
            environment(self.launch, config, port=port, node_name=cluster.node_name, home=home),
            isolation,
            folder=self._folder,
            python_folder=cluster.settings.node.data_dir / "python",
            processes=cluster.settings.limits.dyno_processes,
            status_fd=status_fd,
        )

    async def _probe(self, is_last: bool) -> None:
        process, port = self._process, self.port
        if process is None or port is None:
            return
        assert isinstance(self._dyno, Dyno)
        host = f"{self.launch.placement.app}.{self._premises.cluster.settings.apps.domain}"
        checks = self.launch.health_checks
        health = await look(process, port=port, host=host, is_last=is_last, checks=checks)
        for check in (check for check in checks if check.command and health.answers):
            health = await self._ask_command(check, port)
            if not health.answers:
                break
        if process is not self._process:
            return
        now = self._premises.clock()
        if health.answers:
            self._happened(self._dyno.answered(now))
            return
        last_lines = self.log.last_lines(CRASH_LINES)
        tell = self._dyno.answered_wrongly if health.is_wrong_answer else self._dyno.did_not_answer
        self._happened(tell(health.reason, now, is_last=is_last, last_lines=last_lines))

    async def _ask_command(self, check: HealthCheck, port: int) -> Health:
        isolation = self._premises.isolation
        try:
            return await ask_command(check, partial(self._spec, port), isolation, self._folder)
        except (OSError, SandboxError) as error:  # a full disk here, say, is no fault of the app
            return Health(False, f"its health check could not be run: {error}")

    def _on_exit(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        exit_code = process.exit_code()
        process.close()
        end_leftovers(self._folder / STATUS_NAME)
        self.log.notice_growth()
        last_lines = self.log.last_lines(CRASH_LINES)
        self._happened(self._dyno.exited(exit_code, last_lines, self._premises.clock()))

    async def _forget(self) -> None:
        # What is being unpacked cannot be interrupted; what is being fetched ends within its deadlines.
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait({self._task})
        self.log.notice_growth()
        await asyncio.to_thread(remove_folder, self._folder)
        self._premises.changed()


def _dyno_of(launch: Launch, timings: DynoTimings) -> Dyno | OnceDyno:
    placement = launch.placement
    if launch.is_cron:
        return OnceDyno(cron_run(timings), app=placement.app, timings=timings)
    if launch.runs_once:
        return OnceDyno(release_command(placement.version, timings), app=placement.app, timings=timings)
    return Dyno(app=placement.app, timings=timings, listens=launch.listens, checks=launch.health_checks)
