"""`GET /openapi.json` describes all of the API, truly. That every answer in the tests of the API is as described is
checked by `web_stage`.
"""

import json
from typing import Any

import pytest

from pinode.web.operation import operation_of
from pinode.web.routes import ROUTES
from tests.pinode.described import check_described, document
from tests.pinode.web_stage import stage

JSON = {"Content-Type": "application/json"}


async def test_every_route_is_described_but_pages_and_their_files_and_none_else() -> None:
    async with stage() as on:
        found = (await on.api("GET", "/openapi.json", by=None)).json()

    described = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    routes = {
        (route.method, route.path)
        for route in ROUTES
        if not route.is_page and not route.path.startswith("/static/")
    }
    assert described == routes
    assert not [route.path for route in ROUTES if route.is_page and operation_of(route.handler)]


def test_it_is_valid_and_says_of_each_endpoint_who_may_and_how_it_is_refused() -> None:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert {"200", "201", "202", "204"} & set(operation["responses"]), where
            public = not operation["security"]
            assert public or {"401", "403"} <= set(operation["responses"]), where
            named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert all(f"{{{name}}}" in path for name in named), where
            assert len(named) == path.count("{"), where
    ids = [one["operationId"] for methods in document()["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))


def test_what_is_referred_to_is_there() -> None:
    text = json.dumps(document())

    for name in document()["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text
    assert text.count('"$ref"') > 50


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (418, JSON, {"error": {"code": "x", "message": "x", "hint": ""}}),
        (404, JSON, {"error": {"code": "x", "message": "x"}}),
        (404, {"Content-Type": "text/html"}, {}),
        (200, JSON, {"public_key": None, "private_key": "x"}),
        (200, JSON, {"public_key": 1}),
        (200, JSON, {}),
    ],
)
def test_an_answer_that_is_not_as_described_is_noticed(
    status: int, headers: dict[str, str], body: Any
) -> None:
    pytest.importorskip("jsonschema_rs")

    with pytest.raises(AssertionError):
        check_described("GET", "/api/v1/apps/blog/deploy-key", status, headers, json.dumps(body))


async def test_a_field_that_is_not_declared_is_refused_with_those_that_are() -> None:
    async with stage("bob") as on:
        on.add_app("blog")
        unknown = await on.api("POST", "/api/v1/apps", {"name": "shop", "giturl": "x"})
        none_taken = await on.api("POST", "/api/v1/apps/blog/dynos/stop", {"now": True})

    assert (unknown.status, none_taken.status) == (400, 400)
    assert unknown.json()["error"]["hint"] == "Known are name, git_url."
    assert none_taken.json()["error"]["hint"] == "It takes none."
