"""Values from outside that cannot be: each is refused with the value named, and changes nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pinode.people.commands import EndSession
from pinode.web.caller import token_hash
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.web_stage import Stage, stage, token_of
from tests.waiting import eventually

URL = "https://git.example.org/bob/blog.git"
BAD_NAMES = [
    "", " ", "-rf", "Blog", "1blog", "a" * 31, "a/b", "../etc", "a\nb", "a\0b", "a;reboot", "$(id)", "`id`", "blög",
    "аpp", "a b", "a_b", "%2e%2e", "a'b", 'a"b', "<b>", "😀",
]  # fmt: skip
BAD_URLS = [
    "", "-u", "--upload-pack=touch /tmp/x", "ext::sh -c touch% /tmp/x", "file:///etc", "/etc", "../up", "ftp://h/x",
    "https://", "https://host", "ssh://-oProxyCommand=x/y", "-oProxyCommand=x@h:y", "https://git.example.org/a\nb",
    "https://git.example.org/a\0b", "http://127.0.0.1/x.git", "http://localhost/x.git", "http://[::1]/x.git",
    "http://169.254.169.254/latest", "http://2130706433/x", "https://git.example.org/" + "a" * 100_000,
]  # fmt: skip
BAD_REFS = [
    "-x",
    "--help",
    "a..b",
    "a b",
    "a~1",
    "a^",
    "a:b",
    "a\\b",
    "/a",
    "a/",
    "a.lock",
    "@{1}",
    "a\nb",
    "x" * 5000,
]
BAD_DIRS = ["..", "../x", "a/../../b", "/etc", "a\0b", "-x", "x" * 5000]
BAD_TOPICS = ["-mail", "a b", "ä", "x" * 201, "a%0Ab", "%00", "<b>"]
BAD_BODIES = [
    b"", b"{", b"[]", b'"x"', b"null", b"1", b"\xff\xfe", b'{"name": NaN}', b"[" * 100_000, b'{"name": "\\ud800"}',
    b'{"name": 1}', b'{"name": ["x"]}', b'{"name": "x", "extra": 1}', b'{"nam\xc3": "x"}',
]  # fmt: skip


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob") as made:
        made.add_app("blog", "bob", URL)
        yield made


def refused(answer, value: str) -> bool:
    """A 4xx that names what was wrong (its beginning, as it can be shown)."""
    shown = value[:20].encode("unicode_escape").decode() if not value.isprintable() else value[:20]
    return 400 <= answer.status < 500 and (shown in answer.message.replace("\\\\", "\\") or not value.strip())


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_names_that_apps_users_and_config_vars_cannot_have(web: Stage, name: str) -> None:
    before = web.cluster.state.digest()
    person = {"username": name, "password": "four random words"}

    app = await web.api("POST", "/api/v1/apps", {"name": name})
    page = await web.browse("/apps/new", {"name": name, "git_url": URL})

    assert refused(app, name)
    assert page.status == 400
    if name not in ("a_b", "a" * 31):
        assert refused(await web.api("POST", "/api/v1/users", person, by="ada"), name)
    if name not in ("Blog", "a" * 31, "a_b"):
        assert refused(await web.api("PATCH", "/api/v1/apps/blog/config", {name: "x"}), name)
    assert web.cluster.state.digest() == before


@pytest.mark.parametrize("path", ["A", "-x", "a%2Fb", "..%2Fetc", "a%00b", "%0a", "a" * 500, "%F0%9F%98%80"])
async def test_app_names_in_addresses_that_no_app_can_have(web: Stage, path: str) -> None:
    api = await web.api("GET", f"/api/v1/apps/{path}")
    page = await web.browse(f"/apps/{path}")

    assert (api.status, api.code) == (400, "invalid_name")
    assert page.status == 400


@pytest.mark.parametrize("url", BAD_URLS, ids=lambda url: ascii(url[:30]))
async def test_repository_urls_that_nobody_but_administrators_may_have_built(web: Stage, url: str) -> None:
    before = web.cluster.state.digest()

    build = await web.api("POST", "/api/v1/apps/blog/builds", {"git_url": url})
    app = await web.api("POST", "/api/v1/apps", {"name": "wiki", "git_url": url})
    page = await web.browse("/apps/new", {"name": "wiki", "git_url": url})

    assert refused(build, url) and refused(app, url)
    assert page.status == 400
    assert web.cluster.state.digest() == before


async def test_a_password_in_a_url_is_kept_with_a_deploy_and_never_shown(web: Stage) -> None:
    url = "https://joe:s3cret@git.example.org/bob/blog.git"

    app = await web.api("POST", "/api/v1/apps", {"name": "wiki", "git_url": url})
    build = await web.api("POST", "/api/v1/apps/blog/builds", {"git_url": url})

    assert app.status == 400 and "s3cret" not in app.text
    assert build.status == 202 and build.json()["git_url"] == "https://git.example.org/bob/blog.git"


@pytest.mark.parametrize(
    "field, value", [("ref", ref) for ref in BAD_REFS] + [("dir", path) for path in BAD_DIRS]
)
async def test_refs_and_folders_that_cannot_be(web: Stage, field: str, value: str) -> None:
    before = web.cluster.state.digest()

    answer = await web.api("POST", "/api/v1/apps/blog/builds", {field: value})

    assert refused(answer, value)
    assert web.cluster.state.digest() == before


@pytest.mark.parametrize("topic", BAD_TOPICS)
async def test_topics_that_cannot_be(web: Stage, topic: str) -> None:
    put = await web.api("POST", f"/api/v1/queue/topics/{topic}/jobs", {"data": "x"})
    reserve = await web.api("POST", f"/api/v1/queue/topics/{topic}/reserve")

    assert (put.status, put.code) == (reserve.status, reserve.code) == (400, "invalid_topic")


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: ascii(body[:20]))
async def test_bodies_that_are_no_json_object_with_the_right_fields(web: Stage, body: bytes) -> None:
    answer = await web.api("POST", "/api/v1/apps", body)

    assert answer.status == 400
    assert answer.code in ("invalid", "invalid_json", "invalid_name")
    assert answer.message


@pytest.mark.parametrize(
    "path, body",
    [
        ("queue/topics/t/jobs", {"data": "x", "priority": "urgent"}),
        ("queue/topics/t/jobs", {"data": "x", "priority": -1}),
        ("queue/topics/t/jobs", {"data": "x", "priority": 2**40}),
        ("queue/topics/t/jobs", {"data": "x", "priority": True}),
        ("queue/topics/t/jobs", {"data": "x", "delay_seconds": -1}),
        ("queue/topics/t/jobs", {"data": "x", "delay_seconds": 1e300}),
        ("queue/topics/t/jobs", {"data": "x", "lease_seconds": 0}),
        ("queue/topics/t/jobs", {"data": "x", "max_attempts": "many"}),
        ("queue/topics/t/jobs", {"data_base64": "no base64!"}),
        ("queue/topics/t/reserve", {"wait_seconds": 301}),
        ("queue/jobs/1/ack", {}),
        ("queue/jobs/1/ack", {"token": "1"}),
        ("queue/jobs/1/ack", {"token": 10**30}),
        ("queue/jobs/x/kick", {}),
        ("sessions", {"username": "ada"}),
        ("sessions", {"username": "ada", "password": 1}),
        ("users", {"username": "joe", "password": "short"}),
        ("users", {"username": "joe", "password": "x" * 2000}),
        ("users", {"username": "joe", "password": "four random words", "email": "no address"}),
    ],
    ids=str,
)
async def test_amounts_and_values_outside_their_bounds(web: Stage, path: str, body: dict) -> None:
    before = web.cluster.state.digest()

    answer = await web.api("POST", f"/api/v1/{path}", body, by="ada")

    assert answer.status == 400
    assert answer.message
    assert web.cluster.state.digest() == before


@pytest.mark.parametrize("quantity", [-1, 101, 1.5, "2", None, True, [1]])
async def test_quantities_of_dynos_that_cannot_be(web: Stage, quantity: object) -> None:
    answer = await web.api("PATCH", "/api/v1/apps/blog/formation", {"web": quantity})

    assert answer.status == 400


@pytest.mark.parametrize("value", [1, True, ["x"], "a\0b", "x" * 70_000])
async def test_config_values_that_no_environment_can_hold(web: Stage, value: object) -> None:
    answer = await web.api("PATCH", "/api/v1/apps/blog/config", {"KEY": value})

    assert answer.status in (400, 413)
    assert "KEY" in answer.message


@pytest.mark.parametrize(
    "query", ["lines=x", "lines=-1", "lines=99999999", "follow=2", "process=a%20b", "since=5m", "since=-1"]
)
async def test_questions_for_logs_that_mean_nothing(web: Stage, query: str) -> None:
    answer = await web.api("GET", f"/api/v1/apps/blog/logs?{query}")

    assert answer.status == 400


async def test_a_question_for_the_logs_of_a_node_that_is_none(web: Stage) -> None:
    answer = await web.api("GET", "/api/v1/apps/blog/logs?node=pi99")

    assert (answer.status, answer.code) == (404, "node_not_found")
    assert "pi99" in answer.message


async def test_a_job_of_more_than_64_kib_is_refused_with_its_size(web: Stage) -> None:
    answer = await web.api("POST", "/api/v1/queue/topics/t/jobs", {"data": "x" * 65_537})

    assert (answer.status, answer.code) == (413, "too_large")
    assert "65537" in answer.message


async def test_a_body_of_more_than_one_mebibyte_is_refused_for_the_api_and_for_forms(web: Stage) -> None:
    api = await web.api("POST", "/api/v1/apps", b"x" * 1_100_000)
    page = await web.browse("/apps/blog/config", {"name": "KEY", "value": "x" * 1_100_000})

    assert (api.status, api.code) == (413, "too_large")
    assert page.status == 413


async def test_a_body_that_comes_too_slowly_is_not_waited_for(web: Stage) -> None:
    web.site.body_seconds = 0.05
    never = asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()

    headers = {"Authorization": f"Bearer {token_of('bob')}"}
    async with web.client.post("/api/v1/apps", data=drip(), headers=headers) as answer:
        error = (await answer.json())["error"]

    assert (answer.status, error["code"]) == (400, "too_slow")


async def test_a_login_that_ends_while_a_body_arrives_changes_nothing() -> None:
    class Looked(FakeCluster):
        """Says when somebody's login was looked at."""

        looks = 0
        _now_ms = 0

        @property
        def now_ms(self) -> int:  # asked for whenever a token is
            self.looks += 1
            return self._now_ms

        @now_ms.setter
        def now_ms(self, now_ms: int) -> None:
            self._now_ms = now_ms

    cluster = Looked()
    async with stage("bob", cluster=cluster) as web:

        async def body() -> AsyncIterator[bytes]:
            looks = cluster.looks
            yield b'{"name": "shop"'
            await eventually(lambda: cluster.looks > looks)
            cluster.apply(EndSession(token_hash=token_hash(token_of("bob"))))
            yield b"}"

        headers = {"Authorization": f"Bearer {token_of('bob')}"}
        async with web.client.post("/api/v1/apps", data=body(), headers=headers) as answer:
            status = answer.status

    assert status == 401
    assert cluster.state.registry.app("shop") is None


async def test_a_form_with_files_is_refused(web: Stage) -> None:
    multipart = {"Content_Type": "multipart/form-data; boundary=x"}

    answer = await web.api("POST", "/api/v1/apps", b"--x--\r\n", **multipart)

    assert (answer.status, answer.code) == (400, "wrong_media_type")


async def test_a_packed_body_is_refused_unread(web: Stage) -> None:
    answer = await web.api("POST", "/api/v1/apps", b"x", Content_Encoding="compress")

    assert (answer.status, answer.code) == (400, "wrong_media_type")
    assert "'compress'" in answer.message


async def test_an_idempotency_key_that_is_no_key_is_refused(web: Stage) -> None:
    answer = await web.api("POST", "/api/v1/apps", {"name": "wiki"}, Idempotency_Key="x" * 201)

    assert answer.status == 400
