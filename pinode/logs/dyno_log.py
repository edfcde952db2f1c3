"""The output of one dyno: a file that it appends to by itself; nothing of ours can block it or die on it.

The file knows no times. Beside it stand marks (offset, time), written when growth is noticed; the time is the
file's own last change, so that what a quiet dyno prints is stamped exactly, however late we look. Over its
bound the file becomes `.old` (the newest half) and is emptied under the dyno, which goes on appending.
A full or failing disk costs lines, never the node.
"""

import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from pinode.logs.log_line import PLATFORM_MARK, Mark, RawLine, split_lines

logger = logging.getLogger(__name__)

MARK = struct.Struct(">QQ")
PLATFORM_BIT = 1 << 63  # of a mark's time: pinode wrote then
COPY_BYTES = 256 * 1024
READ_BYTES = 1024 * 1024  # looked at for one answer, of each file


class DynoLog:
    """The log of the dyno of one placement, in `directory/app/`."""

    def __init__(self, directory: Path, *, app: str, dyno: str, placement: int, most_bytes: int) -> None:
        """At most about `most_bytes` are kept, half of them in the file that grows."""
        self.path = directory / app / f"{dyno}.{placement}.log"
        self._most_bytes = most_bytes
        self._noticed = 0
        self._is_failing = False
        with self._survived():
            self._noticed = _last_mark(marks_path(self.path))

    def open(self) -> int:
        """A file descriptor for the dyno's output; the caller closes it. Raises `OSError`."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def notice_growth(self) -> None:
        """Mark what is new, if anything is; bound the file. One `stat` when nothing is."""
        with self._survived():
            self._notice_growth()

    def say(self, text: str) -> None:
        """Add a line of the platform's own."""
        line = PLATFORM_MARK + text.replace("\n", " ").encode(errors="replace") + b"\n"
        with self._survived():
            self._notice_growth()
            with open(self.open(), "ab") as file:
                # A dyno that ended in the middle of a line must not swallow ours.
                file.write(line if _ends_a_line(self.path) else b"\n" + line)
            self._notice_growth(is_platform=True)

    def last_lines(self, count: int) -> list[str]:
        """The newest lines of the dyno itself."""
        with self._survived():
            return [line.text for line in read_tail(self.path, count) if not line.is_platform]
        return []

    @contextmanager
    def _survived(self) -> Iterator[None]:
        """Go on without the log when the disk does not take it; say so once until it does again."""
        try:
            yield
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                logger.warning("log not kept path=%s reason=%s", self.path, error)
            self._is_failing = True

    def _notice_growth(self, *, is_platform: bool = False) -> None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return
        marked_bytes = 0
        if found.st_size > self._noticed:
            with marks_path(self.path).open("ab") as marks:
                marks.write(_packed(Mark(found.st_size, found.st_mtime_ns // 1_000_000, is_platform)))
                marked_bytes = marks.tell()
            self._noticed = found.st_size
        if found.st_size > self._most_bytes // 2 or marked_bytes > self._most_bytes // 4:
            self._start_over(found.st_size)

    def _start_over(self, size: int) -> None:
        old, keep = old_path(self.path), self._most_bytes // 2
        with self.path.open("rb") as source, old.open("wb") as target:
            source.seek(max(0, size - keep))
            if size > keep:
                source.readline()
            shift = source.tell()
            while block := source.read(COPY_BYTES):
                target.write(block)
            os.truncate(
                self.path, 0
            )  # what came since the last read is lost: less than a millisecond of output
        kept = [replace(mark, end=mark.end - shift) for mark in read_marks(self.path) if mark.end > shift]
        marks_path(old).write_bytes(b"".join(map(_packed, kept)))
        os.truncate(marks_path(self.path), 0)
        self._noticed = 0


def marks_path(log: Path) -> Path:
    """Where the marks of a log file are."""
    return log.with_name(log.name + ".marks")


def old_path(log: Path) -> Path:
    """Where the part before the current one is."""
    return log.with_name(log.name + ".old")


def read_marks(log: Path) -> list[Mark]:
    """All marks; a torn last one is left out."""
    try:
        content = marks_path(log).read_bytes()
    except FileNotFoundError:
        return []
    whole = len(content) - len(content) % MARK.size
    entries = MARK.iter_unpack(content[:whole])
    return [Mark(end, time & ~PLATFORM_BIT, bool(time & PLATFORM_BIT)) for end, time in entries]


def _packed(mark: Mark) -> bytes:
    return MARK.pack(mark.end, mark.time_ms | (PLATFORM_BIT if mark.is_platform else 0))


def read_tail(log: Path, count: int) -> list[RawLine]:
    """The newest lines, oldest first."""
    lines: list[RawLine] = []
    for part in (log, old_path(log)):
        if len(lines) < count:
            lines = _read_part(part, None)[0] + lines
    return lines[-count:] if count else []


def read_from(log: Path, offset: int) -> tuple[list[RawLine], int]:
    """Whole lines from `offset` on and the offset after them; bounded, so that the oldest may be left out."""
    return _read_part(log, offset)


def _read_part(log: Path, offset: int | None) -> tuple[list[RawLine], int]:
    """From `offset`, only whole lines; without one, the end of the file, whole or not."""
    try:
        with log.open("rb") as file:
            found = os.fstat(file.fileno())
            offset = 0 if offset is not None and offset > found.st_size else offset
            start = max(offset or 0, found.st_size - READ_BYTES)
            file.seek(start)
            content = file.read(READ_BYTES)
    except FileNotFoundError:
        return [], 0
    if offset is not None:
        # A line of a megabyte is not waited for: it is cut where it is.
        whole = content.rfind(b"\n") + 1
        content = content[:whole] if whole or len(content) < READ_BYTES else content
    lines = split_lines(content, start=start, marks=read_marks(log), last_ms=found.st_mtime_ns // 1_000_000)
    return lines, start + len(content)


def log_files(directory: Path, app: str, *, since: int = 0) -> list[Path]:
    """Log files of an app, the least recently written first; of placements from the number `since` on."""
    found = []
    for path in (directory / app).glob("*.log"):
        with suppress(FileNotFoundError):  # it was deleted just now
            if placement_of(path) >= since:
                found.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(found)]


def placement_of(log: Path) -> int:
    """17 for `web.1.17.log`."""
    number = log.name.rsplit(".", 2)[1]
    return int(number) if number.isdecimal() else 0


def dyno_of(log: Path) -> str:
    """`web.1` for `web.1.17.log`."""
    return log.name.rsplit(".", 2)[0]


def remove_surplus(directory: Path, app: str, *, most_bytes: int, keep: frozenset[Path]) -> None:
    """Delete an app's oldest logs over the bound, but none of `keep`."""
    total = 0
    for log in reversed(log_files(directory, app)):
        total += sum(part.stat().st_size for part in _parts(log) if part.exists())
        if total >= most_bytes and log not in keep:
            remove_log(log)


def remove_log(log: Path) -> None:
    """Delete a log with all its parts."""
    for part in _parts(log):
        with suppress(FileNotFoundError):
            part.unlink()


def _parts(log: Path) -> Iterator[Path]:
    yield from (log, marks_path(log), old_path(log), marks_path(old_path(log)))


def _ends_a_line(log: Path) -> bool:
    with log.open("rb") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
        return file.read(1) in (b"", b"\n")


def _last_mark(marks: Path) -> int:
    """The offset up to which growth was noticed before; a mark torn by a power cut is cut off."""
    try:
        content = marks.read_bytes()
    except FileNotFoundError:
        return 0
    torn = len(content) % MARK.size
    if torn:
        os.truncate(marks, len(content) - torn)
    end: int = MARK.unpack_from(content, len(content) - torn - MARK.size)[0] if len(content) > torn else 0
    return end
