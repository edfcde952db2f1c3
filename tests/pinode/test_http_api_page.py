"""docs/http_api.md names every route of the API, and none that is not there."""

import re
from pathlib import Path

from pinode.web.operation import operation_of
from pinode.web.routes import ROUTES

PAGE = Path(__file__).parents[2] / "docs" / "http_api.md"


def test_every_route_of_the_api_stands_on_its_page() -> None:
    text = PAGE.read_text()
    missing = []

    for route in ROUTES:
        if route.is_page or route.access == "local" or route.path.startswith("/static"):
            continue
        last = re.sub(r"^/api/v1", "", route.path).rpartition("/")[2]
        if not re.search(rf"`[^`\n]*{re.escape(last).replace('node', '[^}]*')}[^`\n]*`", text):
            missing.append(f"{route.method} {route.path}")

    assert not missing


def test_the_page_names_the_writes_that_take_an_idempotency_key_and_no_others() -> None:
    takers = []
    for route in ROUTES:
        declared = operation_of(route.handler)
        if declared is not None and declared.takes_key:
            takers.append(f"{route.method} {route.path}")

    sentence = re.search(r"It counts for ([^;]*);", PAGE.read_text())

    assert sentence
    named = re.findall(r"`(?:POST /api/v1|…)([^`]*)`", sentence[1])
    assert sorted(f"POST /api/v1{path}" for path in named) == sorted(takers)


def test_every_address_on_the_page_is_a_route() -> None:
    paths = {re.sub(r"\{[^}]*\}", "{}", route.path) for route in ROUTES}
    named = re.findall(r"`(?:GET|POST|PATCH|DELETE)[^`]*? (/[^`? ]+)", PAGE.read_text())

    assert named
    assert {re.sub(r"\{[^}]*\}", "{}", path) for path in named} <= paths
