"""The API of the queue's jobs, for programs without the queue's own client."""

import base64
import binascii
from typing import Any

from aiohttp import web

from pinode.cluster_state import QUEUE
from pinode.errors import InvalidInput
from pinode.web.answer_shapes import HELD_JOB, JOB
from pinode.web.documents import bytes_document, job_document
from pinode.web.messages import (
    answer,
    is_gone,
    json_body,
    nothing,
    number_of,
    path_number,
    query_flag,
    seconds_of,
    shown,
    text_of,
    texts_of,
    while_asked,
)
from pinode.web.operation import Repeated, operation
from pinode.web.shapes import COUNT, SECONDS, SWITCH, TEXT, Record, list_of, maybe, one_of, whole
from pinode.web.site import SITE_UNDER_KEY, caller, site_of
from pinode.web.topic_api import jobs_to_see
from replicated_queue.queue.codec import result_of
from replicated_queue.queue.commands import Created, Put
from replicated_queue.queue.job import LOWEST_PRIORITY, PRIORITIES, Job
from replicated_queue.queue.limits import check_command

WAIT_SECONDS_AT_MOST = 300
NEW_JOB = Record(
    {},
    {
        "data": maybe(TEXT),
        "data_base64": maybe(TEXT),
        "priority": {"anyOf": [whole(0, LOWEST_PRIORITY), one_of(*PRIORITIES), {"type": "null"}]},
        "delay_seconds": maybe(SECONDS),
        "lease_seconds": maybe(SECONDS),
        "max_attempts": maybe(COUNT),
        "dedupe_key": maybe(TEXT),
        "backoff_seconds": maybe(SECONDS),
        "needs": maybe(list_of(TEXT)),
    },
    name="NewJob",
)


@operation("Put a job", body=NEW_JOB, repeated=Repeated.MADE_AGAIN, answers={201: Record({"id": COUNT})})
async def put_job(request: web.Request) -> web.StreamResponse:
    """POST …/{t}/jobs {data|data_base64, …} → {id}"""
    body = await json_body(request)
    wishes: dict[str, Any] = {
        "priority": _priority(body),
        "delay_ms": _milliseconds(body, "delay_seconds"),
        "lease_ms": _milliseconds(body, "lease_seconds"),
        "max_attempts": number_of(body, "max_attempts", default=None),
        "dedupe_key": text_of(body, "dedupe_key", default=None),
        "backoff_ms": _milliseconds(body, "backoff_seconds"),
        "needs": texts_of(body, "needs"),
    }
    given = {name: value for name, value in wishes.items() if value is not None}
    put = Put(request.match_info["topic"], _data(body, "data") or b"", **given)
    check_command(put)
    result = await site_of(request).cluster.queue.submit(QUEUE, put)
    created = result_of(result)
    assert isinstance(created, Created), created
    return answer({"id": created.job_ids[0]}, status=201)


@operation(
    "Take the most urgent job under a lease, or 204 when none came",
    body=Record(
        {},
        {
            "wait_seconds": maybe(SECONDS),
            "worker": maybe(TEXT),
            "lease_seconds": maybe(SECONDS),
            "has": maybe(list_of(TEXT)),
        },
    ),
    needs_body=False,
    repeated=Repeated.MADE_AGAIN,
    answers={200: HELD_JOB, 204: None},
)
async def reserve_job(request: web.Request) -> web.StreamResponse:
    """POST …/{t}/reserve {wait_seconds, worker, lease_seconds?, has?} → 200 {job, token, …} or 204"""
    body, queue = await json_body(request), site_of(request).cluster.queue
    wait = seconds_of(body, "wait_seconds") or 0.0
    if wait > WAIT_SECONDS_AT_MOST:
        raise InvalidInput(
            f"wait_seconds is {wait:g}, more than {WAIT_SECONDS_AT_MOST}.", hint="Ask again when it ends."
        )
    job = await while_asked(
        request,
        queue.reserve(
            request.match_info["topic"],
            wait=wait,
            worker=text_of(body, "worker", default=caller(request).name),
            lease=seconds_of(body, "lease_seconds"),
            has=texts_of(body, "has"),
        ),
    )
    if job is not None and is_gone(request) and SITE_UNDER_KEY not in request:  # else it is asked for again
        await queue.give_back([job], unseen=True)
        return nothing()
    if job is None:
        return nothing()
    document = {
        "id": job.id,
        "topic": job.topic,
        **bytes_document("data", job.data),
        "priority": job.priority,
        "attempts": job.attempts,
    }
    return answer({"job": document, "token": job.token, "lease_seconds": job.lease_seconds})


