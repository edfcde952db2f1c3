"""Requests and outcomes as JSON, the one form in which they cross the wall between caller and child.

An outcome comes from where strangers' code ran: `decode_outcome` believes nothing but types and sizes it has
checked.
"""

import json
import re
from dataclasses import asdict
from typing import Any

from builders.app_json import VARIABLE, AppJson, parse_app_json, render_app_json
from builders.errors import BuildError, InvalidRequest
from builders.request import Bounds, BuildFailure, BuildRequest, BuildResult, Interpreter, Outcome

REQUEST_BYTES = 1024 * 1024
OUTCOME_BYTES = 128 * 1024  # so that whoever agrees on it has room
LINE_CHARACTERS = 4_096
MOST_ITEMS = 64
TEXT_FIELDS = (
    "git_url", "deploy_key", "archive", "commit", "ref", "directory", "work", "app", "output", "cache",
    "own_cache", "uv",
    "bwrap",
)  # fmt: skip
SHA256 = re.compile(r"[0-9a-f]{64}")
MACHINE = re.compile(r"[a-z0-9_]{1,32}(,[a-z0-9_]{1,32}){0,7}")
PROGRAM = re.compile(r"(/[A-Za-z0-9._+-]{1,255}){1,32}")
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
PROCESS_TYPE = re.compile(r"[A-Za-z0-9_-]{1,63}")


def encode_request(request: BuildRequest) -> bytes:
    """The request as the child reads it from its standard input."""
    return json.dumps(asdict(request)).encode()


def decode_request(data: bytes) -> BuildRequest:
    """Raises `InvalidRequest`. A field that is not known is skipped, so that callers may be newer."""
    if len(data) > REQUEST_BYTES:
        raise InvalidRequest(
            f"the build request has {len(data)} bytes", hint=f"At most {REQUEST_BYTES} are allowed"
        )
    try:
        fields = _known(BuildRequest, json.loads(data))
        bounds = Bounds(**_known(Bounds, fields.pop("bounds", {})))
        found = tuple(Interpreter(**_known(Interpreter, item)) for item in fields.pop("interpreters", ()))
        secrets = tuple(str(secret) for secret in fields.pop("secrets", ()))
        machines = tuple(str(machine) for machine in fields.pop("machines", ()))
        config_vars = {str(name): str(value) for name, value in fields.pop("config_vars", {}).items()}
        request = BuildRequest(
            **fields,
            bounds=bounds,
            interpreters=found,
            secrets=secrets,
            machines=machines,
            config_vars=config_vars,
        )
        if not all(isinstance(getattr(request, name), str) for name in TEXT_FIELDS):
            raise ValueError(f"not all of {', '.join(TEXT_FIELDS)} are texts")
        if bool(request.git_url) == bool(request.archive):
            raise ValueError("it names not one of a git URL and an archive")
        return request
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRequest(
            f"the build request cannot be read ({error})", hint="It is a JSON object"
        ) from error


def encode_outcome(outcome: Outcome) -> bytes:
    """The outcome as the child leaves it in its output folder."""
    fields = {"ok": isinstance(outcome, BuildResult), **asdict(outcome)}
    if isinstance(outcome, BuildResult):
        fields["app_json"] = render_app_json(outcome.app_json)
    return json.dumps(fields).encode()


def decode_outcome(data: bytes) -> Outcome:
    """Raises `ValueError` for anything but a well-formed outcome within its bounds."""
    if len(data) > OUTCOME_BYTES:
        raise ValueError(f"it has {len(data)} bytes")
    try:
        fields = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(fields, dict):
        raise ValueError("it is no object")
    return _result(fields) if fields.pop("ok", False) is True else _failure(fields)


def _result(fields: dict[str, Any]) -> BuildResult:
    types, notes, slug_bytes = fields.get("process_types"), fields.get("notes", []), fields.get("slug_bytes")
    if not isinstance(types, dict) or not isinstance(notes, list) or max(len(types), len(notes)) > MOST_ITEMS:
        raise ValueError("process types or notes are malformed")
    if not isinstance(slug_bytes, int) or slug_bytes < 0:
        raise ValueError("the slug's size is malformed")
    return BuildResult(
        commit=_text(fields, "commit", COMMIT),
        slug_sha256=_text(fields, "slug_sha256", SHA256),
        slug_bytes=slug_bytes,
        builder=_text(fields, "builder"),
        process_types={_checked(name, PROCESS_TYPE): _checked(command) for name, command in types.items()},
        machine=None if fields.get("machine") is None else _text(fields, "machine", MACHINE),
        python=_optional(fields, "python"),
        interpreter=None if fields.get("interpreter") is None else _text(fields, "interpreter", PROGRAM),
        inferred=_optional(fields, "inferred"),
        notes=tuple(_checked(note) for note in notes),
        app_json=_app_json(fields.get("app_json", {})),
        first_values=_vars(fields.get("first_values", {})),
    )


def _vars(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or len(found) > MOST_ITEMS:
        raise ValueError("config vars are malformed")
    return {_checked(name, VARIABLE): _checked(value) for name, value in found.items()}


def _app_json(document: Any) -> AppJson:
    try:
        return parse_app_json(json.dumps(document).encode())
    except BuildError as error:
        raise ValueError(error.message) from error


def _failure(fields: dict[str, Any]) -> BuildFailure:
    return BuildFailure(
        code=_text(fields, "code"),
        message=_text(fields, "message"),
        hint=_text(fields, "hint"),
        commit=_optional(fields, "commit"),
        bound=_optional(fields, "bound"),
    )


def _text(fields: dict[str, Any], name: str, pattern: re.Pattern[str] | None = None) -> str:
    return _checked(fields.get(name), pattern)


def _optional(fields: dict[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else _checked(fields[name])


def _checked(value: object, pattern: re.Pattern[str] | None = None) -> str:
    if not isinstance(value, str) or len(value) > LINE_CHARACTERS or "\0" in value:
        raise ValueError("a text is malformed or too long")
    if pattern is not None and not pattern.fullmatch(value):
        raise ValueError(f"{value[:80]!r} is malformed")
    value.encode()  # a lone surrogate would fail later, at a worse place
    return value


def _known(kind: type, fields: Any) -> dict[str, Any]:
    names = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: value for name, value in dict(fields).items() if name in names}
