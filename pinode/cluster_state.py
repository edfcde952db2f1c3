"""What all nodes agree on: queue, registry of apps, people and nodes, as one state machine over one log.

One entry may change several of them: a build is requested together with its job, and its job is acked
together with the release that came of it. Requests are done once (see `replicated_queue.sessions`).
"""

import dataclasses
import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from pinode import __version__
from pinode.apps import codec as apps_codec
from pinode.apps.build import BUILD_TOPIC, Build
from pinode.apps.commands import RegistryCommand
from pinode.apps.errors import BuildQueueFull, LeaseLost, MalformedCommand, Refused
from pinode.apps.registry import Registry
from pinode.errors import Conflict
from pinode.feature_level import FEATURE_LEVEL
from pinode.nodes import codec as nodes_codec
from pinode.nodes.commands import NodeCommand
from pinode.nodes.node import RegisteredNode
from pinode.nodes.node_table import NodeTable
from pinode.people import codec as people_codec
from pinode.people.commands import PeopleCommand
from pinode.people.people import People
from replicated_queue import errors as queue_errors
from replicated_queue.errors import MalformedMessage, Refusal, UnknownVersion
from replicated_queue.interfaces import KIND_BYTES
from replicated_queue.parts import Part, restoring, snapshot_of, whole
from replicated_queue.queue import codec as queue_codec
from replicated_queue.queue.commands import (
    LOW_PRIORITY,
    Ack,
    AckMany,
    Bury,
    Cancel,
    Command,
    Created,
    ExpireLease,
    GiveBack,
    Kick,
    KickJob,
    Nack,
    Purge,
    Put,
    Reserve,
)
from replicated_queue.queue.job import JobRecord
from replicated_queue.queue.limits import QueueLimits
from replicated_queue.queue.priority_queue import PriorityQueue
from replicated_queue.queue_state import number_of
from replicated_queue.request_codec import decode_entry
from replicated_queue.sessions import Answer, Bundle, Sessions

QUEUE, REGISTRY, PEOPLE, NODES = "queue", "registry", "people", "nodes"  # domains
ANSWERS = "answers"  # a domain without a state: what is said under a key is said again to who repeats it
MOVE_NO_BUILD = (Put, Reserve)  # a worker says itself when it begins
BUILD_LEASE_MS = 12_000  # so long a build waits when its node was killed; renewed every 4 s, in memory alone
BUILD_ATTEMPTS = 3
SAID_BYTES = 16 * 1024  # of an answer that is remembered
VARIANT_PRIORITY = LOW_PRIORITY + 1  # after what somebody waits for


class ProgramTooOld(Conflict):
    """The others agree on what this program does not know: to guess would part the replicas."""

    code = "program_too_old"

    def __init__(self, *, level: int, needed: int) -> None:
        super().__init__(
            f"the pinode on this node is too old for its cluster: it supports feature level {level}, "
            f"and the cluster is at {needed}.",
            hint="Install the version here that the other nodes run (`pinode nodes` on one of them shows it) "
            "and start it again. What this node holds is kept.",
        )


AgreedCommand = RegistryCommand | PeopleCommand | NodeCommand


