"""The JSON API: what programs ask and what they are answered."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from pinode.apps.commands import EndCancelledBuild
from pinode.deploy.build_log import serve_build_logs
from pinode.web.site import Streams
from tests.pinode.fake_cluster import SETUP_CODE
from tests.pinode.web_stage import Stage, stage, token_of
from tests.waiting import eventually

URL = "https://git.example.org/ada/blog.git"


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob", "eve") as made:
        yield made


async def test_the_first_user_registers_with_the_setup_code_and_is_administrator() -> None:
    async with stage() as web:
        person = {"username": "ada", "password": "four random words"}

        guessed = await web.api("POST", "/api/v1/users", {**person, "setup_code": "AAAA-AAAA"}, by=None)
        missing = await web.api("POST", "/api/v1/users", person, by=None)
        code = SETUP_CODE.lower().replace("-", " ")
        made = await web.api("POST", "/api/v1/users", {**person, "setup_code": code}, by=None)

        assert guessed.status == missing.status == 403
        assert guessed.code == missing.code == "wrong_setup_code"
        assert (made.status, made.json()) == (201, {"username": "ada", "role": "admin", "email": None})


async def test_a_registration_that_is_refused_never_reaches_the_log() -> None:
    async with stage() as web:
        person = {"username": "ada", "password": "four random words", "setup_code": SETUP_CODE}
        for wrong in (
            {"setup_code": "AAAA-AAAA"},
            {"username": "Ada!"},
            {"email": "none"},
            {"password": "short"},
        ):
            refused = await web.api("POST", "/api/v1/users", {**person, **wrong}, by=None)

            assert 400 <= refused.status < 500

        assert web.cluster.commands == []


async def test_who_logs_in_gets_a_token_that_opens_the_api_until_it_is_given_back() -> None:
    async with stage() as web:
        person = {"username": "ada", "password": "four random words"}
        await web.api("POST", "/api/v1/users", {**person, "setup_code": SETUP_CODE}, by=None)

        token = (await web.api("POST", "/api/v1/sessions", person, by=None)).json()["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        before = await web.api("GET", "/api/v1/me", by=None, **bearer)
        ended = await web.api("DELETE", "/api/v1/sessions", by=None, **bearer)
        after = await web.api("GET", "/api/v1/me", by=None, **bearer)

        assert before.json()["username"] == "ada"
        assert ended.status == 204
        assert (after.status, after.code) == (401, "not_logged_in")


async def test_registration_is_closed_after_the_first_user_but_for_administrators(web: Stage) -> None:
    person = {"username": "joe", "password": "four random words", "setup_code": SETUP_CODE}

    stranger = await web.api("POST", "/api/v1/users", person, by=None)
    member = await web.api("POST", "/api/v1/users", person, by="bob")
    admin = await web.api("POST", "/api/v1/users", person, by="ada")

    assert (stranger.status, stranger.code) == (403, "registration_closed")
    assert member.status == 403
    assert (admin.status, admin.json()["role"]) == (201, "member")


async def test_a_login_says_the_same_whether_user_or_password_is_wrong() -> None:
    async with stage() as web:
        person = {"username": "ada", "password": "four random words"}
        await web.api("POST", "/api/v1/users", {**person, "setup_code": SETUP_CODE}, by=None)

        unknown = await web.api("POST", "/api/v1/sessions", {"username": "eve", "password": "x" * 9}, by=None)
        wrong = await web.api("POST", "/api/v1/sessions", {"username": "ada", "password": "x" * 9}, by=None)

        assert unknown.status == wrong.status == 401
        assert unknown.text == wrong.text


async def test_guessing_passwords_is_slowed_down_and_says_for_how_long() -> None:
    async with stage() as web:
        guess = {"username": "ada", "password": "wrong"}

        answers = [await web.api("POST", "/api/v1/sessions", guess, by=None) for _ in range(11)]

        assert [answer.status for answer in answers] == [401] * 10 + [429]
        assert answers[-1].code == "too_many_requests"
        assert int(answers[-1].headers["Retry-After"]) >= 1


async def test_an_app_is_created_shown_listed_and_destroyed(web: Stage) -> None:
    made = await web.api("POST", "/api/v1/apps", {"name": "blog", "git_url": URL})
    shown = await web.api("GET", "/api/v1/apps/blog")
    listed = await web.api("GET", "/api/v1/apps")
    gone = await web.api("DELETE", "/api/v1/apps/blog")
    after = await web.api("GET", "/api/v1/apps/blog")

    assert made.status == 201
    assert made.json()["url"] == "http://192.0.2.1:9000/"
    assert made.json()["urls"] == [f"http://192.0.2.{number}:9000/" for number in (1, 2, 3)]
    assert shown.json()["owner"] == "bob"
    assert (shown.json()["state"], shown.json()["git_url"]) == ("new", URL)
    assert listed.json() == {"items": [shown.json()], "next": None}
    assert (gone.status, gone.text) == (204, "")
    assert (after.status, after.code) == (404, "app_not_found")


async def test_a_member_sees_own_apps_and_the_administrator_all(web: Stage) -> None:
    web.add_app("blog", "bob")
    web.add_app("wiki", "eve")

    seen = {
        name: [app["name"] for app in (await web.api("GET", "/api/v1/apps", by=name)).json()["items"]]
        for name in ("ada", "bob", "eve")
    }

    assert seen == {"ada": ["blog", "wiki"], "bob": ["blog"], "eve": ["wiki"]}


async def test_a_list_comes_in_pages(web: Stage) -> None:
    for name in ("one", "three", "two"):
        web.add_app(name)

    first = (await web.api("GET", "/api/v1/apps?limit=2")).json()
    second = (await web.api("GET", f"/api/v1/apps?limit=2&cursor={first['next']}")).json()

    assert [app["name"] for app in first["items"] + second["items"]] == ["one", "three", "two"]
    assert second["next"] is None


async def test_a_build_is_accepted_and_followed_to_a_live_release(web: Stage) -> None:
    web.add_app("blog", git_url=URL)

    asked = await web.api("POST", "/api/v1/apps/blog/builds", {"ref": "main", "dir": "site"})
    build_id = asked.json()["id"]
    web.cluster.take_build(build_id)
    during = (await web.api("GET", "/api/v1/apps/blog")).json()
    version = web.cluster.complete_build(build_id)
    web.cluster.bring_up("blog", version)
    build = (await web.api("GET", f"/api/v1/apps/blog/builds/{build_id}")).json()
    release = (await web.api("GET", "/api/v1/apps/blog/releases")).json()["items"][0]
    dyno = (await web.api("GET", "/api/v1/apps/blog/dynos")).json()["items"][0]
    after = (await web.api("GET", "/api/v1/apps/blog")).json()

    assert (asked.status, asked.json()["state"], asked.json()["dir"]) == (202, "queued", "site")
    assert (during["state"], during["building"]) == ("building", build_id)
    assert (build["state"], build["version"], build["node"], build["ref"]) == ("succeeded", 1, "pi1", "main")
    assert (release["version"], release["state"], release["build"]) == (1, "live", build_id)
    assert (dyno["name"], dyno["state"], dyno["node"], dyno["version"]) == ("web.1", "up", "pi1", 1)
    assert (after["state"], after["live_version"], after["building"]) == ("live", 1, None)


async def test_a_waiting_build_is_cancelled_and_one_that_ended_is_not(web: Stage) -> None:
    web.add_app("blog", git_url=URL)
    build_id = (await web.api("POST", "/api/v1/apps/blog/builds")).json()["id"]

    first = await web.api("DELETE", f"/api/v1/apps/blog/builds/{build_id}")
    again = await web.api("DELETE", f"/api/v1/apps/blog/builds/{build_id}")
    listed = (await web.api("GET", "/api/v1/apps/blog/builds")).json()["items"]

    assert first.status == 204
    assert (again.status, again.code) == (409, "build_finished")
    assert [build["state"] for build in listed] == ["cancelled"]


async def test_a_build_that_runs_is_cancelled_when_nothing_of_it_runs_any_more(web: Stage) -> None:
    web.add_app("blog", git_url=URL)
    build_id = web.cluster.start_build("blog")
    build = web.cluster.state.registry.build(build_id)
    assert build is not None

    cancelling = asyncio.create_task(web.api("DELETE", f"/api/v1/apps/blog/builds/{build_id}"))
    await eventually(lambda: web.cluster.state.registry.build(build_id).cancelled_by)
    shown = (await web.api("GET", f"/api/v1/apps/blog/builds/{build_id}")).json()
    was_done = cancelling.done()
    web.cluster.apply(EndCancelledBuild(build_id=build_id, token=build.token))

    assert (shown["state"], shown["cancelling"], was_done) == ("building", True, False)
    assert (await cancelling).status == 204


async def test_a_build_of_another_app_is_as_unknown_as_none(web: Stage) -> None:
    web.add_app("blog", "bob", URL)
    web.add_app("wiki", "eve", URL)
    others = web.cluster.start_build("wiki")

    answer = await web.api("GET", f"/api/v1/apps/blog/builds/{others}/log")

    assert (answer.status, answer.code) == (404, "build_not_found")


async def test_the_log_of_a_build_is_plain_text_from_the_node_that_built_it(web: Stage, tmp_path) -> None:
    web.add_app("blog", git_url=URL)
    build_id = web.cluster.start_build("blog", node="pi2")
    (tmp_path / f"{build_id}.log").write_bytes(b"-----> Building\n<script>alert(1)</script>\n")
    serve_build_logs(web.cluster, tmp_path)

    answer = await web.api("GET", f"/api/v1/apps/blog/builds/{build_id}/log")

    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "-----> Building\n<script>alert(1)</script>\n"


async def test_config_shows_names_and_values_only_when_asked_to_reveal_them(web: Stage) -> None:
    web.add_app("blog")
    value = "a=b $HOME \"'\\ \n# 🙂 "

    changed = await web.api("PATCH", "/api/v1/apps/blog/config", {"KEY": value, "EMPTY": ""})
    hidden = await web.api("GET", "/api/v1/apps/blog/config")
    revealed = await web.api("GET", "/api/v1/apps/blog/config?reveal=1")
    unset = await web.api("PATCH", "/api/v1/apps/blog/config", {"EMPTY": None})

    assert changed.json() == hidden.json() == {"EMPTY": None, "KEY": None}
    assert revealed.json() == {"EMPTY": "", "KEY": value}
    assert unset.json() == {"KEY": None}


async def test_the_formation_is_shown_and_changed(web: Stage) -> None:
    web.add_app("blog", git_url=URL)
    web.cluster.complete_build(web.cluster.start_build("blog"), web="gunicorn app:app", worker="python w.py")

    changed = await web.api("PATCH", "/api/v1/apps/blog/formation", {"web": 2, "worker": 1})
    unknown = await web.api("PATCH", "/api/v1/apps/blog/formation", {"clock": 1})
    shown = await web.api("GET", "/api/v1/apps/blog/formation")

    assert changed.json() == shown.json() == {"web": 2, "worker": 1}
    assert (unknown.status, unknown.code) == (404, "process_type_not_found")
    assert "web, worker" in unknown.message


async def test_a_dyno_of_a_dead_node_is_unknown_and_says_what_was_last_heard(web: Stage) -> None:
    web.add_app("blog", git_url=URL)
    version = web.cluster.complete_build(web.cluster.start_build("blog"))
    web.cluster.bring_up("blog", version, node="pi3")

    web.cluster.change_node("pi3", state="dead")
    dyno = (await web.api("GET", "/api/v1/apps/blog/dynos")).json()["items"][0]
    app = (await web.api("GET", "/api/v1/apps/blog")).json()

    assert (dyno["state"], dyno["detail"]) == ("unknown", "pi3 is not in reach; it was up when last heard.")
    assert app["state"] == "down"


async def test_a_write_that_is_repeated_under_one_idempotency_key_is_done_once(web: Stage) -> None:
    web.add_app("blog", git_url=URL)

    builds = [
        (await web.api("POST", "/api/v1/apps/blog/builds", Idempotency_Key="k1")).json()["id"] for _ in "ab"
    ]
    jobs = [
        (
            await web.api("POST", "/api/v1/queue/topics/t/jobs", {"data": "x"}, Idempotency_Key="k2", by=name)
        ).json()["id"]
        for name in ("bob", "bob", "eve")
    ]

    assert builds[0] == builds[1]
    assert jobs[0] == jobs[1] != jobs[2]  # the key is the asker's own


async def test_without_a_leader_reads_answer_marked_stale_and_writes_say_when_to_come_back(
    web: Stage,
) -> None:
    web.add_app("blog", git_url=URL)
    web.cluster.has_quorum, web.cluster.leader_id = False, None

    read = await web.api("GET", "/api/v1/apps/blog")
    status = await web.api("GET", "/api/v1/status")
    write = await web.api("POST", "/api/v1/apps/blog/builds")
    put = await web.api("POST", "/api/v1/queue/topics/t/jobs", {"data": "x"})
    ready = await web.api("GET", "/readyz", by=None)
    healthy = await web.api("GET", "/healthz", by=None)

    assert (read.status, read.headers["Pinode-Stale"]) == (200, "1")
    assert status.json()["cluster"]["has_quorum"] is False
    for refused in (write, put):
        assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "no_leader", "1")
    assert (ready.status, healthy.status) == (503, 200)


async def test_an_answer_with_a_leader_is_not_marked_stale(web: Stage) -> None:
    answer = await web.api("GET", "/api/v1/status")

    assert "Pinode-Stale" not in answer.headers


async def test_nodes_are_listed_and_shown_by_name(web: Stage) -> None:
    listed = (await web.api("GET", "/api/v1/nodes")).json()["items"]
    one = (await web.api("GET", "/api/v1/nodes/pi2")).json()
    none = await web.api("GET", "/api/v1/nodes/pi9")

    assert [node["name"] for node in listed] == ["pi1", "pi2", "pi3"]
    assert {**one, "uptime_seconds": None} == {**listed[1], "uptime_seconds": None}  # it goes on
    assert (none.status, none.code) == (404, "node_not_found")
    assert "'pi9'" in none.message


async def test_a_change_is_told_to_whoever_listens(web: Stage) -> None:
    headers = {"Authorization": f"Bearer {token_of('bob')}"}

    async with web.client.get("/api/v1/events", headers=headers) as stream:
        retry = await stream.content.readuntil(b"\n\n")
        web.add_app("blog")
        event = await stream.content.readuntil(b"\n\n")

    assert stream.headers["Content-Type"] == "text/event-stream"
    assert retry.startswith(b"retry:")
    assert event == b'event: change\ndata: {"revision": %d}\n\n' % web.cluster.revision


@pytest.mark.parametrize("since", [0, 10**6])
async def test_what_changed_before_one_listens_is_told_at_once(web: Stage, since: int) -> None:
    headers = {"Authorization": f"Bearer {token_of('bob')}"}

    async with web.client.get(f"/api/v1/events?since={since}", headers=headers) as stream:
        await stream.content.readuntil(b"\n\n")
        event = await stream.content.readuntil(b"\n\n")

    assert b"event: change" in event


async def test_only_so_many_streams_are_open_at_once(web: Stage) -> None:
    web.site.streams = Streams(at_once=1)
    headers = {"Authorization": f"Bearer {token_of('bob')}"}

    async with web.client.get("/api/v1/events", headers=headers):
        refused = await web.api("GET", "/api/v1/events")

    assert (refused.status, refused.code) == (429, "too_many_requests")


async def test_what_only_the_socket_may_ask_is_not_there_over_the_network(web: Stage) -> None:
    code = await web.api("GET", "/api/v1/local/setup-code", by="ada")
    stop = await web.api("POST", "/api/v1/local/stop", {}, by="ada")

    assert code.status == stop.status == 404


async def test_unknown_addresses_and_methods_are_answered_like_all_errors(web: Stage) -> None:
    nowhere = await web.api("GET", "/api/v1/nothing")
    method = await web.api("PUT", "/api/v1/apps")

    assert (nowhere.status, nowhere.code) == (404, "not_found")
    assert (method.status, method.code) == (405, "wrong_method")


async def test_a_bug_in_a_handler_is_answered_without_its_details(web: Stage, caplog) -> None:
    web.cluster.nodes = lambda: 1 // 0

    answer = await web.api("GET", "/api/v1/nodes")

    assert (answer.status, answer.code) == (500, "bug")
    assert "division" not in answer.text
    assert "ZeroDivisionError" in caplog.text
    assert json.loads(answer.text)["error"]["hint"] == ""