@operation("A job, also one that ended lately", answers={200: JOB}, refusals=(503, 504))
async def show_job(request: web.Request) -> web.StreamResponse:
    """GET /queue/jobs/{id}; also one that finished lately"""
    view = await jobs_to_see(request).peek(path_number(request, "id"))
    return answer(job_document(view, now_ms=site_of(request).cluster.now_ms))


@operation(
    "Cancel one that nobody holds; with ?force=1 any",
    query={"force": SWITCH},
    repeated=Repeated.MADE_AGAIN,
    answers={204: None},
)
async def cancel_job(request: web.Request) -> web.StreamResponse:
    """DELETE /queue/jobs/{id}: only one that nobody holds; ?force=1 any"""
    force = query_flag(request, "force")
    await site_of(request).cluster.queue.cancel(path_number(request, "id"), force=force)
    return nothing()


@operation(
    "It is done",
    body=Record({"token": COUNT}, {"result": maybe(TEXT), "result_base64": maybe(TEXT)}),
    repeated=Repeated.MADE_AGAIN,
    answers={204: None},
)
async def ack_job(request: web.Request) -> web.StreamResponse:
    """POST …/{id}/ack {token, result?}"""
    body = await json_body(request)
    result = _data(body, "result") or b""
    await site_of(request).cluster.queue.ack(_held(request, body), result=result)
    return nothing()


@operation(
    "It failed: ready again after a delay",
    body=Record({"token": COUNT}, {"delay_seconds": maybe(SECONDS), "reason": maybe(TEXT)}),
    repeated=Repeated.MADE_AGAIN,
    answers={204: None},
)
async def nack_job(request: web.Request) -> web.StreamResponse:
    """POST …/{id}/nack {token, delay_seconds?, reason?}"""
    body = await json_body(request)
    await site_of(request).cluster.queue.nack(
        _held(request, body),
        delay=seconds_of(body, "delay_seconds"),
        reason=text_of(body, "reason", default=""),
    )
    return nothing()


@operation(
    "Keep it longer",
    body=Record({"token": COUNT}, {"lease_seconds": maybe(SECONDS)}),
    repeated=Repeated.AGAIN,
    answers={204: None},
)
async def extend_job(request: web.Request) -> web.StreamResponse:
    """POST …/{id}/extend {token, lease_seconds?}"""
    body = await json_body(request)
    lease = seconds_of(body, "lease_seconds")
    await site_of(request).cluster.queue.extend(_held(request, body), lease=lease)
    return nothing()


@operation(
    "Put it aside",
    body=Record({"token": COUNT}, {"reason": maybe(TEXT)}),
    repeated=Repeated.MADE_AGAIN,
    answers={204: None},
)
async def bury_job(request: web.Request) -> web.StreamResponse:
    """POST …/{id}/bury {token, reason?}"""
    body = await json_body(request)
    reason = text_of(body, "reason", default="")
    await site_of(request).cluster.queue.bury(_held(request, body), reason=reason)
    return nothing()


@operation(
    "A buried or delayed job becomes ready",
    body=Record({}),
    needs_body=False,
    repeated=Repeated.MADE_AGAIN,
    answers={204: None},
)
async def kick_job(request: web.Request) -> web.StreamResponse:
    """POST …/{id}/kick: a buried or delayed job becomes ready"""
    await json_body(request)
    await site_of(request).cluster.queue.kick_job(path_number(request, "id"))
    return nothing()


def _held(request: web.Request, body: dict[str, Any]) -> Job:
    """The job in the path as the one who has its token names it."""
    token = number_of(body, "token")
    return Job(path_number(request, "id"), "", b"", 0, 0, token, 0.0)


def _data(body: dict[str, Any], name: str) -> bytes | None:
    """`name` as UTF-8, or `<name>_base64` as what it encodes."""
    encoded = text_of(body, f"{name}_base64", default=None)
    if encoded is None:
        text = text_of(body, name, default=None)
        return None if text is None else str(text).encode()
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{name}_base64 is {shown(encoded)}, which is not base64.") from error


def _priority(body: dict[str, Any]) -> int | None:
    """A number, or one of the four names."""
    value = body.get("priority")
    if isinstance(value, str):
        if value.upper() not in PRIORITIES:
            raise InvalidInput(f"priority is {shown(value)}, not a number or one of {', '.join(PRIORITIES)}.")
        return PRIORITIES[value.upper()]
    found: int | None = number_of(body, "priority", default=None)
    return found


def _milliseconds(body: dict[str, Any], name: str) -> int | None:
    seconds = seconds_of(body, name)
    return None if seconds is None else round(seconds * 1000)
