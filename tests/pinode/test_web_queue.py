"""The queue over HTTP: jobs, and the topics they stand in."""

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest

from tests.pinode.web_stage import Stage, stage
from tests.waiting import eventually

TOPICS, JOBS = "/api/v1/queue/topics", "/api/v1/queue/jobs"


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob") as made:
        yield made


async def test_a_job_goes_through_the_queue_over_http(web: Stage) -> None:
    put = await web.api("POST", "/api/v1/queue/topics/mail/jobs", {"data": "hello", "priority": "high"})
    job_id = put.json()["id"]
    taken = (await web.api("POST", "/api/v1/queue/topics/mail/reserve", {"worker": "w1"})).json()
    extended = await web.api("POST", f"/api/v1/queue/jobs/{job_id}/extend", {"token": taken["token"]})
    lost = await web.api("POST", f"/api/v1/queue/jobs/{job_id}/ack", {"token": taken["token"] + 1})
    done = await web.api(
        "POST", f"/api/v1/queue/jobs/{job_id}/ack", {"token": taken["token"], "result": "sent"}
    )
    job = (await web.api("GET", f"/api/v1/queue/jobs/{job_id}")).json()
    empty = await web.api("POST", "/api/v1/queue/topics/mail/reserve")

    assert put.status == 201
    assert taken["job"] == {"id": job_id, "topic": "mail", "data": "hello", "priority": 1, "attempts": 1}
    assert taken["lease_seconds"] == 60
    assert extended.status == 204
    assert (lost.status, lost.code) == (409, "lease_lost")
    assert done.status == 204
    assert (job["state"], job["result"]) == ("succeeded", "sent")
    assert empty.status == 204


async def test_a_job_that_is_reserved_for_a_program_that_has_hung_up_is_ready_again(web: Stage) -> None:
    web.cluster.put_job("mail", b"x")
    queue, server = web.cluster.queue, web.client.server.runner.server
    assert server is not None
    server.handler_cancellation = False  # as on a node; only the server for tests has it
    queue.may_answer.clear()
    asking = asyncio.create_task(web.api("POST", f"{TOPICS}/mail/reserve", {"lease_seconds": 3_600}))
    await eventually(lambda: list(web.cluster.state.queue.leases()))
    asking.cancel()
    await eventually(lambda: not any(connection.transport for connection in server.connections))

    queue.may_answer.set()

    await eventually(lambda: not list(web.cluster.state.queue.leases()))
    taken = await web.api("POST", f"{TOPICS}/mail/reserve")
    assert taken.json()["job"]["attempts"] == 1


async def test_bytes_that_are_no_text_travel_as_base64(web: Stage) -> None:
    data = base64.b64encode(b"\xff\x00").decode()
    put = await web.api("POST", "/api/v1/queue/topics/raw/jobs", {"data_base64": data})

    job = (await web.api("GET", f"/api/v1/queue/jobs/{put.json()['id']}")).json()

    assert job["data_base64"] == data


async def test_jobs_are_given_back_buried_kicked_and_cancelled(web: Stage) -> None:
    job_id = web.cluster.put_job("mail", b"x")
    reserve, job = "/api/v1/queue/topics/mail/reserve", f"/api/v1/queue/jobs/{job_id}"

    token = (await web.api("POST", reserve)).json()["token"]
    nacked = await web.api("POST", f"{job}/nack", {"token": token, "delay_seconds": 0, "reason": "later"})
    token = (await web.api("POST", reserve)).json()["token"]
    buried = await web.api("POST", f"{job}/bury", {"token": token, "reason": "broken"})
    topic = (await web.api("GET", "/api/v1/queue/topics/mail")).json()
    kicked = await web.api("POST", f"{job}/kick")
    cancelled = await web.api("DELETE", job)

    assert [answer.status for answer in (nacked, buried, kicked, cancelled)] == [204] * 4
    assert {name: topic[name] for name in ("name", "ready", "delayed", "leased", "buried")} == {
        "name": "mail",
        "ready": 0,
        "delayed": 0,
        "leased": 0,
        "buried": 1,
    }


