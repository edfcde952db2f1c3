"""The pages of the queue: its topics, and the jobs of one."""

from typing import Any
from urllib.parse import quote

from aiohttp import web

from pinode.cluster_state import QUEUE
from pinode.errors import NotFound
from pinode.operations.status import topics
from pinode.web.documents import job_document
from pinode.web.forms import form_of
from pinode.web.messages import shown
from pinode.web.pages import show
from pinode.web.problems import REFUSALS, Problem, problem_of
from pinode.web.site import caller, site_of
from pinode.web.topic_api import document_of_topic, jobs_to_see
from replicated_queue.queue.commands import Kick
from replicated_queue.queue.job import JobView
from replicated_queue.queue.limits import check_command

JOBS_SHOWN = 50
DATA_SHOWN = 200  # characters of a job's data
KICKED_AT_ONCE = 1000


async def show_queue(request: web.Request) -> web.StreamResponse:
    """GET /queue: jobs by topic."""
    found = topics(site_of(request).cluster, platform=caller(request).is_admin)
    rows = [{"name": name, "address": address(name), **counts} for name, counts in found.items()]
    return show(request, "queue", section="Queue", topics=rows)


async def show_topic(request: web.Request) -> web.StreamResponse:
    """GET /queue/{topic}: its jobs by id, the first of them."""
    return await _page(request)


async def kick(request: web.Request) -> web.StreamResponse:
    """POST /queue/{topic}: its buried jobs become ready"""
    await form_of(request)
    topic = request.match_info["topic"]
    try:
        command = Kick(topic, KICKED_AT_ONCE)
        check_command(command)
        await site_of(request).cluster.queue.submit(QUEUE, command)
    except REFUSALS as error:
        return await _page(request, problem_of(error))
    raise web.HTTPSeeOther(f"{address(topic)}?note=kicked")


def address(topic: str) -> str:
    """Where its page is; a slash in a topic's name does not divide the path."""
    return f"/queue/{quote(topic, safe='')}"


async def _page(request: web.Request, error: Problem | None = None) -> web.Response:
    cluster, name = site_of(request).cluster, request.match_info["topic"]
    is_admin = caller(request).is_admin
    if name not in topics(cluster, platform=is_admin):
        raise NotFound(
            f"there is no topic {shown(name)}.", hint="A topic is there while it has jobs or settings."
        )
    jobs: list[JobView] = []
    try:
        jobs = list(await jobs_to_see(request).list(name, limit=JOBS_SHOWN))
    except REFUSALS as refused:  # only the leader knows them; what is counted is known everywhere
        error = error or problem_of(refused)
    return show(
        request,
        "topic",
        code=error.status if error else 200,
        section="Queue",
        error=error,
        topic=document_of_topic(request, name),
        address=address(name),
        jobs=[_row(job, now_ms=cluster.now_ms) for job in jobs],
        most=JOBS_SHOWN,
    )


def _row(job: JobView, *, now_ms: int) -> dict[str, Any]:
    document = job_document(job, now_ms=now_ms)
    text = document.get("data")
    shown_data = f"{len(job.data)} bytes" if text is None else text[:DATA_SHOWN]
    return {**document, "shown": shown_data, "due_seconds": max(0, job.due_ms - now_ms) / 1000}