class ClusterState:
    """The `StateMachine` of pinode. Everything may be read by everybody; only `apply` changes it."""

    def __init__(
        self,
        *,
        founders: Iterable[RegisteredNode] = (),
        setup_code_hash: bytes = b"",
        queue_limits: QueueLimits = QueueLimits(),  # noqa: B008 (frozen)
        feature_level: int = FEATURE_LEVEL,
    ) -> None:
        """`feature_level`: the highest this program supports; beyond it, it applies nothing."""
        self._feature_level = feature_level
        self.queue = PriorityQueue(queue_limits)
        self.registry = Registry(_JobsOfBuilds(self.queue))
        self.people = People(setup_code_hash=setup_code_hash)
        self.nodes = NodeTable(founders)
        self.sessions = Sessions()
        self._kind_of_digest = _kind_of(self.registry, self.people, self.nodes)
        self.decisions = 0  # counts what was more than a move of a job in the queue

    def apply(
        self, command: bytes, *, index: int, now: int, parts: Sequence[Bundle] = ()
    ) -> Sequence[Answer]:
        """Run one committed entry; `replicated_queue.sessions.open_answer` opens a single answer."""
        answers: list[Answer] = []
        for bundle in parts or decode_entry(command):
            run = partial(self._runner(bundle.domain), index, now)
            answers += self.sessions.apply(bundle, index=index, now=now, run=run, first=len(answers))
        return answers

    def _runner(self, domain: str) -> Callable[[int, int, Any, int], Answer]:
        match domain:
            case "queue":
                return self._apply_to_queue
            case "registry":
                return self._apply_to_registry
            case "people":
                return self._apply_to_people
            case "nodes":
                return self._apply_to_nodes
            case "answers":
                return _as_it_is
            case _:
                raise UnknownVersion(domain)

    def snapshot(self) -> Iterator[bytes]:
        """See `StateMachine`."""
        return snapshot_of(self._parts())

    def restore(self, chunks: Iterable[bytes]) -> Generator[None, None, Callable[[], None]]:
        """See `StateMachine`."""
        become = yield from restoring(self._parts(), chunks)

        def become_and_check() -> None:
            become()
            self._check_level()

        return become_and_check

    def _parts(self) -> dict[str, Part]:
        return {
            QUEUE: self.queue,
            REGISTRY: self.registry,
            PEOPLE: self.people,
            NODES: self.nodes,
            "sessions": self.sessions,
        }

    def digest(self) -> bytes:
        """Hash of everything; equal on all nodes at one applied index."""
        return whole(self.digest_steps())

    def digest_steps(self) -> Generator[None, None, bytes]:
        """See `StateMachine`. Of programs whose records have other fields the digests are not compared."""
        hashed = hashlib.sha256((yield from self.queue.digest_steps()))
        for part in (self.registry, self.people, self.nodes, self.sessions):
            yield
            hashed.update(part.digest())
        return self._kind_of_digest + hashed.digest()

    def _apply_to_queue(self, index: int, now: int, command: Any, place: int) -> Answer:
        try:
            if type(command) is list:
                command = queue_codec.command_of(command)
            result = self.queue.apply(command, index=number_of(index, place), now=now)
        except (Refusal, MalformedMessage) as refusal:
            return queue_codec.refusal_values(refusal)
        if type(command) not in MOVE_NO_BUILD:
            self._follow(command, index=index, now=now)
        return queue_codec.result_values(result)

    def _apply_to_registry(self, index: int, now: int, encoded: bytes, place: int) -> bytes:
        assert place == 0, "ids are indexes of the log: a change of the registry is alone in its entry"
        self.decisions += 1
        try:
            result = self.registry.apply(apps_codec.decode_command(encoded), index=index, now=now)
        except Refused as refusal:
            return apps_codec.encode_refusal(refusal)
        return apps_codec.encode_result(result)

    def _apply_to_people(self, index: int, now: int, encoded: bytes, place: int) -> bytes:
        self.decisions += 1
        try:
            self.people.apply(people_codec.decode_command(encoded), index=index, now=now)
        except Refused as refusal:
            return apps_codec.encode_refusal(refusal)
        return apps_codec.encode_result(None)

    def _apply_to_nodes(self, index: int, now: int, encoded: bytes, place: int) -> bytes:
        self.decisions += 1
        try:
            result = self.nodes.apply(nodes_codec.decode_command(encoded), now=now)
        except Refused as refusal:
            return apps_codec.encode_refusal(refusal)
        self._check_level()
        return apps_codec.encode_result(result)

    def _check_level(self) -> None:
        if self.nodes.feature_level > self._feature_level:
            raise ProgramTooOld(level=self._feature_level, needed=self.nodes.feature_level)

    def _follow(self, command: Command, *, index: int, now: int) -> None:
        """Tell the builds whose jobs the queue has moved by itself."""
        match command:
            case ExpireLease() | Nack() | Bury() | Ack() | Cancel() | KickJob():
                self._follow_job(command.job_id, index=index, now=now)
            case AckMany() | GiveBack():
                for job_id, _ in command.leases:
                    self._follow_job(job_id, index=index, now=now)
            case Kick(topic=topic) | Purge(topic=topic) if topic == BUILD_TOPIC:
                for build in self.registry.unfinished_builds():
                    if build.job_id is not None:
                        self._follow_job(build.job_id, index=index, now=now)
            case _:
                pass

    def _follow_job(self, job_id: int, *, index: int, now: int) -> None:
        if self.registry.build_of_job(job_id) is None:
            return
        self.decisions += 1
        job: JobRecord | None = self.queue.jobs.get(job_id)
        state, attempts = (job.state, job.attempts) if job is not None else ("gone", 0)
        self.registry.job_changed(job_id, state=state, attempts=attempts, index=index, now=now)