async def test_a_topic_may_have_a_slash_in_its_name(web: Stage) -> None:
    await web.api("POST", "/api/v1/queue/topics/mail%2Fout/jobs", {"data": "x"})

    topics = (await web.api("GET", "/api/v1/queue/topics")).json()["items"]

    assert [topic["name"] for topic in topics] == ["mail/out"]


async def test_topics_of_the_platform_do_not_exist_for_members(web: Stage) -> None:
    job_id = web.cluster.put_job("pinode.builds", b"1", platform=True)

    member = (await web.api("GET", "/api/v1/queue/topics")).json()["items"]
    admin = (await web.api("GET", "/api/v1/queue/topics", by="ada")).json()["items"]
    status = (await web.api("GET", "/api/v1/status")).json()["queue"]
    put = await web.api("POST", "/api/v1/queue/topics/pinode.builds/jobs", {"data": "x"})
    reserve = await web.api("POST", "/api/v1/queue/topics/pinode.builds/reserve", by="ada")
    peek = await web.api("GET", f"/api/v1/queue/jobs/{job_id}")
    cancel = await web.api("DELETE", f"/api/v1/queue/jobs/{job_id}?force=1")

    assert (member, status) == ([], {})
    assert [topic["name"] for topic in admin] == ["pinode.builds"]
    assert (put.status, put.code) == (403, "reserved_topic")
    assert reserve.status == 403
    assert peek.status == cancel.status == 404


async def test_a_topic_is_given_bounds_and_refuses_what_is_over_them(web: Stage) -> None:
    body = {"name": "mail", "max_jobs": 1, "ageing_seconds": 60}
    made = await web.api("POST", TOPICS, body)
    again = await web.api("POST", TOPICS, body)

    first = await web.api("POST", f"{TOPICS}/mail/jobs", {"data": "x"})
    second = await web.api("POST", f"{TOPICS}/mail/jobs", {"data": "x"})
    topic = (await web.api("GET", f"{TOPICS}/mail")).json()

    assert (made.status, again.status, first.status) == (201, 201, 201)
    assert (second.status, second.code) == (503, "queue_full")
    assert second.headers["Retry-After"]
    assert (topic["max_jobs"], topic["max_bytes"], topic["ageing_seconds"], topic["ready"]) == (
        1,
        None,
        60,
        1,
    )


async def test_a_drained_topic_says_so_to_who_puts(web: Stage) -> None:
    await web.api("POST", TOPICS, {"name": "mail", "draining": True})

    put = await web.api("POST", f"{TOPICS}/mail/jobs", {"data": "x"})
    await web.api("POST", TOPICS, {"name": "mail", "draining": False})
    after = await web.api("POST", f"{TOPICS}/mail/jobs", {"data": "x"})

    assert (put.status, put.code) == (409, "draining")
    assert after.status == 201


async def test_the_jobs_of_a_topic_are_listed_page_by_page_and_by_state(web: Stage) -> None:
    ids = [web.cluster.put_job("mail", b"%d" % number) for number in range(5)]
    await web.api("DELETE", f"{JOBS}/{ids[1]}")

    first = (await web.api("GET", f"{TOPICS}/mail/jobs?limit=3")).json()
    second = (await web.api("GET", f"{TOPICS}/mail/jobs?limit=3&cursor={first['next']}")).json()
    gone = (await web.api("GET", f"{TOPICS}/mail/jobs?state=cancelled")).json()
    wrong = await web.api("GET", f"{TOPICS}/mail/jobs?state=lost")

    assert [job["id"] for job in first["items"] + second["items"]] == [ids[0], *ids[2:]]
    assert second["next"] is None
    assert [job["id"] for job in gone["items"]] == [ids[1]]
    assert wrong.status == 400


