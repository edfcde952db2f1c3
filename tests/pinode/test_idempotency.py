"""Every write of the API under an `Idempotency-Key`: done once, answered as the first time, on any node."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from pinode.apps.commands import CreateHook
from pinode.apps.cron import CronEntry
from pinode.cluster_state import ANSWERS, SAID_BYTES
from pinode.nodes.commands import CreateJoinToken
from pinode.people.commands import StartSession
from pinode.people.people import TOKENS_OF_A_USER
from pinode.web.caller import token_hash
from pinode.web.operation import Content, Repeated, operation_of
from pinode.web.passwords import Passwords
from pinode.web.routes import ROUTES, Route
from pinode.web.shapes import Record, has_secrets
from replicated_queue.errors import NoQuorum
from replicated_queue.parts import whole
from replicated_queue.queue.commands import Bury, Reserve
from replicated_queue.sessions import SINGLE_SHOT_MS
from tests.pinode.described import document
from tests.pinode.fake_cluster import FakeCluster, FakeQueue
from tests.pinode.test_step_down import hands_over
from tests.pinode.test_web_run import serve
from tests.pinode.web_stage import CHEAP, HOUR_MS, Answer, Stage, stage, token_of

URL = "https://git.example.org/bob/blog.git"
HOOK = "a" * 16
APP = "/api/v1/apps/{app}"
TOPIC = "/api/v1/queue/topics/{topic}"
JOB = "/api/v1/queue/jobs/{id}"
LEASE = "the token of the job's lease"
PASSWORD = "correct horse battery"
KEY = "b7f4c0de-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class Write:
    """What is asked for; `gone`: what the path names is not there any more when it is done, or what is made is.

    `other`: what else could be asked for.
    """

    body: Any = None
    by: str = "bob"
    gone: bool = False
    other: Any = None


WRITES = {
    "POST /api/v1/users": Write({"username": "carl", "password": PASSWORD}, "ada", gone=True),
    "POST /api/v1/sessions": Write({"username": "dora", "password": PASSWORD}),
    "POST /api/v1/tokens": Write({"label": "ci"}),
    "DELETE /api/v1/tokens/{token}": Write(gone=True),
    "POST /api/v1/join-tokens": Write(by="ada"),
    "DELETE /api/v1/join-tokens": Write(by="ada"),
    "POST /api/v1/key-rotation": Write(by="ada"),
    "DELETE /api/v1/nodes/{node}": Write(by="ada", gone=True),
    "POST /api/v1/nodes/{node}/cordon": Write(by="ada"),
    "POST /api/v1/nodes/{node}/drain": Write(by="ada"),
    "POST /api/v1/nodes/{node}/uncordon": Write(by="ada"),
    "POST /api/v1/leader/step-down": Write(by="ada"),
    "POST /api/v1/apps": Write({"name": "shop"}),
    f"PATCH {APP}": Write({"name": "journal"}, gone=True),
    f"DELETE {APP}": Write(gone=True),
    f"PATCH {APP}/config": Write({"COLOUR": "blue"}, other={"SHAPE": "blue"}),
    f"PATCH {APP}/formation": Write({"web": 2}),
    f"POST {APP}/run": Write({"command": "ls"}),
    f"PUT {APP}/maintenance": Write({"on": True}),
    f"POST {APP}/dynos/restart": Write(),
    f"POST {APP}/dynos/stop": Write(),
    f"POST {APP}/cron/{{entry}}/run": Write(),
    f"POST {APP}/releases": Write({"rollback_to": 1}),
    f"POST {APP}/builds": Write({"ref": "main"}),
    f"DELETE {APP}/builds/{{id}}": Write(),
    f"POST {APP}/deploy-key": Write(),
    f"DELETE {APP}/deploy-key": Write(),
    f"POST {APP}/hooks": Write(),
    f"DELETE {APP}/hooks/{{hook}}": Write(),
    "POST /api/v1/queue/topics": Write({"name": "mail", "max_jobs": 7}),
    f"POST {TOPIC}/jobs": Write({"data": "x"}),
    f"POST {TOPIC}/reserve": Write(),
    f"POST {TOPIC}/kick": Write(),
    f"POST {TOPIC}/pause": Write({"seconds": 60}),
    f"POST {TOPIC}/purge": Write(),
    f"DELETE {JOB}": Write(),
    f"POST {JOB}/ack": Write({"token": LEASE}),
    f"POST {JOB}/nack": Write({"token": LEASE}),
    f"POST {JOB}/bury": Write({"token": LEASE}),
    f"POST {JOB}/kick": Write(),
}
ROUTE_OF = {
    f"{route.method} {route.path}": route
    for route in ROUTES
    if route.method != "GET" and not route.is_page and route.access not in ("git", "local")
}


def kind_of(route: Route) -> Repeated:
    declared = operation_of(route.handler)
    assert declared is not None
    return declared.repeated


def of_kinds(*kinds: Repeated) -> list[str]:
    return [name for name in WRITES if kind_of(ROUTE_OF[name]) in kinds]


class Forgetful(FakeCluster):
    """A node may go away between a change and its answer."""

    loses_answers = False

    def __init__(self) -> None:
        super().__init__()
        self.queue = _ForgetfulQueue(self)


class _ForgetfulQueue(FakeQueue):
    async def submit(self, domain: str, command: Any, **how: Any) -> Any:
        if domain == ANSWERS and isinstance(self._cluster, Forgetful) and self._cluster.loses_answers:
            raise NoQuorum(waited_seconds=1.0)
        return await super().submit(domain, command, **how)


class Nodes:
    """Two nodes of one cluster, and what there is to be changed."""

    def __init__(self, one: Stage, other: Stage, cluster: Forgetful) -> None:
        self.one, self.other, self.cluster = one, other, cluster
        self.values: dict[str, Any] = {}
        self.lease = 0

    async def ask(self, name: str, on: Stage | None = None, *, key: str = KEY, body: Any = None) -> Answer:
        write, route = WRITES[name], ROUTE_OF[name]
        sent = write.body if body is None else body
        if sent is not None:
            sent = {field: self.lease if value is LEASE else value for field, value in sent.items()}
        path = route.path.format(**self.values)
        return await (on or self.one).api(route.method, path, sent, by=write.by, Idempotency_Key=key)

    def done(self) -> tuple[Any, ...]:
        """Changes with all that is done."""
        state = self.cluster.state
        return state.decisions, whole(state.queue.digest_steps()), self.cluster.leader_id


@asynccontextmanager
async def nodes_before(name: str) -> AsyncIterator[Nodes]:
    """All is ready for the write to be done."""
    cluster = Forgetful()
    async with stage("ada", "bob", "eve", cluster=cluster) as one, stage(cluster=cluster) as other:
        made = Nodes(one, other, cluster)
        await _prepare(made, name)
        yield made


async def _prepare(made: Nodes, name: str) -> None:
    cluster = made.cluster
    cluster.add_user("dora", await Passwords(CHEAP).hash(PASSWORD))
    made.one.add_app("blog", "bob", URL)
    entry = CronEntry(schedule="@daily", command="x")
    for _ in range(2):
        version = cluster.complete_build(cluster.start_build("blog", git_url=URL), schedule=(entry,))
        cluster.bring_up("blog", version)
    cluster.apply(CreateHook(app="blog", id=HOOK, sealed_secret=b"sealed:x", actor="bob"))
    cluster.apply(
        StartSession(token_hash=b"t" * 32, user="bob", lifetime_ms=HOUR_MS, label="l", is_token=True)
    )
    cluster.apply(CreateJoinToken(token_hash=b"j" * 32, lifetime_ms=HOUR_MS, by="ada"))
    cluster.change_node("pi3", state="dead")
    serve(cluster, b"\x02run.7", b"\x010")
    hands_over(cluster, to="pi2")
    job_id = cluster.put_job("mail", b"first")
    if name.startswith((f"POST {JOB}", f"POST {TOPIC}/kick")):
        made.lease = cluster.do_on_queue(Reserve(("mail",))).token
    if name.endswith("/kick"):
        cluster.do_on_queue(Bury(job_id, made.lease))
    if name != f"DELETE {JOB}":
        cluster.put_job("mail", b"second")
    tokens = cluster.state.people.tokens_of("bob", cluster.now_ms)
    made.values = {"app": "blog", "topic": "mail", "node": "pi3", "hook": HOOK, "entry": 1, "id": job_id}
    made.values["token"] = next(one.id for one in tokens if one.label == "l")
    if "builds/{id}" in name:
        answer = await made.one.api("POST", "/api/v1/apps/blog/builds")
        made.values["id"] = answer.json()["id"]


def without_ages(text: str) -> str:
    return re.sub(r'_seconds": [0-9.]+', "", text)


def test_every_write_is_tried_here_but_those_for_which_a_key_changes_nothing() -> None:
    again = {name for name, route in ROUTE_OF.items() if kind_of(route) is Repeated.AGAIN}

    assert WRITES.keys() | again == ROUTE_OF.keys()
    assert not WRITES.keys() & again


@pytest.mark.parametrize("name", of_kinds(Repeated.KEPT, Repeated.MADE_AGAIN))
async def test_a_write_that_is_sent_again_to_another_node_is_done_once_and_answered_as_the_first_time(
    name: str,
) -> None:
    async with nodes_before(name) as nodes:
        before = nodes.done()
        first = await nodes.ask(name)
        done = nodes.done()

        again = await nodes.ask(name, nodes.other)

        assert first.status < 300 and done != before, first.text
        assert (again.status, again.text) == (first.status, first.text)
        assert again.headers.get("Content-Type") == first.headers.get("Content-Type")
        assert nodes.done() == done


@pytest.mark.parametrize("name", of_kinds(Repeated.KEPT))
async def test_what_was_done_by_a_node_that_went_away_before_its_answer_is_not_done_again(name: str) -> None:
    async with nodes_before(name) as nodes:
        nodes.cluster.loses_answers = True
        first = await nodes.ask(name)
        done = nodes.done()
        nodes.cluster.loses_answers = False

        again = await nodes.ask(name, nodes.other)

        if WRITES[name].gone:
            assert (again.status, again.code) == (409, "answer_not_kept")
        else:
            assert (again.status, without_ages(again.text)) == (first.status, without_ages(first.text))
        assert first.status < 300 and nodes.done() == done


@pytest.mark.parametrize("name", of_kinds(Repeated.SECRET))
async def test_what_has_a_secret_in_its_answer_is_done_once_and_the_secret_is_kept_nowhere(name: str) -> None:
    async with nodes_before(name) as nodes:
        first = await nodes.ask(name)
        done = nodes.done()

        again = await nodes.ask(name, nodes.other)

        secret = first.json().get("token") or first.json()["secret"]
        assert (again.status, again.code) == (409, "answer_not_kept")
        assert "another key" in again.json()["error"]["hint"]
        assert nodes.done() == done
        assert secret.encode() not in b"".join(nodes.cluster.state.snapshot())


@pytest.mark.parametrize("name", of_kinds(Repeated.BEGUN))
async def test_what_is_no_entry_of_the_log_is_begun_once(name: str) -> None:
    async with nodes_before(name) as nodes:
        asked = serve(nodes.cluster, b"\x02run.7", b"\x010")
        first = await nodes.ask(name)
        done, begun = nodes.done(), list(asked)

        again = await nodes.ask(name, nodes.other)

        assert first.status == 200, first.text
        assert (again.status, again.code) == (409, "answer_not_kept")
        assert (nodes.done(), asked) == (done, begun)


@pytest.mark.parametrize("name", [name for name in WRITES if WRITES[name].body is not None])
async def test_the_same_key_for_another_body_is_refused_and_nothing_is_done(name: str) -> None:
    async with nodes_before(name) as nodes:
        await nodes.ask(name)
        done = nodes.done()
        other = WRITES[name].other or dict.fromkeys(WRITES[name].body, "other")

        again = await nodes.ask(name, nodes.other, body=other)

        assert again.status in (400, 401, 409) and nodes.done() == done
        if kind_of(ROUTE_OF[name]) is Repeated.KEPT:
            assert again.code == "key_reused"


@pytest.mark.parametrize("name", of_kinds(Repeated.KEPT, Repeated.MADE_AGAIN, Repeated.BEGUN))
async def test_a_key_that_another_write_has_used_is_refused_and_nothing_is_done(name: str) -> None:
    async with nodes_before(name) as nodes:
        by = WRITES[name].by
        await nodes.one.api("POST", "/api/v1/queue/topics/t/jobs", {"data": "x"}, by=by, Idempotency_Key=KEY)
        done = nodes.done()

        refused = await nodes.ask(name, nodes.other)

        assert (refused.status, refused.code) == (409, "key_reused")
        assert nodes.done() == done


@pytest.mark.parametrize("key", ["x" * 201, "two words", "é"])
async def test_what_is_no_key_is_refused_by_every_write(key: str) -> None:
    async with nodes_before("") as nodes:
        done = nodes.done()

        for route in ROUTE_OF.values():
            path = route.path.format(**nodes.values)
            refused = await nodes.one.api(route.method, path, {}, by="ada", Idempotency_Key=key)
            assert (refused.status, refused.code) == (400, "invalid_key"), route

        assert nodes.done() == done


async def test_what_was_refused_stays_refused_under_its_key() -> None:
    async with nodes_before("") as nodes:
        name = "POST /api/v1/apps"
        nodes.one.add_app("shop", "eve")

        answers = [await nodes.ask(name), await nodes.ask(name, nodes.other)]

        assert [(answer.status, answer.code) for answer in answers] == [(409, "app_exists")] * 2


async def test_a_secret_that_was_refused_stays_refused_under_its_key() -> None:
    name = "POST /api/v1/tokens"
    async with nodes_before(name) as nodes:
        for number in range(TOKENS_OF_A_USER):
            await nodes.ask(name, key=f"{number}")

        answers = [await nodes.ask(name), await nodes.ask(name, nodes.other)]

        assert [(answer.status, answer.code) for answer in answers] == [(409, "too_many_tokens")] * 2
        assert (await nodes.ask(name, key="0")).code == "answer_not_kept"


async def test_what_was_refused_and_would_not_be_asked_any_more_stays_refused_under_its_key() -> None:
    name = f"PATCH {APP}"
    async with nodes_before(name) as nodes:
        nodes.one.add_app("journal", "eve")
        first = await nodes.ask(name)
        await nodes.ask(f"DELETE {APP}", key="another")

        again = await nodes.ask(name, nodes.other)

        assert (first.code, again.code, again.text) == ("app_exists", "app_exists", first.text)


async def test_two_users_may_have_the_same_key() -> None:
    async with nodes_before("") as nodes:
        path = "/api/v1/apps"

        first = await nodes.one.api("POST", path, {"name": "one"}, by="bob", Idempotency_Key=KEY)
        second = await nodes.one.api("POST", path, {"name": "two"}, by="eve", Idempotency_Key=KEY)

        assert (first.json()["name"], second.json()["name"]) == ("one", "two")


async def test_each_user_has_an_own_share_of_the_room_for_keys() -> None:
    async with nodes_before("") as nodes:
        for user, key in (("bob", "1"), ("bob", "2"), ("eve", "1")):
            body = {"name": f"{user}-{key}"}
            await nodes.one.api("POST", "/api/v1/apps", body, by=user, Idempotency_Key=key)

        shares = nodes.cluster.state.sessions._shares.values()
        assert [len(share.shots) for share in shares] == [4, 2]


async def test_a_key_is_forgotten_after_a_day() -> None:
    name = f"POST {APP}/dynos/restart"
    async with nodes_before(name) as nodes:
        await nodes.ask(name)
        nodes.cluster.now_ms += SINGLE_SHOT_MS
        nodes.cluster.apply(
            StartSession(token_hash=token_hash(token_of("bob")), user="bob", lifetime_ms=HOUR_MS)
        )

        done = nodes.done()

        again = await nodes.ask(name)

        assert again.status == 202 and nodes.done() != done


async def test_the_first_user_who_had_no_answer_asks_again_and_guessers_are_slowed_down() -> None:
    async with stage() as web:
        body = {"username": "ada", "password": PASSWORD, "setup_code": "ABCD-EFGH"}

        async def register(**other: str) -> Answer:
            return await web.api(
                "POST", "/api/v1/users", {**body, **other}, by=None, Idempotency_Key="guessed"
            )

        first, again = await register(), await register()
        guesses = [await register(username=f"guess-{number}") for number in range(30)]

        assert (first.status, again.status, again.text) == (201, 201, first.text)
        assert {guess.code for guess in guesses} == {"key_reused", "too_many_requests"}
        assert PASSWORD.encode() not in b"".join(web.cluster.state.snapshot())


@pytest.mark.parametrize("password", [PASSWORD, "another one"])
async def test_nothing_is_remembered_of_a_password_that_could_be_tried_out(password: str) -> None:
    name = "POST /api/v1/users"
    async with nodes_before(name) as nodes:
        await nodes.ask(name, body={"username": "carl", "password": password})
        done = nodes.done()

        again = await nodes.ask(name, nodes.other)

        assert (again.status, nodes.done()) == (201, done)


def test_every_text_that_may_be_a_secret_is_declared_as_one() -> None:
    taken: dict[str, set[str]] = {}
    for name, route in ROUTE_OF.items():
        declared = operation_of(route.handler)
        assert declared is not None
        if isinstance(declared.body, Record):
            for field, shape in {**declared.body.fields, **declared.body.optional}.items():
                taken.setdefault(field, set()).add("secret" if has_secrets(shape) else "told")
        elif declared.body is not None and not isinstance(declared.body, Content):
            taken[name] = {"secret" if has_secrets(declared.body) else "told"}

    secret = {name for name, found in taken.items() if found != {"told"}}
    suspicious = re.compile("pass|secret|code|command|(?<!dedupe_)key|git_url|credential|config")
    assert secret == {name for name in taken if suspicious.search(name)}
    assert all(taken[name] == {"secret"} for name in secret)


async def test_an_answer_that_is_too_long_to_be_kept_is_made_again() -> None:
    name = f"PATCH {APP}/config"
    async with nodes_before(name) as nodes:
        many = {f"NAME_{number}_{'X' * 100}": "x" for number in range(200)}
        first = await nodes.ask(name, body=many)
        done = nodes.done()

        again = await nodes.ask(name, nodes.other, body=many)

        assert len(first.text) > SAID_BYTES and again.text == first.text
        assert nodes.cluster.state.sessions._single_shot_bytes < SAID_BYTES
        assert nodes.done() == done


async def test_changed_config_vars_are_not_revealed_in_an_answer_that_is_kept() -> None:
    async with nodes_before("") as nodes:
        path = "/api/v1/apps/blog/config?reveal=1"

        answer = await nodes.one.api("PATCH", path, {"COLOUR": "vermilion"}, Idempotency_Key=KEY)

        assert answer.json() == {"COLOUR": None}
        assert b"vermilion" not in b"".join(nodes.cluster.state.snapshot())


async def test_a_write_that_was_not_decided_is_tried_anew_under_its_key() -> None:
    name = "POST /api/v1/apps"
    async with nodes_before(name) as nodes:
        nodes.cluster.has_quorum = False
        refused = await nodes.ask(name)
        nodes.cluster.has_quorum = True

        again = await nodes.ask(name)

        assert (refused.status, refused.code, again.status) == (503, "no_leader", 201)


async def test_a_form_of_a_page_has_no_key() -> None:
    async with nodes_before("") as nodes:
        shown = await nodes.one.browse(
            "/apps/blog/rename", {"new_name": "news"}, **{"Idempotency-Key": "two words"}
        )

        assert shown.status == 303


def test_the_description_says_of_every_write_what_becomes_of_it_when_it_is_sent_again() -> None:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            keys = [one for one in operation["parameters"] if one["name"] == "Idempotency-Key"]
            is_write = method != "get" and not path.startswith("/git/")
            assert len(keys) == is_write, f"{method} {path}"
            if (name := f"{method.upper()} {path}") in ROUTE_OF:
                assert not is_write or keys[0]["description"] == kind_of(ROUTE_OF[name]).value
    assert json.dumps(document()).count("answer_not_kept") == len(of_kinds(Repeated.SECRET, Repeated.BEGUN))
