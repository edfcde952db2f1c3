"""The pages about the client and its wire say what the code does."""

import re
from dataclasses import fields
from pathlib import Path

import replicated_queue
from replicated_queue import QueueClient, errors
from replicated_queue.request_codec import _KINDS as NUMBERS
from replicated_queue.request_codec import _SUBMIT as SUBMIT

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_requests_is_that_of_the_codec() -> None:
    page = (DOCS / "wire_protocol.md").read_text()
    table = page.partition("| request | kind |")[2].partition("\n\n")[0]

    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| ?(.*?) ?\|$", table, re.MULTILINE)

    others = [
        (kind.__name__, str(number), ", ".join(_names_of(kind)))
        for kind, number in sorted(NUMBERS.items(), key=lambda item: item[1])
    ]
    assert rows == [("Submit", str(SUBMIT), "bundle, waits, repeated"), *others]


def test_the_page_names_every_verb_of_the_client_and_none_besides() -> None:
    table = (DOCS / "queue_client.md").read_text().partition("| verb |")[2].partition("\n\n")[0]

    named = {
        name
        for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }

    assert named == {name for name in dir(QueueClient) if not name.startswith("_")} - {"local", "platform"}


def test_every_error_on_the_page_can_be_imported() -> None:
    page = (DOCS / "queue_client.md").read_text()

    named = set(re.findall(r"`([A-Z]\w+)`", page.partition("| error |")[2]))

    assert named <= set(replicated_queue.__all__)
    assert {name for name in named if issubclass(getattr(errors, name), errors.Refusal)} > {
        "LeaseLost",
        "Duplicate",
    }


def _names_of(kind: type) -> list[str]:
    return list(getattr(kind, "_fields", None) or [field.name for field in fields(kind)])
