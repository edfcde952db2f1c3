"""The API about webhooks: made by people, called by git servers (GitHub, Gitea, Forgejo, GitLab).

A call carries no login: it proves itself by the hook's secret. Of its body only the branch's name counts:
what is deployed is the head of that branch in the app's own repository, so that an old call sent again could
at worst deploy what is there anyway. The very same call is done once.
"""

import hashlib
import hmac
import json
import secrets
import urllib.parse
from typing import Any

from aiohttp import web

from builders.errors import InvalidRequest
from builders.git_url import check_ref
from pinode.apps.app import App
from pinode.apps.checks import check_app_name
from pinode.apps.commands import CreateHook, RevokeHook
from pinode.apps.errors import AlreadyDelivered, HookNotFound
from pinode.apps.hook import Hook
from pinode.deploy.build_job import HookCall, request_build
from pinode.errors import Conflict, InvalidInput, NotLoggedIn
from pinode.web.answer_shapes import HOOK
from pinode.web.bodies import plain_body
from pinode.web.messages import answer, json_body, list_answer, nothing, text_of
from pinode.web.operation import Content, Repeated, operation
from pinode.web.shapes import ANYTHING, COUNT, TEXT, Record, maybe, page_of
from pinode.web.site import caller, managed_app, site_of

BODY_BYTES = 5 * 1024 * 1024  # of a call; GitHub tells of every commit in it
EVENTS = ("X-GitHub-Event", "X-Gitea-Event", "X-Forgejo-Event", "X-Gogs-Event", "X-Gitlab-Event")
PUSHES = ("push", "Push Hook")
SIGNATURES = ("X-Hub-Signature-256", "X-Gitea-Signature", "X-Forgejo-Signature", "X-Gogs-Signature")
NO_COMMIT = "0" * 40


@operation("Its webhooks, without their secrets", is_paged=True, answers={200: page_of(HOOK)})
async def list_hooks(request: web.Request) -> web.StreamResponse:
    """GET …/hooks: without their secrets"""
    registry, app = site_of(request).cluster.state.registry, managed_app(request)
    return list_answer(request, [_document(request, hook) for hook in registry.hooks(app.name)])


@operation(
    "Make one; its secret is shown this once",
    body=Record({}, {"branch": maybe(TEXT)}),
    needs_body=False,
    repeated=Repeated.SECRET,
    answers={201: Record({**HOOK.fields, "secret": TEXT})},
)
async def create_hook(request: web.Request) -> web.StreamResponse:
    """POST …/hooks {branch?} → 201 {id, url, secret}: the secret is shown this once"""
    body = await json_body(request)
    try:
        branch = check_ref(text_of(body, "branch", default=None) or "") or None
    except InvalidRequest as refused:
        raise InvalidInput(f"{refused.message}.", hint=refused.hint) from refused
    cluster, app = site_of(request).cluster, managed_app(request)
    hook_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    await cluster.execute(
        CreateHook(
            app=app.name,
            id=hook_id,
            sealed_secret=cluster.seal(secret),
            branch=branch,
            actor=caller(request).name,
            created_index=app.created_index,
        )
    )
    hook = cluster.state.registry.hook(app.name, hook_id)
    document = _document(request, hook) if hook is not None else {"id": hook_id}
    return answer({**document, "secret": secret}, status=201)


@operation("Revoke one", answers={204: None})
async def revoke_hook(request: web.Request) -> web.StreamResponse:
    """DELETE …/hooks/{hook}"""
    app = managed_app(request)
    await site_of(request).cluster.execute(
        RevokeHook(
            app=app.name,
            id=request.match_info["hook"],
            actor=caller(request).name,
            created_index=app.created_index,
        )
    )
    return nothing()


