"""The log of a node: one line for each thing that happened, whatever strangers put into it."""

import logging

from pinode.node_process import LOG_FORMAT, OneLine


def test_text_of_strangers_cannot_pass_for_a_line_of_its_own() -> None:
    path = "/x\n2026-01-01 00:00:00 INFO    pinode.web admin logged in\x1b[2J\u2028"
    record = logging.LogRecord("pinode.web", logging.INFO, "", 0, "request failed path=%s", (path,), None)

    line = OneLine(LOG_FORMAT).format(record)

    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert "request failed path=/x\\n2026" in line


def test_a_traceback_keeps_its_lines() -> None:
    record = logging.LogRecord(
        "pinode", logging.ERROR, "", 0, "failed", (), (ValueError, ValueError("x"), None)
    )

    assert OneLine(LOG_FORMAT).format(record).splitlines()[-1] == "ValueError: x"
