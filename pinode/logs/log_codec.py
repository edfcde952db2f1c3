"""Questions about logs and their answers, as msgpack."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from pinode.apps.app import APP_NAME
from pinode.errors import InvalidInput
from pinode.logs.log_line import LogLine

MOST_LINES = 1_500
MOST_PROCESS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Whose log, how many of its newest lines, of which process type or dyno (None: all)."""

    app: str
    lines: int
    process: str | None = None

    def wants(self, dyno: str) -> bool:
        """Whether a dyno named like `web.1` is asked for."""
        return self.process in (None, "", dyno, dyno.rpartition(".")[0])


def encode_query(query: LogQuery) -> bytes:
    packed: bytes = msgpack.packb({"app": query.app, "lines": query.lines, "process": query.process})
    return packed


def decode_query(payload: bytes) -> LogQuery:
    """Raises `InvalidInput` for anything that is no query."""
    fields = _unpack(payload, dict)
    app, lines, process = fields.get("app"), fields.get("lines"), fields.get("process")
    if not isinstance(app, str) or not APP_NAME.fullmatch(app) or not isinstance(lines, int):
        raise InvalidInput(
            "a question about logs names no app", hint="The asking node may be of another version"
        )
    if process is not None and (not isinstance(process, str) or len(process) > MOST_PROCESS):
        raise InvalidInput("a question about logs names no process type")
    return LogQuery(app=app, lines=max(0, min(lines, MOST_LINES)), process=process)


def encode_lines(lines: Sequence[LogLine]) -> bytes:
    packed: bytes = msgpack.packb([(line.time_ms, line.dyno, line.source, line.text) for line in lines])
    return packed


def decode_lines(payload: bytes, *, app: str, node: str) -> list[LogLine]:
    """Raises `InvalidInput` for anything that is no answer."""
    lines = []
    for entry in _unpack(payload, list):
        match entry:
            case [int(time_ms), str(dyno), str(source), str(text), *_]:
                lines.append(
                    LogLine(time_ms=time_ms, app=app, dyno=dyno, node=node, text=text, source=source)
                )
            case _:
                raise InvalidInput(f"node {node} answered with something that is no log")
    return lines


def _unpack(payload: bytes, kind: type) -> Any:
    try:
        value = msgpack.unpackb(payload)
    except (ValueError, msgpack.UnpackException) as error:
        raise InvalidInput("what another node says of logs cannot be read") from error
    if not isinstance(value, kind):
        raise InvalidInput("what another node says of logs has another shape")
    return value
