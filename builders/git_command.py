"""git, driven through GitPython: no terminal, no configuration but ours, and ended at its bounds."""

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from builders.errors import BoundHit, CloneFailed
from builders.git_access import GitAccess
from builders.log import BuildLog
from builders.request import MIB, Bounds

LOOK_SECONDS = 0.25
SAY_SECONDS = 20
OUTPUT_BYTES = 4 * MIB
ERROR_BYTES = 64 * 1024
CONFIG = """\
[core]
	hooksPath = /dev/null
	fsmonitor = false
	symlinks = true
[safe]
	directory = *
[protocol]
	allow = never
[protocol "{transport}"]
	allow = always
[http]
	followRedirects = false
	lowSpeedLimit = 500
	lowSpeedTime = 60
[gc]
	auto = 0
[maintenance]
	auto = false
[submodule]
	recurse = false
[transfer]
	bundleURI = false
[advice]
	detachedHead = false
"""
KEPT = re.compile(r"(?i:https?|all|no)_(?i:proxy)|SSL_CERT_(FILE|DIR)|GIT_SSL_CAINFO|PATH")


class GitError(CloneFailed):
    """git ended with an error; `said` is what it wrote."""

    def __init__(self, command: str, said: str) -> None:
        lines = [line for line in said.splitlines() if line.strip()]
        told = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))]
        self.said = said
        self.last_line = (told or lines or ["it said nothing"])[0].strip()[:300]
        super().__init__(
            f"git {command} failed: {self.last_line}", hint="Check the repository, then try again"
        )


class GitCommand:
    """One bare repository under construction, in a folder of its own."""

    def __init__(
        self,
        work: Path,
        bounds: Bounds,
        log: BuildLog,
        *,
        transport: str = "none",
        objects: str = "",
        access: GitAccess = GitAccess(),  # noqa: B008 (frozen)
    ) -> None:
        """`transport` is the only one git may use; `objects` a folder of objects that it may read as well."""
        self._folder = work / "repository.git"
        self._folder.mkdir()
        home = work / "git-home"
        home.mkdir()
        config = home / "config"
        config.write_text(CONFIG.format(transport=transport))
        self._bounds = bounds
        self._log = log
        self._deadline = time.monotonic() + bounds.wall_seconds
        # Half of a build's start: what was pushed or uploaded needs none of it.
        from git.cmd import Git

        self._git_at = Git
        self._env = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)} | {
            "HOME": str(home),
            "LC_ALL": "C",
            "GIT_DIR": str(self._folder),
            "GIT_CONFIG_GLOBAL": str(config),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": transport,
            "GIT_TERMINAL_PROMPT": "0",
            "SSH_ASKPASS": "/bin/false",
            "GIT_LFS_SKIP_SMUDGE": "1",
            **access.write(home / "access"),
        }
        if objects:
            self._env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = objects

    def forget_access(self) -> None:
        """Remove the secrets: what follows is not git's alone."""
        shutil.rmtree(self._folder.parent / "git-home" / "access", ignore_errors=True)

    @property
    def folder(self) -> Path:
        """The repository."""
        return self._folder

    def succeeds(self, words: Sequence[str]) -> bool:
        """Does the command end well?"""
        try:
            self.run(words)
        except GitError:
            return False
        return True

    def run(self, words: Sequence[str], *, cwd: str | None = None, most_bytes: int = OUTPUT_BYTES) -> str:
        """What the command writes. Raises `GitError`, or `BoundHit` when it takes too long or too much
        disk.
        """
        git = self._git_at(str(self._folder) if cwd is None else cwd)
        running: Any = git.execute(["git", *words], as_process=True, env=self._env, start_new_session=True)
        process = running.proc
        watch = _Watch(process.pid, self._folder, self._bounds, self._deadline, self._log)
        errors = _Reader(process.stderr, ERROR_BYTES)
        try:
            output = process.stdout.read(most_bytes + 1)
            if len(output) > most_bytes:
                watch.stop_process("clone", f"git {words[0]} wrote more than {most_bytes} bytes")
            code = process.wait()
        finally:
            watch.stop()
            errors.join()
            process.stdout.close()
        if watch.hit is not None:
            raise watch.hit
        if code != 0:
            command = next(word for word in words if not word.startswith("-"))
            raise GitError(command, self._log.masked(errors.content.decode(errors="replace")))
        return bytes(output).decode(errors="surrogateescape")


class _Reader(threading.Thread):
    """Reads a pipe to its end, so that its writer never waits; keeps the beginning."""

    def __init__(self, pipe: IO[bytes], most_bytes: int) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._most_bytes = most_bytes
        self.content = b""
        self.start()

    def run(self) -> None:
        while data := self._pipe.read(4_096):
            self.content = (self.content + data)[: self._most_bytes]


class _Watch(threading.Thread):
    """Ends git when its time is up or what it fetched has grown too large; says now and then how far it
    is.
    """

    def __init__(self, pid: int, folder: Path, bounds: Bounds, deadline: float, log: BuildLog) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._folder = folder
        self._bounds = bounds
        self._deadline = deadline
        self._log = log
        self._stopped = threading.Event()
        self.hit: BoundHit | None = None
        self.start()

    def run(self) -> None:
        said_at, said_bytes = time.monotonic(), 0
        while not self._stopped.wait(LOOK_SECONDS):
            fetched, now = _bytes_below(self._folder), time.monotonic()
            if fetched > self._bounds.clone_bytes:
                self.stop_process(
                    "clone",
                    f"the repository is larger than {self._bounds.clone_bytes // MIB} MiB",
                    hint="Make it smaller, or raise [limits] clone_bytes",
                )
            elif now > self._deadline:
                self.stop_process("wall", f"fetching took longer than {self._bounds.wall_seconds:g} s")
            elif now > said_at + SAY_SECONDS and fetched > said_bytes:
                said_at, said_bytes = now, fetched
                self._log.line(f"{fetched // MIB} MiB so far")

    def stop_process(
        self, bound: str, message: str, *, hint: str = "Try again, or use a smaller repository"
    ) -> None:
        self.hit = self.hit or BoundHit(bound, message, hint=hint)
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _bytes_below(folder: Path) -> int:
    total = 0
    for path, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                continue  # git has renamed it meanwhile
    return total