@operation(
    "Called by a git server, with the hook's secret instead of a login",
    body=ANYTHING,
    other_bodies=(Content("application/x-www-form-urlencoded"),),
    repeated=Repeated.AGAIN,  # the very same call is done once as it is
    answers={200: Record({"ignored": TEXT}), 202: Record({"build": COUNT})},
    refusals=(401, 429),
)
async def deliver(request: web.Request) -> web.StreamResponse:
    """POST …/hooks/{hook}, by a git server: 202 with the build, or 200 and why there is none"""
    site = site_of(request)
    app, hook = _called(request)
    site.hook_calls.take(f"{app.name} {hook.id}", now=site.clock())
    with site.hook_bodies.one_more():
        body = await plain_body(request, most_bytes=BODY_BYTES)
    _check_secret(request, site.cluster.reveal(hook.sealed_secret), body)
    event = next((request.headers[name] for name in EVENTS if name in request.headers), "")
    if event not in PUSHES:
        return answer({"ignored": "only pushes are built"})
    branch = _branch(_payload(request, body), hook)
    if branch is None:
        return answer({"ignored": "not a push to the branch that is deployed"})
    if app.git_url is None:
        raise Conflict(
            f"no repository of {app.name!r} is known yet.", hint="Deploy it once from its git URL."
        )
    user = site.cluster.state.people.user(hook.created_by)
    try:
        build_id = await request_build(
            site.cluster,
            app=app,
            git_url=app.git_url,
            ref=branch,
            subdirectory=_directory(request, app),
            actor=hook.created_by,
            is_admin=user is not None and user.role == "admin",
            called=HookCall(hook.id, hashlib.sha256(body).hexdigest()),
        )
    except AlreadyDelivered as again:
        return answer({"ignored": again.message})
    return answer({"build": build_id}, status=202)


def _called(request: web.Request) -> tuple[App, Hook]:
    """Raises `HookNotFound` for whatever is not there.

    A git server goes on calling an app that was renamed by its old name, until another app takes that.
    """
    name, hook_id = request.match_info["app"], request.match_info["hook"]
    check_app_name(name)
    registry = site_of(request).cluster.state.registry
    hook = registry.hook(name, hook_id) if registry.app(name) else registry.hook_of_id(hook_id)
    app = registry.app(hook.app) if hook is not None else None
    if app is None or hook is None:
        raise HookNotFound(hook=hook_id)
    return app, hook


def _check_secret(request: web.Request, secret: str, body: bytes) -> None:
    """GitHub, Gitea and their kin sign the body; GitLab sends the secret itself. Raises `NotLoggedIn`."""
    wanted = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    given = [request.headers[name].removeprefix("sha256=") for name in SIGNATURES if name in request.headers]
    token = request.headers.get("X-Gitlab-Token", "")
    is_signed = bool(given) and all(_same(one.lower(), wanted) for one in given)
    if not is_signed and not (not given and _same(token, secret)):
        raise NotLoggedIn(
            "the call is not signed with this webhook's secret.",
            hint="Give the git server the secret that was shown when the webhook was made, or make another.",
            code="wrong_signature",
        )


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _payload(request: web.Request, body: bytes) -> dict[str, Any]:
    try:
        text = body.decode()
        if request.content_type == "application/x-www-form-urlencoded":
            text = urllib.parse.parse_qs(text, max_num_fields=10).get("payload", [""])[0]
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the call's body is not JSON in UTF-8.", code="invalid_json") from error
    if not isinstance(document, dict):
        raise InvalidInput("the call's body is no JSON object.", code="invalid_json")
    return document


def _branch(payload: dict[str, Any], hook: Hook) -> str | None:
    """The branch that was pushed to, if it is the one to deploy. Raises `InvalidInput`."""
    ref = payload.get("ref")
    if not isinstance(ref, str) or not ref.startswith("refs/heads/"):
        return None
    if payload.get("deleted") is True or payload.get("after") == NO_COMMIT:
        return None
    try:
        branch = check_ref(ref.removeprefix("refs/heads/"))
    except InvalidRequest as refused:
        raise InvalidInput(f"{refused.message}.", hint=refused.hint) from refused
    return branch if branch == (hook.branch or _default_branch(payload)) else None


def _default_branch(payload: dict[str, Any]) -> object:
    for name in ("repository", "project"):
        found = payload.get(name)
        if isinstance(found, dict) and found.get("default_branch"):
            return found["default_branch"]
    return "main"


def _directory(request: web.Request, app: App) -> str | None:
    builds = site_of(request).cluster.state.registry.builds(app.name)
    return next((build.subdirectory for build in builds if build.git_url == app.git_url), None)


def _document(request: web.Request, hook: Hook) -> dict[str, Any]:
    now = site_of(request).cluster.now_ms
    return {
        "id": hook.id,
        "url": f"https://{request.host}/api/v1/apps/{hook.app}/hooks/{hook.id}",
        "branch": hook.branch,
        "created_by": hook.created_by,
        "age_seconds": max(0.0, (now - hook.created_at_ms) / 1000),
        "deliveries": len(hook.deliveries),
    }
