"""The API of the queue's topics: what is in them, what is set for them, what is done to all their jobs."""

from typing import Any, TypeVar

from aiohttp import web

from pinode.cluster_state import QUEUE
from pinode.errors import InvalidInput
from pinode.web.answer_shapes import JOB, TOPIC
from pinode.web.documents import job_document, topic_document
from pinode.web.messages import (
    MAX_PAGE,
    answer,
    flag_of,
    json_body,
    list_answer,
    number_of,
    query_number,
    seconds_of,
    shown,
    text_of,
)
from pinode.web.operation import Repeated, operation
from pinode.web.shapes import COUNT, FLAG, SECONDS, TEXT, Record, maybe, one_of, page_of, whole
from pinode.web.site import caller, site_of
from replicated_queue.kicking import kick_in_parts
from replicated_queue.operations import QueueOperations
from replicated_queue.queue.codec import result_of
from replicated_queue.queue.commands import Command, Done, Kick, Kicked, Pause, Purge, Purged, SetTopic
from replicated_queue.queue.job import BURIED, CANCELLED, DELAYED, LEASED, READY, SUCCEEDED
from replicated_queue.queue.limits import check_command
from replicated_queue.queue.views import all_stats, topic_stats

STATES = (READY, DELAYED, LEASED, BURIED, SUCCEEDED, CANCELLED)

Answered = TypeVar("Answered", Done, Kicked, Purged)


def jobs_to_see(request: web.Request) -> QueueOperations:
    """The queue as the caller may look at it: administrators see the platform's jobs too."""
    queue = site_of(request).cluster.queue
    return queue.platform_queue if caller(request).is_admin else queue


@operation("Topics that have jobs or settings", is_paged=True, answers={200: page_of(TOPIC)})
async def list_topics(request: web.Request) -> web.StreamResponse:
    """GET /queue/topics: those that have jobs or settings"""
    cluster = site_of(request).cluster
    found = all_stats(cluster.state.queue, now=cluster.now_ms, platform=caller(request).is_admin)
    return list_answer(request, [topic_document(name, stats) for name, stats in found.items()])


@operation(
    "Set what is named; 0 takes a bound away",
    body=Record(
        {"name": TEXT},
        {
            "max_jobs": maybe(COUNT),
            "max_bytes": maybe(COUNT),
            "ageing_seconds": maybe(SECONDS),
            "draining": maybe(FLAG),
        },
    ),
    answers={201: TOPIC},
)
async def set_topic(request: web.Request) -> web.StreamResponse:
    """POST /queue/topics {name, max_jobs?, max_bytes?, ageing_seconds?, draining?}: sets what is named"""
    body = await json_body(request)
    ageing = seconds_of(body, "ageing_seconds")
    command = SetTopic(
        text_of(body, "name"),
        max_jobs=number_of(body, "max_jobs", default=None),
        max_bytes=number_of(body, "max_bytes", default=None),
        ageing_ms=None if ageing is None else round(ageing * 1000),
        is_draining=flag_of(body, "draining"),
    )
    await _do(request, command, Done)
    return answer(document_of_topic(request, command.topic), status=201)


@operation("A topic; a slash in its name is sent as %2F", answers={200: TOPIC})
async def show_topic(request: web.Request) -> web.StreamResponse:
    """GET /queue/topics/{t}; a name with a slash is sent as %2F"""
    return answer(document_of_topic(request, request.match_info["topic"]))


@operation(
    "Its jobs by id; ended ones by naming their state",
    query={"state": one_of(*STATES), "limit": whole(1, MAX_PAGE), "cursor": whole(0, 2**63 - 1)},
    answers={200: page_of(JOB)},
    refusals=(503, 504),
)
async def list_jobs(request: web.Request) -> web.StreamResponse:
    """GET …/{t}/jobs?state=&limit=&cursor=: by id; ended ones by naming their state"""
    state = request.query.get("state")
    if state is not None and state not in STATES:
        raise InvalidInput(f"state={shown(state)} is none of {', '.join(STATES)}.")
    topic, queue = request.match_info["topic"], jobs_to_see(request)
    after = query_number(request, "cursor", default=0, low=0, high=2**63 - 1)
    limit = query_number(request, "limit", default=100, low=1, high=MAX_PAGE)
    page = await queue.list(topic, state=state, after=after, limit=limit)
    more = page and await queue.list(topic, state=state, after=page[-1].id, limit=1)
    following = str(page[-1].id) if more else None
    now_ms = site_of(request).cluster.now_ms
    return answer({"items": [job_document(view, now_ms=now_ms) for view in page], "next": following})


@operation(
    "Buried jobs, or delayed ones if none is buried, become ready",
    body=Record({}, {"bound": maybe(COUNT)}),
    needs_body=False,
    repeated=Repeated.MADE_AGAIN,
    answers={200: Record({"kicked": COUNT})},
)
async def kick_topic(request: web.Request) -> web.StreamResponse:
    """POST …/{t}/kick {bound?}: buried jobs (or, if none is, delayed ones) become ready"""
    body, topic = await json_body(request), request.match_info["topic"]

    async def kick(wanted: int, only_buried: bool) -> Kicked:
        return await _do(request, Kick(topic, wanted, only_buried=only_buried), Kicked)

    bound = number_of(body, "bound", default=1)
    check_command(Kick(topic, bound))
    return answer({"kicked": await kick_in_parts(bound, kick)})


@operation(
    "Give out no job for so long; 0 ends it",
    body=Record({"seconds": SECONDS}),
    answers={200: TOPIC},
)
async def pause_topic(request: web.Request) -> web.StreamResponse:
    """POST …/{t}/pause {seconds}: gives out no job for so long; with 0 the pause ends"""
    body = await json_body(request)
    seconds = seconds_of(body, "seconds")
    if seconds is None:
        raise InvalidInput("the field 'seconds' is missing.", hint="0 ends a pause.")
    command = Pause(request.match_info["topic"], round(seconds * 1000))
    await _do(request, command, Done)
    return answer(document_of_topic(request, command.topic))


@operation(
    "Cancel jobs that nobody holds, 1,000 at most",
    body=Record({}),
    needs_body=False,
    repeated=Repeated.MADE_AGAIN,
    answers={200: Record({"purged": COUNT})},
)
async def purge_topic(request: web.Request) -> web.StreamResponse:
    """POST …/{t}/purge: cancels jobs that nobody holds, 1,000 at most"""
    await json_body(request)
    command = Purge(request.match_info["topic"])
    return answer({"purged": (await _do(request, command, Purged)).count})


async def _do(request: web.Request, command: Command, kind: type[Answered]) -> Answered:
    check_command(command)
    result = result_of(await site_of(request).cluster.queue.submit(QUEUE, command))
    assert isinstance(result, kind), result
    return result


def document_of_topic(request: web.Request, name: str) -> dict[str, Any]:
    """The topic as the caller may see it."""
    cluster, is_admin = site_of(request).cluster, caller(request).is_admin
    return topic_document(name, topic_stats(cluster.state.queue, name, now=cluster.now_ms, platform=is_admin))
