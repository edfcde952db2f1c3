"""Beanstalk servers as programs, and a client so plain that it hides nothing of the protocol."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from tests.waiting import until

BEANSTALKD = shutil.which("beanstalkd") or "/usr/bin/beanstalkd"
TUBES = ("default", "mail", "bills")
NOT_EQUAL = {
    "pid",
    "rusage-utime",
    "rusage-stime",
    "uptime",
    "id",
    "current-connections",
    "total-connections",
}
ABOUT_EQUAL = {"age", "time-left", "pause-time-left"}
JUNK = (
    b"put", b"put 1", b"put 1 0 1 -1", b"put 4294967296 0 1 1", b"put 1 0 1 1 x", b"kick", b"kick x", b"kick-job",
    b"delete x", b"delete 1 ", b"delete  1x", b"peek", b"peek-readyx", b"reservex", b"reserve-with-timeout",
    b"release 1 2", b"bury 1", b"touch", b"touch -1", b"use", b"use -a", b"use a b", b"watch", b"ignore",
    b"stats x", b"stats-job", b"stats-tube", b"stats-tube a b", b"list-tubes x", b"pause-tube", b"pause-tube mail",
    b"pause-tube mail x", b"pause-tube nobody 1", b"stats-tube nobody", b"PUT 1 0 1 1", b"", b"use " + b"x" * 201,
    b"use " + b"x" * 300, b"a\0b", b"delete 18446744073709551616", b"delete 18446744073709551615", b"kick 1x",
)  # fmt: skip


class Server:
    """One program that speaks the protocol at a Unix socket."""

    def __init__(self, command: list[str], path: Path) -> None:
        self.path = path
        self.process = subprocess.Popen([*command, "-l", f"unix:{path}"])

    @classmethod
    def ours(cls, directory: Path, *options: str) -> "Server":
        return cls([sys.executable, "-m", "replicated_queue.beanstalk", *options], directory / "ours.sock")

    @classmethod
    def beanstalkd(cls, directory: Path) -> "Server":
        return cls([BEANSTALKD], directory / "theirs.sock")

    def __enter__(self) -> Self:
        until(lambda: self.client(), within_seconds=10, saying="a beanstalk server").close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)

    def client(self) -> "PlainClient":
        return PlainClient(self.path)


class PlainClient:
    """Sends bytes, reads whole answers."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(path))
        self._reader = self._socket.makefile("rb")

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def answer(self) -> tuple[bytes, bytes]:
        """(line, data)"""
        line = self._reader.readline()
        if line.split(b" ")[0] not in (b"OK", b"RESERVED", b"FOUND"):
            return line, b""
        return line, self._reader.read(int(line.split()[-1]) + 2)

    def ask(self, request: bytes) -> tuple[bytes, bytes]:
        self.send(request)
        return self.answer()

    def stats(self, request: bytes = b"stats\r\n") -> dict[str, str]:
        return document(self.ask(request)[1])

    def end(self) -> None:
        """Say that no more is sent; answers are read still."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._reader.close()
        self._socket.close()


def document(data: bytes) -> dict[str, str]:
    """The mapping in an answer of `stats` and its kin."""
    lines = data.decode().splitlines()[1:-1]
    return {key: value for key, _, value in (line.partition(": ") for line in lines)}


class Pair:
    """Gives the same random commands to our door and to beanstalkd, on several connections each."""

    def __init__(self, ours: Server, theirs: Server, random: Random) -> None:
        self._servers = (ours, theirs)
        self._random = random
        self._last_id = 0
        self._keepers = self._connect()
        for keeper in self._keepers:  # tubes exist in both as long as somebody watches them
            for tube in TUBES[1:]:
                keeper.ask(b"watch %s\r\n" % tube.encode())
        self._clients = [self._connect() for _ in range(3)]
        self.history: list[bytes] = []

    def step(self) -> None:
        """One command, or one client that leaves and comes back."""
        place = self._random.randrange(len(self._clients))
        if self._random.random() < 0.02:
            self._reconnect(place)
            return
        request = self._request()
        self.history.append(b"%d: %s" % (place, request[:80]))
        answers = [client.ask(request) for client in self._clients[place]]
        if answers[0][0].startswith(b"INSERTED"):
            self._last_id += 1
        assert _alike(request, *answers), (self.history[-30:], answers)

    def close(self) -> None:
        for pair in (self._keepers, *self._clients):
            for client in pair:
                client.close()

    def _connect(self) -> tuple[PlainClient, PlainClient]:
        ours, theirs = (server.client() for server in self._servers)
        for client in (ours, theirs):
            client.ask(b"list-tube-used\r\n")  # now it has been let in
        return ours, theirs

    def _reconnect(self, place: int) -> None:
        self.history.append(b"%d: reconnects" % place)
        for client in self._clients[place]:
            client.close()
        for keeper in self._keepers:
            until(
                lambda keeper=keeper: keeper.stats()["current-connections"] == str(len(self._clients)),
                within_seconds=10,
                saying="the connection is gone",
            )
        self._settle()
        self._clients[place] = self._connect()

    def _settle(self) -> None:
        """Until ours has given back what the client held, and both were asked for `stats` equally often."""

        def are_alike() -> bool:
            ours, theirs = (keeper.stats() for keeper in self._keepers)
            return all(ours[key] == theirs[key] for key in ours if key.startswith("current-jobs"))

        until(are_alike, within_seconds=10, saying="both have released the jobs")

    def _request(self) -> bytes:
        random = self._random
        job = random.randrange(1, self._last_id + 2)
        job = max(1, self._last_id - random.randrange(12)) if random.random() < 0.8 else job
        tube = random.choice(TUBES).encode()
        priority = random.choice((0, 1, 5, 1023, 1024, 2**32 - 1))
        # Far apart: whose time comes in the same millisecond goes by id with us, by nanoseconds with beanstalkd.
        delay = random.choice((0, 0, 0, random.randrange(1_000, 1_000_000)))
        size = (
            random.choice((0, 1, 5, 50, 50, 65_535, 65_536)) if random.random() < 0.1 else random.randrange(9)
        )
        body = random.randbytes(size)
        choices = {
            b"put %d %d %d %d\r\n%s\r\n" % (priority, delay, random.choice((900, 1200)), size, body): 9,
            b"reserve-with-timeout 0\r\n": 9,
            b"delete %d\r\n" % job: 4,
            b"release %d %d %d\r\n" % (job, priority, delay): 4,
            b"bury %d %d\r\n" % (job, priority): 4,
            b"touch %d\r\n" % job: 1,
            b"reserve-job %d\r\n" % job: 2,
            b"kick %d\r\n" % random.randrange(4): 2,
            b"kick-job %d\r\n" % job: 2,
            b"peek %d\r\n" % job: 1,
            b"peek-ready\r\n": 2,
            b"peek-delayed\r\n": 2,
            b"peek-buried\r\n": 2,
            b"use %s\r\n" % tube: 2,
            b"watch %s\r\n" % tube: 2,
            b"ignore %s\r\n" % tube: 2,
            b"list-tubes\r\n": 1,
            b"list-tube-used\r\n": 1,
            b"list-tubes-watched\r\n": 1,
            b"stats-job %d\r\n" % job: 3,
            b"stats-tube %s\r\n" % tube: 3,
            b"stats\r\n": 1,
            b"pause-tube %s %d\r\n" % (tube, random.choice((0, 0, 0, 1000))): 1,
            random.choice(JUNK) + b"\r\n": 2,
        }
        return random.choices(list(choices), weights=list(choices.values()))[0]


def _alike(request: bytes, ours: tuple[bytes, bytes], theirs: tuple[bytes, bytes]) -> bool:
    if not request.startswith((b"stats", b"list-tubes\r")) or not theirs[1]:
        return ours == theirs
    if request.startswith(b"list"):
        return sorted(ours[1].splitlines()) == sorted(theirs[1].splitlines())
    mine, other = document(ours[1]), document(theirs[1])
    if list(mine) != list(other):
        return False
    for key, value in mine.items():
        if key in NOT_EQUAL or key.startswith("binlog") or (key == "cmd-stats"):
            continue
        if key in ABOUT_EQUAL:
            if abs(int(value) - int(other[key])) > 1:
                return False
        elif value != other[key]:
            return False
    return True
