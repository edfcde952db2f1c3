"""Webhooks: a signed call of a git server deploys the branch; all other calls change nothing (checklist 5.1, 5.2)."""

import asyncio
import gzip
import hashlib
import hmac
import json
import urllib.parse
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pinode.apps.build import Build
from tests.pinode.web_stage import Answer, Stage, stage

URL = "https://git.example.org/bob/blog.git"
PUSH = {"ref": "refs/heads/main", "after": "c" * 40, "repository": {"default_branch": "main"}}
EVIL = [
    "-x", "--upload-pack=x", "a..b", "a b", "a\nb", "a\0b", "a:b", "x" * 5000, "a;reboot\n", "@{1}", "a.lock",
]  # fmt: skip


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob", "eve") as made:
        made.add_app("blog", "bob", URL)
        yield made


async def make(web: Stage, **wanted: Any) -> tuple[str, str]:
    made = await web.api("POST", "/api/v1/apps/blog/hooks", wanted)
    assert made.status == 201, made.text
    return urllib.parse.urlsplit(made.json()["url"]).path, made.json()["secret"]


def signed(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def call(web: Stage, path: str, secret: str, payload: Any = PUSH, **headers: str) -> Answer:
    """As GitHub calls."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    named = {"X_GitHub_Event": "push", "X_Hub_Signature_256": "sha256=" + signed(secret, body)}
    return await web.api("POST", path, body, by=None, **{**named, **headers})


def builds(web: Stage) -> list[Build]:
    return list(web.cluster.state.registry.builds("blog"))


async def test_a_push_told_by_github_is_built_from_the_apps_own_repository(web: Stage) -> None:
    path, secret = await make(web)
    payload = {**PUSH, "repository": {"default_branch": "main", "clone_url": "https://evil.example.org/x"}}

    answer = await call(web, path, secret, payload)

    build = builds(web)[0]
    assert (answer.status, answer.json()) == (202, {"build": build.id})
    assert (build.git_url, build.ref, build.origin, build.created_by) == (URL, "main", "hook", "bob")
    assert build.commit is None


async def test_gitea_and_gitlab_are_understood_and_forms_too(web: Stage) -> None:
    path, secret = await make(web)
    bodies = [json.dumps({**PUSH, "after": str(number) * 40}).encode() for number in range(1, 4)]
    form = urllib.parse.urlencode({"payload": bodies[2].decode()}).encode()

    gitea = await web.api(
        "POST", path, bodies[0], by=None, X_Gitea_Event="push", X_Gitea_Signature=signed(secret, bodies[0])
    )
    gitlab = await web.api(
        "POST", path, bodies[1], by=None, X_Gitlab_Event="Push Hook", X_Gitlab_Token=secret
    )
    as_form = await call(web, path, secret, form, Content_Type="application/x-www-form-urlencoded")

    assert [answer.status for answer in (gitea, gitlab, as_form)] == [202, 202, 202]
    assert len(builds(web)) == 3


async def test_a_call_that_is_not_signed_with_the_secret_changes_nothing(web: Stage) -> None:
    path, secret = await make(web)
    body = json.dumps(PUSH).encode()
    before = web.cluster.state.digest()

    refused = [
        await call(web, path, "wrong"),
        await call(web, path, secret, X_Hub_Signature_256=""),
        await call(web, path, secret, X_Hub_Signature_256="sha256=" + "0" * 64),
        await call(web, path, secret, X_Hub_Signature_256="sha256=ü"),
        await call(web, path, "wrong", X_Gitlab_Token=secret),
        await call(web, path, secret, X_Gitea_Signature="0" * 64),
        await web.api("POST", path, body, by=None, X_GitHub_Event="push"),
        await web.api("POST", path, body, by=None, X_Gitlab_Event="Push Hook", X_Gitlab_Token=secret[:-1]),
        await web.api("POST", path, body, by="bob", X_GitHub_Event="push"),
        await call(web, path, secret, body + b" ", X_Hub_Signature_256="sha256=" + signed(secret, body)),
    ]

    assert {answer.status for answer in refused} == {401}
    assert {answer.code for answer in refused} == {"wrong_signature"}
    assert web.cluster.state.digest() == before


async def test_the_same_call_again_is_not_built_again(web: Stage) -> None:
    path, secret = await make(web)

    first = await call(web, path, secret)
    again = await call(web, path, secret, X_GitHub_Delivery="another-id")

    assert (first.status, again.status) == (202, 200)
    assert "delivered before" in again.json()["ignored"]
    assert len(builds(web)) == 1


@pytest.mark.parametrize(
    "payload",
    [
        {**PUSH, "ref": "refs/heads/other"},
        {**PUSH, "ref": "refs/tags/v1"},
        {**PUSH, "ref": None},
        {**PUSH, "deleted": True},
        {**PUSH, "after": "0" * 40},
        {},
    ],
)
async def test_other_branches_tags_and_deletions_are_ignored(web: Stage, payload: dict[str, Any]) -> None:
    path, secret = await make(web)

    answer = await call(web, path, secret, payload)

    assert answer.status == 200 and "ignored" in answer.json()
    assert builds(web) == []


async def test_a_ping_is_answered(web: Stage) -> None:
    path, secret = await make(web)

    assert (await call(web, path, secret, {"zen": "x"}, X_GitHub_Event="ping")).status == 200


async def test_the_branch_can_be_chosen(web: Stage) -> None:
    path, secret = await make(web, branch="release")

    main = await call(web, path, secret)
    chosen = await call(web, path, secret, {**PUSH, "ref": "refs/heads/release"})

    assert (main.status, chosen.status) == (200, 202)
    assert [build.ref for build in builds(web)] == ["release"]


@pytest.mark.parametrize("branch", EVIL)
async def test_names_of_branches_that_are_none_reach_nothing(web: Stage, branch: str) -> None:
    path, secret = await make(web)
    payload = {"ref": f"refs/heads/{branch}", "repository": {"default_branch": branch}}

    called = await call(web, path, secret, payload)
    made = await web.api("POST", "/api/v1/apps/blog/hooks", {"branch": branch})

    assert called.status == made.status == 400
    assert builds(web) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"\xff", b"[" * 100_000])
async def test_what_is_no_payload_is_refused(web: Stage, body: bytes) -> None:
    path, secret = await make(web)

    assert (await call(web, path, secret, body)).status == 400


async def test_a_hook_of_another_app_or_a_revoked_one_is_unknown(web: Stage) -> None:
    path, secret = await make(web)
    web.add_app("other", "bob", URL)

    elsewhere = await call(web, path.replace("blog", "other"), secret)
    strange = await call(web, path.rpartition("/")[0] + "/..%2f..", secret)
    revoked = await web.api("DELETE", path)
    after = await call(web, path, secret)

    assert (elsewhere.status, strange.status, revoked.status, after.status) == (404, 404, 204, 404)
    assert builds(web) == []


async def test_a_hook_revoked_while_its_call_arrives_builds_nothing(web: Stage) -> None:
    path, secret = await make(web)
    payload = json.dumps(PUSH).encode()
    is_called = asyncio.Event()

    def clock() -> float:  # asked for once the hook has been found
        is_called.set()
        return 0.0

    async def body() -> AsyncIterator[bytes]:
        yield payload[:5]
        await asyncio.wait_for(is_called.wait(), 10)
        assert (await web.api("DELETE", path)).status == 204
        yield payload[5:]

    web.site.clock = clock
    signature = {"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + signed(secret, payload)}
    async with web.client.post(path, data=body(), headers=signature) as answer:
        assert answer.status == 404
    assert builds(web) == []


async def test_the_secret_is_shown_once(web: Stage) -> None:
    _, secret = await make(web)

    listed = await web.api("GET", "/api/v1/apps/blog/hooks")

    assert listed.json()["items"][0]["branch"] is None
    assert secret not in listed.text + repr(web.cluster.state.registry.hooks("blog"))


async def test_too_many_calls_are_put_off(web: Stage) -> None:
    path, _ = await make(web)

    statuses = [(await call(web, path, "wrong")).status for _ in range(40)]

    assert statuses[0] == 401 and statuses[-1] == 429


async def test_a_packed_call_is_not_unpacked_for_a_stranger(web: Stage) -> None:
    path, secret = await make(web)

    refused = await call(web, path, secret, gzip.compress(json.dumps(PUSH).encode()), Content_Encoding="gzip")

    assert refused.status == 400 and "gzip" in refused.text
    assert builds(web) == []


async def test_an_app_has_so_many_hooks_and_no_more(web: Stage) -> None:
    for _ in range(10):
        await make(web)

    assert (await web.api("POST", "/api/v1/apps/blog/hooks", {})).code == "too_many_hooks"


async def test_an_app_without_a_repository_says_so(web: Stage) -> None:
    web.add_app("empty", "bob")
    made = await web.api("POST", "/api/v1/apps/empty/hooks", {})
    path = urllib.parse.urlsplit(made.json()["url"]).path

    answer = await call(web, path, made.json()["secret"])

    assert answer.status == 409 and "no repository" in answer.message
