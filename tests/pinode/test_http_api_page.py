"""docs/http_api.md names every route of the API, and none that is not there."""

import re
from pathlib import Path

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


def test_every_address_on_the_page_is_a_route() -> None:
    paths = {re.sub(r"\{[^}]*\}", "{}", route.path) for route in ROUTES}
    named = re.findall(r"`(?:GET|POST|PATCH|DELETE)[^`]*? (/[^`? ]+)", PAGE.read_text())

    assert named
    assert {re.sub(r"\{[^}]*\}", "{}", path) for path in named} <= paths
