"""docs/http_api.md names every route and every error of the API, and none that is not there."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.errors import PinodeError
from pinode.web.operation import Repeated, operation_of
from pinode.web.problems import TABLE
from pinode.web.routes import ROUTES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "http_api.md"
# Errors that no request to the API ends with.
NOT_OF_THE_API = {
    # What the leader's plan, a supervisor or a build worker has agreed on; they see to it themselves.
    "already_placed", "placement_not_found", "release_not_pending", "release_command_started", "slug_not_found",
    "cron_fired", "cron_run_started", "malformed_command", "no_free_port", "sandbox",
    # Told otherwise: as an answer that is no error, in the lines of a push, on the node's own socket.
    "already_delivered", "not_deployed", "cannot_leave",
    # Of a node that starts, joins or is gone.
    "invalid_settings", "invalid_join_token", "join_token_refused", "another_cluster", "node_name_taken",
    "node_was_removed", "node_too_old", "program_too_old", "too_many_nodes", "removed", "rejoining",
    # Between nodes.
    "malformed", "not_member", "unknown_method",
}  # fmt: skip


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


@pytest.mark.parametrize(
    ("repeated", "sentence"),
    [
        (Repeated.SECRET, r"kept nowhere: (.*?) are done once"),
        (Repeated.BEGUN, r"- ([^:]*?) are no entries of the log"),
        (Repeated.AGAIN, r"- ([^:]*?) may be sent again without a key"),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_the_page_names_the_writes_that_are_not_answered_as_the_first_time(
    repeated: Repeated, sentence: str
) -> None:
    of_the_kind = []
    for route in ROUTES:
        declared = operation_of(route.handler)
        is_write = route.method != "GET" and route.access not in ("local", "git")
        if declared is not None and is_write and declared.repeated is repeated:
            of_the_kind.append(f"{route.method} {route.path}")

    said = re.search(sentence, PAGE.read_text(), re.DOTALL)

    assert said
    assert sorted(re.findall(r"`([^`]*)`", said[1])) == sorted(of_the_kind)


def test_every_address_on_the_page_is_a_route() -> None:
    paths = {re.sub(r"\{[^}]*\}", "{}", route.path) for route in ROUTES}
    named = re.findall(r"`(?:GET|POST|PATCH|DELETE)[^`]*? (/[^`? ]+)", PAGE.read_text())

    assert named
    assert {re.sub(r"\{[^}]*\}", "{}", path) for path in named} <= paths


def test_the_page_names_every_error_of_the_api_under_its_status_and_no_others() -> None:
    text = PAGE.read_text()
    rows = re.findall(r"^\| (\d+|any other) \| (.*) \|$", text[: text.index("## Health")], re.MULTILINE)
    named = {(status, code) for status, row in rows for code in re.findall(r"`([a-z_]+)`", row)}

    raised = {(status, code) for status, code in codes_in_the_sources() if code not in NOT_OF_THE_API}

    assert sorted(named - raised) == []
    assert sorted(raised - named) == []


def test_what_is_said_not_to_be_of_the_api_is_an_error_all_the_same() -> None:
    assert {code for _, code in codes_in_the_sources()} >= NOT_OF_THE_API


def codes_in_the_sources() -> Iterator[tuple[str, str]]:
    """Status and code of every error that pinode defines or names, those of the command line left out."""
    yield from ((str(status), code) for status, code in TABLE.values() if code)
    for path in sorted((ROOT / "pinode").rglob("*.py")):
        if path.name == "__main__.py" or path.is_relative_to(ROOT / "pinode/cli"):
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        names = vars(importlib.import_module(name))
        for node in ast.walk(ast.parse(path.read_text())):
            yield from _code_of_class(node, names)
            yield from _code_of_call(node, names)


def _code_of_class(node: ast.AST, names: dict[str, object]) -> Iterator[tuple[str, str]]:
    """`class AppExists(Conflict): code = "app_exists"`"""
    error = names.get(node.name) if isinstance(node, ast.ClassDef) else None
    if not isinstance(error, type) or not issubclass(error, PinodeError) or error.__name__ == "Refused":
        return  # nothing is raised that is no more than `Refused`
    if "code" in vars(error) and not TABLE[_row_of(error)][1]:
        yield str(TABLE[_row_of(error)][0]), error.code


def _code_of_call(node: ast.AST, names: dict[str, object]) -> Iterator[tuple[str, str]]:
    """`Conflict("…", code="node_is_alive")` and `Problem(status=405, code="wrong_method", …)`"""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    code, error = given.get("code"), names.get(node.func.id)
    if not isinstance(code, ast.Constant) or not isinstance(code.value, str):
        return
    if node.func.id == "Problem":
        status = given["status"]
        yield str(status.value) if isinstance(status, ast.Constant) else "any other", code.value
    elif isinstance(error, type) and issubclass(error, PinodeError):
        yield str(TABLE[_row_of(error)][0]), code.value


def _row_of(error: type) -> type[BaseException]:
    return next(kind for kind in error.__mro__ if kind in TABLE)
