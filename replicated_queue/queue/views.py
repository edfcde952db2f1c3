"""Reading the queue as this replica has it now: counts, one job, a page of jobs. Nothing is changed."""

from collections.abc import Iterator

from replicated_queue.errors import JobNotFound
from replicated_queue.queue.job import (
    CANCELLED,
    PLATFORM_PREFIX,
    READY,
    SUCCEEDED,
    JobRecord,
    JobView,
    TopicStats,
    check_topic,
)
from replicated_queue.queue.priority_queue import PriorityQueue

MAX_PAGE = 1_000
MAX_PAGE_BYTES = 1024 * 1024
VIEW_BYTES = 1_500  # a view beside its data and result: its reasons above all
EMPTY_STATS = TopicStats(ready=0, delayed=0, leased=0, buried=0)


def topic_stats(queue: PriorityQueue, topic: str, *, now: int, platform: bool) -> TopicStats:
    """Counts of one topic; one without jobs counts zero."""
    check_topic(topic, platform=platform)
    line = queue.topics.get(topic) or queue.idle_topics.get(topic)
    return line.stats(now) if line is not None else EMPTY_STATS


def all_stats(queue: PriorityQueue, *, now: int, platform: bool) -> dict[str, TopicStats]:
    """Counts of every topic that has jobs or settings, by name."""
    names = sorted(name for name in queue.topics if platform or not name.startswith(PLATFORM_PREFIX))
    return {name: queue.topics[name].stats(now) for name in names}


def peek_job(queue: PriorityQueue, job_id: int, *, now: int, platform: bool) -> JobView:
    """One job, also one that finished lately. Raises `JobNotFound`."""
    job = queue.jobs.look(job_id) or queue.finished.get(job_id)
    if job is None or (not platform and job.topic.startswith(PLATFORM_PREFIX)):
        raise JobNotFound(job_id=job_id)
    return job.view(now) if isinstance(job, JobRecord) else job.view()


def peek_topic(queue: PriorityQueue, topic: str, state: str, *, now: int, platform: bool) -> list[JobView]:
    """The topic's first job that is ready, delayed or buried, if there is one."""
    check_topic(topic, platform=platform)
    line = queue.topics.get(topic)
    job = line.next_of(state, now) if line is not None else None
    return [job.view(now)] if job is not None else []


def page_of_jobs(
    queue: PriorityQueue, topic: str, *, state: str | None, after: int, limit: int, now: int, platform: bool
) -> list[JobView]:
    """Jobs of a topic with ids above `after`, ascending; of one state or of all states but the finished.

    A page ends at `limit`, or when its data would be more than `MAX_PAGE_BYTES`; an empty one is the last.
    """
    check_topic(topic, platform=platform)
    limit = max(1, min(limit, MAX_PAGE))
    page: list[JobView] = []
    room_bytes = MAX_PAGE_BYTES
    for view in _views(queue, topic, state, after=after, now=now):
        room_bytes -= len(view.data) + len(view.result) + VIEW_BYTES
        if page and room_bytes < 0:
            break
        page.append(view)
        if len(page) == limit:
            break
    return page


def _views(queue: PriorityQueue, topic: str, state: str | None, *, after: int, now: int) -> Iterator[JobView]:
    if state in (SUCCEEDED, CANCELLED):
        finished = [job for job in queue.finished.all() if job.id > after and job.topic == topic]
        ended = sorted(finished, key=lambda job: job.id)
        return (job.view() for job in ended if job.state == state)
    return (
        job.view(now)
        for job in queue.jobs.of_topic(topic, after=after, only_touched=state not in (None, READY))
        if state is None or job.state_at(now) == state
    )