def _as_it_is(index: int, now: int, said: bytes, place: int) -> bytes:
    return said


def check_said(said: object) -> None:
    """Whether it can be said in the domain of answers. Raises `MalformedMessage`."""
    if type(said) is not bytes or len(said) > SAID_BYTES:
        raise MalformedMessage("an answer that is none, or is too long to be remembered")


def _kind_of(*parts: Registry | People | NodeTable) -> bytes:
    """What programs must have in common so that equal states have equal digests: all fields of records."""
    kinds = [kind for part in parts for kind in part.rebuild().kinds.values()]
    shapes = sorted((kind.__name__, *(field.name for field in dataclasses.fields(kind))) for kind in kinds)
    return hashlib.sha256(f"{__version__} {shapes}".encode()).digest()[:KIND_BYTES]


class _JobsOfBuilds:
    """`BuildJobs` on the queue of the same state machine."""

    def __init__(self, queue: PriorityQueue) -> None:
        self._queue = queue

    def put(self, build: Build, *, index: int, now: int) -> int:
        job = Put(
            topic=BUILD_TOPIC,
            data=str(build.id).encode(),
            priority=LOW_PRIORITY if build.variant_of is None else VARIANT_PRIORITY,
            needs=build.needs,
            lease_ms=BUILD_LEASE_MS,
            max_attempts=BUILD_ATTEMPTS,
            platform=True,
        )
        try:
            created = self._queue.apply(job, index=index, now=now)
        except queue_errors.QueueFull as full:
            raise BuildQueueFull(reason=str(full)) from full
        assert isinstance(created, Created), created
        return created.job_ids[0]

    def check_lease(self, job_id: int, token: int, *, build_id: int) -> None:
        try:
            self._queue.check_lease(job_id, token)
        except Refusal as lost:
            raise LeaseLost(build_id=build_id) from lost

    def ack(self, job_id: int, token: int, *, index: int, now: int) -> None:
        self._queue.apply(Ack(job_id, token, platform=True), index=index, now=now)

    def cancel(self, job_id: int, *, index: int, now: int) -> None:
        if job_id in self._queue.jobs:
            self._queue.apply(Cancel(job_id, force=True, platform=True), index=index, now=now)


def encode_command(command: AgreedCommand) -> tuple[str, bytes]:
    """Domain and bytes of a command, to be proposed. Raises `MalformedCommand` for what no bytes can say."""
    if isinstance(command, RegistryCommand):
        return REGISTRY, apps_codec.encode_command(command)
    if isinstance(command, NodeCommand):
        return NODES, nodes_codec.encode_command(command)
    return PEOPLE, people_codec.encode_command(command)


def decode_result(domain: str, result: Answer) -> Any:
    """What `apply` answered to a command of this domain; raises its refusal as it was raised there."""
    match domain:
        case "registry":
            return apps_codec.decode_outcome(result)
        case "people":
            return people_codec.decode_outcome(result)
        case "nodes":
            return nodes_codec.decode_outcome(result)
        case "queue":
            return queue_codec.result_of(result)
        case _:
            raise MalformedCommand(reason=f"no domain {domain!r}")


def refusal_of(result: Answer) -> Exception | None:
    """The refusal that stands in the place of a result, whatever the domain; None if none does."""
    if type(result) is not bytes:
        return queue_codec.error_of(result) if queue_codec.is_refusal(result) else None
    try:
        apps_codec.unpack_outcome(result, people_codec.REFUSALS | nodes_codec.REFUSALS)
    except Refused as refused:
        return refused
    except MalformedCommand:
        pass  # something said in the domain of answers
    return None
