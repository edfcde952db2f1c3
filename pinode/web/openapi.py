"""`GET /openapi.json`: the API in OpenAPI 3.1, made of the routes and of what their handlers declare."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pinode import __version__
from pinode.apps.app import APP_NAME
from pinode.web.messages import MAX_PAGE
from pinode.web.operation import Content, Operation, operation_of
from pinode.web.routes import Route
from pinode.web.shapes import (
    TEXT,
    Record,
    Schema,
    Shape,
    schema_of,
    text,
    whole,
)

ERROR = Record({"error": Record({"code": TEXT, "message": TEXT, "hint": TEXT})}, name="Error")
# Of what stands in a path; a number there is a text of digits.
PATH_PARAMETERS: Mapping[str, Schema] = {
    "app": text(APP_NAME.pattern),
    "id": whole(0, 10**18 - 1),
    "version": whole(0, 10**18 - 1),
    "dyno": text(r"[A-Za-z0-9_-]{1,63}(\.[0-9]{1,9})?"),
    "topic": text(r"[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]*", most=200),
}
KEY = {"name": "Idempotency-Key", "in": "header", "schema": text(r"[\x21-\x7e]{1,200}")}
SECURITY: Mapping[str, list[dict[str, list[str]]]] = {
    "public": [],
    "user": [{"token": []}],
    "admin": [{"token": []}],
    "app": [{"token": []}],
    "local": [],
    "git": [{"password": []}],
}
SCHEMES = {"token": {"type": "http", "scheme": "bearer"}, "password": {"type": "http", "scheme": "basic"}}
REFUSALS: Mapping[int, str] = {
    400: "a value cannot be",
    401: "not logged in, or wrongly",
    403: "not allowed",
    404: "it is not there",
    409: "it does not go with what is",
    413: "too large",
    429: "too many at once; Retry-After says when",
    502: "another node does not answer",
    503: "no leader now, or no room; Retry-After says when",
    504: "no answer in time: it may or may not be done",
    507: "this node's disk is full",
}


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """All routes but pages and their files."""
    named: dict[str, Schema] = {}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        declared = operation_of(route.handler)
        if declared is not None:
            paths.setdefault(route.path, {})[route.method.lower()] = _described(route, declared, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pinode",
            "version": __version__,
            "description": "Any node answers any request. Errors: see the code.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": named, "securitySchemes": SCHEMES},
    }


def _described(route: Route, declared: Operation, named: dict[str, Schema]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": declared.summary,
        "security": SECURITY[route.access],
        "parameters": _parameters(route, declared),
        "responses": _responses(route, declared, named),
    }
    if declared.body is not None:
        contents = [_content(one, named) for one in (declared.body, *declared.other_bodies)]
        found["requestBody"] = {
            "content": {media_type: about for content in contents for media_type, about in content.items()},
            "required": declared.needs_body,
        }
    return found


def _parameters(route: Route, declared: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS.get(name, TEXT)}
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    query = dict(declared.query)
    if declared.is_paged:
        query = {"limit": whole(1, MAX_PAGE), "cursor": whole(0, 10**9), **query}
    found += [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
    takes_key = route.method != "GET" and route.access != "git"
    return [*found, {**KEY, "description": declared.repeated.value}] if takes_key else found


def _responses(route: Route, declared: Operation, named: dict[str, Schema]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, shape in declared.answers.items():
        found[str(status)] = {"description": "done" if status != 204 else "done, with nothing to tell"}
        if shape is not None:
            found[str(status)]["content"] = _content(shape, named)
    problem: Shape | Content = Content("text/plain") if route.access == "git" else ERROR
    for status in sorted({*_usual_refusals(route), *declared.refusals} - set(declared.answers)):
        found[str(status)] = {"description": REFUSALS[status], "content": _content(problem, named)}
    return found


def _usual_refusals(route: Route) -> set[int]:
    """What follows from the method, the path and the login."""
    found = {400} if route.path.startswith(("/api/", "/git/")) else set()
    if route.access in ("user", "admin", "app", "git"):
        found |= {401, 403}
    if "{" in route.path or route.access == "local":
        found |= {404}
    if route.method != "GET":
        found |= {403, 409, 413, 503, 504}
    return found


def _content(shape: Shape | Content, named: dict[str, Schema]) -> dict[str, Any]:
    if isinstance(shape, Content):
        return {shape.media_type: {"schema": {**TEXT, **({"format": "binary"} if shape.is_binary else {})}}}
    return {"application/json": {"schema": schema_of(shape, named)}}
