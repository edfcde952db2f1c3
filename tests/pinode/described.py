"""Answers held against `GET /openapi.json`: what is not described there is a defect of one of the two."""

import functools
import importlib.util
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pinode.web.openapi import describe
from pinode.web.routes import ROUTES


@functools.cache
def document() -> dict[str, Any]:
    """The description, as a node answers it."""
    found: dict[str, Any] = json.loads(json.dumps(describe(ROUTES)))
    return found


def check_described(method: str, path: str, status: int, headers: Mapping[str, str], text: str) -> None:
    """Raises `AssertionError` when the answer is not described; pages, and what is nowhere, are not."""
    found = _operation(method, urlsplit(path).path)
    if found is None or status == 500:  # a bug, which a test has planted
        return
    where, operation = found
    described = operation["responses"].get(str(status))
    assert described, f"{where} answers {status}, which is not described: {text[:300]}"
    contents = described.get("content", {})
    media_type = headers.get("Content-Type", "").partition(";")[0]
    assert media_type in contents or (not contents and not text), f"{where} answers {media_type!r}"
    if media_type == "application/json":
        _check_json(f"{where} {status}", contents[media_type]["schema"], json.loads(text))


def _operation(method: str, path: str) -> tuple[str, dict[str, Any]] | None:
    """The described operation that a request goes to; literal paths before those with parameters."""
    for template in sorted(document()["paths"], key=lambda one: one.count("{")):
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
        operations = document()["paths"][template]
        if method.lower() in operations and re.fullmatch(pattern, path):
            return f"{method} {template}", operations[method.lower()]
    return None


def _check_json(where: str, schema: dict[str, Any], value: Any) -> None:
    if importlib.util.find_spec("jsonschema_rs") is None:  # `make dev` installs it
        return
    import jsonschema_rs

    whole = {**schema, "components": document()["components"]}
    errors = [
        f"{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in jsonschema_rs.Draft202012Validator(whole).iter_errors(value)
    ]
    assert not errors, f"{where}: {errors}"