async def test_a_topic_is_paused_kicked_and_purged(web: Stage) -> None:
    for _ in range(3):
        web.cluster.put_job("mail", b"x")
    taken = (await web.api("POST", f"{TOPICS}/mail/reserve")).json()
    await web.api("POST", f"{JOBS}/{taken['job']['id']}/bury", {"token": taken["token"]})

    kicked = await web.api("POST", f"{TOPICS}/mail/kick", {"bound": 10})
    paused = await web.api("POST", f"{TOPICS}/mail/pause", {"seconds": 60})
    during = await web.api("POST", f"{TOPICS}/mail/reserve")
    ended = await web.api("POST", f"{TOPICS}/mail/pause", {"seconds": 0})
    purged = await web.api("POST", f"{TOPICS}/mail/purge")

    assert kicked.json() == {"kicked": 1}
    assert 59 < paused.json()["paused_seconds"] <= 60
    assert during.status == 204
    assert ended.json()["paused_seconds"] == 0
    assert purged.json() == {"purged": 3}


async def test_a_job_with_needs_goes_to_a_worker_that_has_them(web: Stage) -> None:
    put = {"data": "x", "needs": ["arch=aarch64"], "backoff_seconds": 5}
    job_id = (await web.api("POST", f"{TOPICS}/mail/jobs", put)).json()["id"]

    other = await web.api("POST", f"{TOPICS}/mail/reserve")
    taken = await web.api("POST", f"{TOPICS}/mail/reserve", {"has": ["arch=aarch64", "builder=go"]})
    job = (await web.api("GET", f"{JOBS}/{job_id}")).json()

    assert other.status == 204
    assert taken.json()["job"]["id"] == job_id
    assert job["needs"] == ["arch=aarch64"]


async def test_a_kick_that_is_repeated_under_one_key_is_done_once(web: Stage) -> None:
    for _ in range(2):
        web.cluster.put_job("mail", b"x")
        taken = (await web.api("POST", f"{TOPICS}/mail/reserve")).json()
        await web.api("POST", f"{JOBS}/{taken['job']['id']}/bury", {"token": taken["token"]})

    for _ in range(2):
        await web.api("POST", f"{TOPICS}/mail/kick", {"bound": 1}, Idempotency_Key="k1")

    assert (await web.api("GET", f"{TOPICS}/mail")).json()["buried"] == 1


async def bury_many(web: Stage, count: int) -> None:
    for number in range(count):
        web.cluster.put_job("mail", b"%d" % number)
    queue = web.cluster.queue
    for job in [job for _ in range(count // 1_000) for job in await queue.reserve_many("mail", 1_000)]:
        await queue.bury(job)


async def test_many_jobs_are_kicked_in_commands_of_a_thousand(web: Stage) -> None:
    await bury_many(web, 3_000)
    entries = web.cluster.commit_index

    kicked = await web.api("POST", f"{TOPICS}/mail/kick", {"bound": 2_500})

    assert kicked.json() == {"kicked": 2_500}
    assert web.cluster.commit_index - entries == 3
    assert (await web.cluster.queue.stats("mail")).buried == 500


async def test_a_kick_of_many_that_is_repeated_under_one_key_is_done_once(web: Stage) -> None:
    await bury_many(web, 2_000)
    await web.cluster.queue.put_many("mail", [b""] * 1_500, delay=600)
    ask = {
        "method": "POST",
        "path": f"{TOPICS}/mail/kick",
        "body": {"bound": 10_000},
        "Idempotency_Key": "k1",
    }

    answers = [(await web.api(**ask)).json() for _ in range(2)]

    assert answers == [{"kicked": 2_000}] * 2
    assert (await web.cluster.queue.stats("mail")).delayed == 1_500


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"name": "mail", "max_jobs": -1}),
        ("", {"name": "mail", "max_jobs": 1.5}),
        ("", {"name": "mail", "draining": "yes"}),
        ("", {"name": "-mail"}),
        ("", {}),
        ("", {"name": "mail", "colour": "red"}),
        ("/mail/kick", {"bound": -1}),
        ("/mail/pause", {}),
        ("/mail/pause", {"seconds": "1h"}),
        ("/mail/purge", {"all": True}),
        ("/mail/jobs", {"data": "x", "needs": "arch"}),
        ("/mail/jobs", {"data": "x", "needs": [1]}),
        ("/mail/jobs", {"data": "x", "needs": ["a b"]}),
        ("/mail/jobs", {"data": "x", "backoff_seconds": 601}),
        ("/mail/reserve", {"has": [None]}),
    ],
)
async def test_what_makes_no_sense_is_refused_with_400(
    web: Stage, path: str, body: dict[str, object]
) -> None:
    refused = await web.api("POST", TOPICS + path, body)

    assert refused.status == 400
    assert refused.json()["error"]["message"]


