"""A web server asked what its own description allows, and what it does not: each answer is to be as described, and none a
bug. What is asked is the same each time.
"""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

CHECKS = (
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.ignored_auth,
    checks.unsupported_method,
    checks.allow_header_conformance,
)
# They end the login that asks, do not end, or take what only git can say.
LEFT_OUT = {
    ("DELETE", "/api/v1/sessions"),
    ("GET", "/api/v1/events"),
    ("POST", "/git/{app}.git/git-receive-pack"),
}
CALL_SECONDS = 30


class Server:
    """Where to ask, as whom, and what is there to be asked about."""

    def __init__(self, base_url: str, token: str, *, verify: str | bool, there: dict[str, Any]) -> None:
        """`there` are values of path parameters that name something, so that not all is 404."""
        self._base_url, self._token, self._verify, self._there = base_url, token, verify, there
        self._session = requests.Session()  # one connection for all

    def operations(self, document: dict[str, Any]) -> Iterator[tuple[str, "Asked"]]:
        """All that can be asked for and ends, by name."""
        # Who is to send a wrong body must not fail for a wrong token already: that is the other tests' part.
        without_login = copy.deepcopy(document)
        for operations in without_login["paths"].values():
            for described in operations.values():
                described["security"] = []
        whole, open_to_all = (
            {(one.method.upper(), one.path): one for one in _operations(described)}
            for described in (document, without_login)
        )
        for method, path in sorted(whole.keys() - LEFT_OUT):
            yield f"{method} {path}", Asked(self, whole[method, path], open_to_all[method, path])

    def ask(self, case: Case, *, is_right: bool) -> None:
        """Ask once. Raises what is wrong with the answer."""
        if is_right:
            self._direct(case)
        headers = {"Authorization": f"Bearer {self._token}"}
        how: dict[str, Any] = {
            "base_url": self._base_url,
            "session": self._session,
            "verify": self._verify,
            "timeout": CALL_SECONDS,
        }
        response = case.call(headers=headers, **how)
        # Some checks ask once more by themselves.
        case.validate_response(response, checks=list(CHECKS), headers=headers, transport_kwargs=how)

    def _direct(self, case: Case) -> None:
        """To what is there, without waiting for what may never come."""
        for name in case.path_parameters or {}:
            if name in self._there and case.method.upper() != "DELETE":
                case.path_parameters[name] = self._there[name]
        if isinstance(case.query, dict) and "follow" in case.query:
            case.query["follow"] = "0"
        if isinstance(case.body, dict) and "wait_seconds" in case.body:
            case.body["wait_seconds"] = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """One operation: as it is described, and as if it needed no login."""

    server: Server
    operation: schemathesis.APIOperation
    open_to_all: schemathesis.APIOperation

    def check(self, *, examples: int) -> None:
        """Ask so many times with what is described and with what is not. Raises what is wrong with an answer."""
        right = self.operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        self._ask(right, is_right=True, examples=examples)
        wrong = self.open_to_all.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        with contextlib.suppress(Unsatisfiable):  # it takes nothing that could be wrong
            self._ask(wrong, is_right=False, examples=examples)

    def _ask(self, strategy: SearchStrategy[Case], *, is_right: bool, examples: int) -> None:
        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def ask(case: Case) -> None:
            self.server.ask(case, is_right=is_right)

        ask()


def _operations(document: dict[str, Any]) -> Iterator[schemathesis.APIOperation]:
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        yield result.ok()
