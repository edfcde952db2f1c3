"""A file of config vars: KEY=VALUE lines, as people keep them in `.env`, or a JSON object."""

import json
import re

from pinode.apps.checks import check_config_name
from pinode.apps.errors import InvalidName

LINE = re.compile(r"(?:export[ \t]+)?(?P<name>[^=]*)=(?P<value>.*)", re.DOTALL)


def parse_config_file(text: str) -> dict[str, str]:
    """The vars in the file's order. Raises `ValueError` naming the line.

    A value is all that follows `=`, byte for byte. In double quotes it is read as JSON reads a text, which is
    how `pinode config --reveal` shows one with newlines; in single quotes it is what stands between them.
    """
    if text.lstrip().startswith("{"):
        return _from_json(text)
    values: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = LINE.fullmatch(line.lstrip())
        if match is None:
            raise ValueError(f"line {number} is not KEY=VALUE")
        try:
            check_config_name(match["name"])
            values[match["name"]] = _value(match["value"])
        except (InvalidName, ValueError) as error:
            raise ValueError(f"line {number}: {error}") from error
    return values


def _value(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    if len(text) >= 2 and text[0] == text[-1] == '"':
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ValueError("what stands in the double quotes is not as in JSON") from error
        return str(value)
    return text


def _from_json(text: str) -> dict[str, str]:
    document = json.loads(text)
    for name, value in document.items():
        check_config_name(name)
        if not isinstance(value, str):
            raise ValueError(f"the value of {name} is not a text")
    return dict(document)
