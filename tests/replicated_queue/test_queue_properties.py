"""Random histories: whatever is asked, the queue agrees with a plain model and keeps its promises."""

import subprocess
import sys
from collections.abc import Callable
from random import Random

import pytest

from replicated_queue.errors import Refusal
from replicated_queue.queue.codec import command_of, command_values
from replicated_queue.queue.commands import (
    Ack,
    Bury,
    Cancel,
    Command,
    ExpireLease,
    GiveBack,
    Kick,
    KickJob,
    Nack,
    Pause,
    Purge,
    Put,
    Reserve,
    Reserved,
    ReserveJob,
    SetTopic,
)
from replicated_queue.queue.limits import QueueLimits
from replicated_queue.queue.priority_queue import PriorityQueue

LIMITS = QueueLimits(max_jobs=40, max_bytes=400, max_buried=5, max_finished=30, max_finished_bytes=60)
TOPICS = ("mail", "bills")


class Model:
    """Who may be next and who holds what, by looking at all jobs each time."""

    def __init__(self, queue: PriorityQueue) -> None:
        self.queue = queue
        self.holders: dict[int, int] = {}  # job → token
        self.highest_token: dict[int, int] = {}

    def expected_next(self, topics: tuple[str, ...], has: tuple[str, ...], now: int) -> int | None:
        ready = [
            job
            for job in self.queue.jobs.values()
            if job.topic in topics
            and set(job.needs) <= set(has)
            and self.queue.topics[job.topic].paused_until <= now
            and job.state_at(now) == "ready"
        ]
        plain = min(((job.priority, job.id) for job in ready if not job.ageing_ms), default=None)
        aged = min(((job.rank, job.id) for job in ready if job.ageing_ms), default=None)
        if plain is None or aged is None:
            found = plain or aged
            return found[1] if found is not None else None
        first, other = self.queue.jobs[plain[1]], self.queue.jobs[aged[1]]
        is_earlier = (first.created_ms + first.priority * other.ageing_ms, first.id) < aged
        return first.id if is_earlier else other.id


def random_command(random: Random, queue: PriorityQueue) -> Command:
    job_id = random.randrange(1, queue._last_id + 3)
    job = queue.jobs.get(job_id)
    token = job.token if job is not None and random.random() < 0.8 else random.randrange(300)
    topic = random.choice(TOPICS)
    makers: list[Callable[[], Command]] = [
        lambda: Put(
            topic,
            bytes(random.randrange(20)),
            random.randrange(4),
            random.choice((0, 0, 0, 50)),
            60_000,
            random.randrange(4),
            random.choice((None, None, "k1", "k2")),
            False,
            random.choice((0, 0, 20)),
            random.choice(((), (), ("arm",), ("go", "arm"))),
            random.random() < 0.5,
        ),
        lambda: Reserve(
            random.choice((TOPICS, (topic,))),
            count=random.choice((1, 1, 1, 3)),
            has=random.choice(((), ("arm",), ("arm", "go"))),
        ),
        lambda: Ack(job_id, token, bytes(random.randrange(10))),
        lambda: Nack(job_id, token, random.choice((0, 30, None)), "why"),
        lambda: Bury(job_id, token),
        lambda: Kick(topic, random.randrange(4)),
        lambda: KickJob(job_id),
        lambda: Cancel(job_id, random.choice((None, token)), random.random() < 0.1),
        lambda: ExpireLease(job_id, token),
        lambda: ReserveJob(job_id),
        lambda: GiveBack(((job_id, token),)),
        lambda: Pause(topic, random.choice((0, 30))),
        lambda: Purge(topic, 2),
        lambda: SetTopic(
            topic,
            random.choice((0, None, 15)),
            random.choice((0, None, 200)),
            random.choice((0, 10, 40)),
            random.random() < 0.1,
        ),
    ]
    return random.choices(makers, weights=(18, 18, 8, 6, 2, 2, 2, 2, 4, 1, 1, 1, 1, 1))[0]()


def check(model: Model) -> None:
    queue = model.queue
    for name, topic in queue.topics.items():
        states = [job.state for job in queue.jobs.values() if job.topic == name]
        assert topic.counts == {state: states.count(state) for state in topic.counts}
        assert not topic.is_idle
        for has in (frozenset[str](), frozenset({"arm", "go"})):
            able = [job for job in queue.jobs.values() if job.topic == name and has.issuperset(job.needs)]
            assert topic.ready.count(has) == [job.state for job in able].count("ready")
        assert topic.used_bytes == sum(job.size_bytes for job in queue.jobs.values() if job.topic == name)
        assert topic.urgent == states.count("ready")  # all priorities of this test are urgent
        assert set(topic.buried) == {
            j.id for j in queue.jobs.values() if j.topic == name and j.state == "buried"
        }
    assert queue.used_bytes == sum(job.weigh() for job in queue.jobs.values())
    assert all(job.size_bytes == job.weigh() for job in queue.jobs.values())
    assert len(queue.jobs) <= LIMITS.max_jobs
    assert len(queue._book.buried) <= LIMITS.max_buried
    assert {job_id: token for job_id, token, _ in queue.leases()} == {
        job.id: job.token for job in queue.jobs.values() if job.token
    }
    for job in queue.jobs.values():
        assert (job.state == "leased") == (job.token != 0)


def take_step(model: Model, command: Command, *, index: int, now: int) -> None:
    queue = model.queue
    known = set(queue.jobs)
    expected: int | None = None
    if isinstance(command, Reserve):
        expected = model.expected_next(command.topics, command.has, now)
    if isinstance(command, ReserveJob):
        expected = command.job_id
    before = [job.row() for job in queue.jobs.values()]
    try:
        result = queue.apply(command, index=index, now=now)
    except Refusal:
        assert [job.row() for job in queue.jobs.values()] == before
        return
    if isinstance(result, Reserved):
        assert (result.job_ids[0] if result.job_ids else None) == expected
        for job_id in result.job_ids:
            # Nobody else holds it: the former lease ended by an entry, and its token is lower.
            assert result.token > model.highest_token.get(job_id, 0)
            model.highest_token[job_id] = result.token
    if known - set(queue.jobs):  # no job is lost: it was acknowledged, cancelled, or dropped among the buried
        assert isinstance(command, Ack | Cancel | Purge) or queue.dropped_buried
    if isinstance(command, Ack | Nack | Bury):
        assert command.token == model.highest_token[command.job_id]


@pytest.mark.parametrize("seed", range(40))
def test_random_commands_keep_the_promises_of_the_queue(seed: int) -> None:
    random = Random(seed)
    model = Model(PriorityQueue(LIMITS))
    now = 0

    for index in range(1, 301):
        now += random.choice((0, 0, 1, 20))
        command = command_of(command_values(random_command(random, model.queue)))
        take_step(model, command, index=index, now=now)
        if index % 10 == 0:
            check(model)


def replay(seed: int) -> str:
    """Digests of a history, as hexadecimal text."""
    random, queue = Random(seed), PriorityQueue(LIMITS)
    for index in range(1, 200):
        try:
            queue.apply(random_command(random, queue), index=index, now=index)
        except Refusal:
            pass
    return queue.digest().hex()


def test_replicas_agree_whatever_the_hash_seed() -> None:
    """Checklist 1.39: no order of a set, no address, no clock in the state."""
    script = "from tests.replicated_queue.test_queue_properties import replay; print(replay(7))"
    digests = set()
    for hash_seed in ("0", "1"):
        environment = {"PYTHONHASHSEED": hash_seed, "PATH": ""}
        run = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(run.stdout.strip())

    assert digests == {replay(7)}