async def test_administrators_see_the_platforms_jobs_and_move_none(web: Stage) -> None:
    job_id = web.cluster.put_job("pinode.builds", b"1", platform=True)

    seen = await web.api("GET", f"{TOPICS}/pinode.builds/jobs", by="ada")
    shown = await web.api("GET", f"{JOBS}/{job_id}", by="ada")
    hidden = await web.api("GET", f"{TOPICS}/pinode.builds/jobs")
    moved = [
        await web.api("POST", f"{TOPICS}/pinode.builds/{verb}", body, by="ada")
        for verb, body in (("kick", {}), ("pause", {"seconds": 1}), ("purge", {}))
    ]

    assert [job["id"] for job in seen.json()["items"]] == [job_id]
    assert shown.json()["topic"] == "pinode.builds"
    assert hidden.status == 403
    assert [answer.status for answer in moved] == [403] * 3


async def test_a_page_shows_the_jobs_of_a_topic_and_buried_ones_are_tried_again(web: Stage) -> None:
    web.cluster.put_job("mail/urgent", b"to <ada>")
    web.cluster.put_job("mail/urgent", b"\xff\x00")
    taken = (await web.api("POST", f"{TOPICS}/mail%2Furgent/reserve", {"worker": "w1"})).json()
    leased = (await web.browse("/queue/mail%2Furgent")).text
    bury = {"token": taken["token"], "reason": "no such mailbox"}
    await web.api("POST", f"{JOBS}/{taken['job']['id']}/bury", bury)
    listed = (await web.browse("/queue")).text
    buried = (await web.browse("/queue/mail%2Furgent")).text

    kicked = await web.browse("/queue/mail%2Furgent", {})
    after = (await web.browse("/queue/mail%2Furgent")).text

    assert 'href="/queue/mail%2Furgent"' in listed
    assert "to &lt;ada&gt;" in leased and ">2 bytes<" in leased and "held by w1" in leased
    assert "1 ready · 0 delayed · 0 leased · 1 buried" in buried and "Attempt 1: no such mailbox." in buried
    assert (kicked.status, kicked.headers["Location"]) == (303, "/queue/mail%2Furgent?note=kicked")
    assert "2 ready · 0 delayed · 0 leased · 0 buried" in after and "another try" not in after


async def test_a_members_pages_know_nothing_of_the_platforms_topics(web: Stage) -> None:
    web.cluster.put_job("pinode.builds", b"secret", platform=True)

    theirs = await web.browse("/queue/pinode.builds")
    kicked = await web.browse("/queue/pinode.builds", {})
    nowhere = await web.browse("/queue/never.used")
    seen = await web.browse("/queue/pinode.builds", by="ada")

    assert theirs.status == nowhere.status == 404 and kicked.status >= 400
    assert "secret" not in theirs.text + kicked.text
    assert seen.status == 200 and "secret" in seen.text


async def test_without_a_leader_a_topics_page_still_counts_its_jobs(web: Stage) -> None:
    web.cluster.put_job("mail", b"x")
    web.cluster.has_quorum = False

    page = await web.browse("/queue/mail")

    assert "1 ready · 0 delayed" in page.text
