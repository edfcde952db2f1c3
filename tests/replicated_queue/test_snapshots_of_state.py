"""A state machine in chunks and back: nothing is forgotten, and commands go on meanwhile (checklist 1.28, 3.18)."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from random import Random
from typing import Any

import msgpack
import pytest

from replicated_queue.errors import MalformedMessage, QueueError, UnknownVersion
from replicated_queue.interfaces import CUT
from replicated_queue.parts import CHUNK_ROWS, Part, restoring, snapshot_of
from replicated_queue.queue import carried
from replicated_queue.queue.codec import command_values
from replicated_queue.queue.commands import Purge, Put, Reserve
from replicated_queue.queue.finished_jobs import FinishedJob
from replicated_queue.queue.job import JobRecord
from replicated_queue.queue.priority_queue import PriorityQueue
from replicated_queue.queue.topic_settings import TopicSettings
from replicated_queue.queue_state import QueueStateMachine
from replicated_queue.request_codec import encode_bundle
from replicated_queue.sessions import Bundle, Sessions
from tests.replicated_queue.test_queue_properties import LIMITS, random_command


def finish(restoration: Generator[None, None, Callable[[], None]]) -> None:
    """Take all steps at once."""
    while True:
        try:
            next(restoration)
        except StopIteration as end:
            end.value()
            return


def carried_over(parts: Mapping[str, Part], others: Mapping[str, Part]) -> None:
    finish(restoring(others, [chunk for chunk in snapshot_of(parts) if chunk != CUT]))


class Life:
    """A state machine whose log goes on while a snapshot is taken."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.machine = self.fresh()
        self.log: list[tuple[bytes, int]] = []
        self.results: list[bytes] = []
        self.now = 0

    @staticmethod
    def fresh() -> QueueStateMachine:
        return QueueStateMachine(PriorityQueue(LIMITS), Sessions(max_sessions=6, max_single_shots=5))

    @property
    def parts(self) -> Mapping[str, Part]:
        return self.machine._parts()

    def step(self) -> None:
        random = self.random
        self.now += random.choice((0, 0, 1, 20))
        requests: list[object] = []
        for _ in range(random.choice((1, 1, 3))):
            sequence = random.randrange(1 + len(self.log) // 4, 5 + len(self.log) // 2)
            command = random_command(random, self.machine.queue)
            requests += [random.randrange(3), sequence, command_values(command)]
        bundle = Bundle(
            "queue",
            requests,
            random.choice((None, bytes([random.randrange(9)]) * 16)),
            since=random.randrange(len(self.log) + 1),
            single_shot=random.random() < 0.3,
        )
        self.log.append((encode_bundle(bundle), self.now))
        self.results.append(self.apply_to(self.machine, len(self.log)))

    def apply_to(self, machine: QueueStateMachine, index: int) -> Sequence[object]:
        entry, now = self.log[index - 1]
        return machine.apply(entry, index=index, now=now)


@pytest.mark.parametrize("seed", range(60))
def test_a_restored_state_is_equal_and_does_the_same_with_all_that_follows(seed: int) -> None:
    life = Life(seed)
    for _ in range(200):
        life.step()

    chunks: list[bytes] = []
    digest, cut = b"", 0
    for chunk in snapshot_of(life.parts, chunk_rows=1):
        if chunk == CUT:
            digest, cut = life.machine.digest(), len(life.log)
        else:
            chunks.append(chunk)
        if life.random.random() < 0.5:
            life.step()  # also before the cut, and after it
    other = life.fresh()
    finish(other.restore(chunks))

    assert cut and other.digest() == digest
    for _ in range(150):
        life.step()
    assert [life.apply_to(other, index) for index in range(cut + 1, len(life.log) + 1)] == life.results[cut:]
    assert other.digest() == life.machine.digest()


def test_the_state_stays_as_it_is_until_the_restoration_ends_and_a_broken_one_changes_nothing() -> None:
    life, other = Life(1), Life(2)
    for _ in range(100):
        life.step()
        other.step()
    chunks = [chunk for chunk in life.machine.snapshot() if chunk != CUT]
    before = other.machine.digest()

    restoration = other.machine.restore(chunks)
    next(restoration)

    assert other.machine.digest() == before
    for broken in ([b"\xc1"], [*chunks[:2], b"\x01"], [chunks[1]], [chunks[0], b"\x92\xa5other\x90"]):
        with pytest.raises(QueueError):
            finish(other.machine.restore(broken))
    assert other.machine.digest() == before


def distinct(names: Iterable[str]) -> dict[str, Any]:
    """A different value for each name."""
    return {name: 1_000 + place for place, name in enumerate(names)}


def test_every_field_of_a_job_a_finished_job_and_a_topic_is_carried() -> None:
    """Also fields that are added tomorrow: nobody is asked to remember this place."""
    queue, other = PriorityQueue(), PriorityQueue()
    queue.apply(Put("mail", b"data"), index=1, now=0)
    queue.apply(Put("bills", b"data"), index=2, now=0)
    job, topic = queue.jobs[1], queue.topics["mail"]
    for name, value in distinct(JobRecord.__slots__).items():
        if name not in ("id", "topic", "state", "needs", "reasons"):
            setattr(job, name, value)
    job.reasons = ("one", "two")
    for name, value in distinct(carried.TOPIC_FIELDS).items():
        if name not in ("name", "settings"):
            setattr(topic, name, value)
    topic.settings = TopicSettings(max_jobs=5, ageing_ms=7, is_draining=True)
    done = FinishedJob(**{**distinct(carried.FINISHED_FIELDS), "result": b"result", "dedupe_key": None})
    queue.finished.add(done)

    carried_over({"queue": queue}, {"queue": other})

    assert other.jobs[1].row() == job.row()
    restored = other.topics["mail"]
    assert [getattr(restored, name) for name in carried.TOPIC_FIELDS] == [
        getattr(topic, name) for name in carried.TOPIC_FIELDS
    ]
    assert other.finished.all() == (done,)


def test_every_number_of_the_queue_and_of_the_sessions_is_carried() -> None:
    queue, sessions, other = PriorityQueue(), Sessions(), QueueStateMachine()
    queue._book.new_counter = 7  # type: ignore[attr-defined]
    other.queue._book.new_counter = 0  # type: ignore[attr-defined]
    for name in [name for name, value in vars(sessions).items() if type(value) is int and "_max" not in name]:
        setattr(sessions, name, 7)
    queue._last_id = 9

    rebuild = other.queue.rebuild()
    rebuild._book.new_counter = 0  # type: ignore[attr-defined]
    for row in (*queue.early_rows(), *queue.rows()):
        rebuild.take(row)
    list(rebuild.link())
    rebuild.become()
    carried_over({"sessions": sessions}, {"sessions": other.sessions})

    assert other.queue._book.new_counter == 7  # type: ignore[attr-defined]
    assert other.queue._last_id == 9
    assert vars(other.sessions) == vars(sessions)


def test_a_table_that_nobody_said_how_to_carry_refuses_to_be_forgotten() -> None:
    queue = PriorityQueue()
    queue._book.new_table = {}  # type: ignore[attr-defined]

    with pytest.raises(AssertionError, match="new_table"):
        list(snapshot_of({"queue": queue}))


def test_an_older_program_gives_a_job_without_new_fields_their_defaults_and_a_newer_ones_are_skipped() -> (
    None
):
    queue, other = PriorityQueue(), PriorityQueue()
    queue.apply(Put("mail", b"data", max_attempts=3), index=1, now=0)
    rebuild = other.rebuild()

    for row in (*queue.early_rows(), *queue.rows()):
        if row[0] == "job fields":
            row = ["job fields", ["not_known_here" if name == "max_attempts" else name for name in row[1]]]
        rebuild.take(row)
    list(rebuild.link())
    rebuild.become()

    assert other.jobs[1].max_attempts == 0 and other.jobs[1].data == b"data"


def test_a_large_state_comes_in_short_steps_and_so_does_its_restoration() -> None:
    """Checklist 3.18: each step is bounded by rows, not by time, so that this test means the same everywhere."""
    queue, other = PriorityQueue(), PriorityQueue()
    for index in range(1, 3 * CHUNK_ROWS + 1):
        queue.apply(Put("mail", b"data"), index=index, now=0)
    steps = 0

    chunks = [chunk for chunk in snapshot_of({"queue": queue}) if chunk != CUT]
    restoration = restoring({"queue": other}, chunks)
    while True:
        try:
            next(restoration)
            steps += 1
        except StopIteration as end:
            end.value()
            break

    assert len(chunks) > 4 and steps > len(chunks) + 1
    assert other.digest() == queue.digest()


def test_at_the_moment_of_the_snapshot_only_topics_that_just_changed_are_told() -> None:
    """Checklist 3.18: tens of thousands of topics are told while commands go on."""
    queue, other = PriorityQueue(), PriorityQueue()
    for index in range(1, 2_001):
        queue.apply(Put(f"topic-{index}", b""), index=index, now=0)
    early = queue.early_rows()
    rows = [next(early) for _ in range(3_000)]  # all jobs, and half of the topics
    queue.apply(Reserve(("topic-1", "topic-2000")), index=2_001, now=0)
    queue.apply(Put("new", b""), index=2_002, now=0)
    queue.apply(Purge("topic-5"), index=2_003, now=0)
    rows += early

    late = list(queue.rows())

    told = [
        row[1] if row[0] == "topic gone" else row[1]["name"] for row in late if row[0].startswith("topic")
    ]
    assert told == ["new", "topic-1", "topic-5"]
    rebuild = other.rebuild()
    for row in rows + late:
        rebuild.take(msgpack.unpackb(msgpack.packb(row)))
    assert list(rebuild.link()) is not None
    rebuild.become()
    assert other.digest() == queue.digest()


def test_a_snapshot_that_is_let_go_of_notes_nothing_any_more() -> None:
    queue = PriorityQueue()
    for index in range(1, 10):
        queue.apply(Put("mail", b"data"), index=index, now=0)
    chunks = snapshot_of({"queue": queue}, chunk_rows=1)
    for _ in range(4):
        next(chunks)

    chunks.close()  # type: ignore[attr-defined]
    queue.apply(Reserve(("mail",)), index=10, now=0)

    assert queue._book.touched is None


def test_a_part_of_a_newer_program_is_not_skipped() -> None:
    queue = PriorityQueue()
    chunks = [chunk for chunk in snapshot_of({"queue": queue, "newer": queue}) if chunk != CUT]

    with pytest.raises((UnknownVersion, MalformedMessage)):
        finish(restoring({"queue": PriorityQueue()}, chunks))
