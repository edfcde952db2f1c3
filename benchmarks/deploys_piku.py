"""piku, as deploys are compared with it: one machine, no sandbox, no copies; `git push`, a virtualenv, uWSGI.

It runs in a HOME of its own, without its ssh server (git calls its command directly) and without nginx: what answers is the
app's own port. `piku.py` is what its project publishes; uWSGI, virtualenv and click are installed beside it from the
package index, as its documents say.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.multi_host.three_nodes import FLASK_APP, make_repository
from tests.waiting import until

NEEDS = ("pyuwsgi", "virtualenv", "click", "setuptools<80")
APP = "blog"


class Piku:
    """Its HOME, its environment, and the app's repository."""

    def __init__(self, folder: Path, script: Path) -> None:
        self._home = folder / "home"
        (self._home / "bin").mkdir(parents=True)
        self._script = self._home / "bin" / "piku.py"
        shutil.copy(script, self._script)
        self._script.chmod(0o755)
        tools = folder / "tools"
        self._run("uv", "venv", "-q", "--seed", str(tools))
        self._run("uv", "pip", "install", "-q", "--python", str(tools / "bin/python"), *NEEDS)
        self._tools = tools / "bin"
        call = self._home / "bin" / "as_ssh"
        call.write_text(
            f'#!/bin/sh\nshift\nexec "{self._tools}/python" "{self._script}" $(echo "$1" | tr -d "\'")\n'
        )
        call.chmod(0o755)
        self.environment: Mapping[str, str] = {
            **{
                name: value
                for name, value in os.environ.items()
                if name.startswith(("UV_", "PIP_", "SSL_", "LANG"))
            },
            "HOME": str(self._home),
            "USER": "bench",
            "PATH": f"{self._tools}:/usr/local/bin:/usr/bin:/bin",
            "GIT_SSH_COMMAND": str(call),
            "GIT_SSH_VARIANT": "simple",
        }
        self._run("python", str(self._script), "setup")
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self._port = found.getsockname()[1]
        self._repository = make_repository(folder / "app", {**FLASK_APP, "ENV": self._settings(0)})
        self._changes = 0

    def deploy(self) -> float:
        """Change the code and push it; seconds to the first answer of the new code."""
        self._changes += 1
        (self._repository / "app.py").write_text(f"{FLASK_APP['app.py']}# change {self._changes}\n")
        (self._repository / "ENV").write_text(self._settings(self._changes))
        identity = ("-c", "user.name=bench", "-c", "user.email=bench@pinode.invalid")
        self._run("git", *identity, "commit", "-qam", "change", folder=self._repository)
        began = time.perf_counter()
        self._run("git", "push", f"ssh://piku/{APP}", "HEAD:master", folder=self._repository)
        until(self._answers, within_seconds=120, saying=f"change {self._changes} answers from piku")
        return time.perf_counter() - began

    @contextlib.contextmanager
    def running(self) -> Iterator["Piku"]:
        """With its uWSGI emperor."""
        emperor = subprocess.Popen(
            [
                str(self._tools / "uwsgi"),
                "--binary-path",
                str(self._tools / "uwsgi"),
                "--ini",
                str(self._home / ".piku/uwsgi/uwsgi.ini"),
            ],
            env=dict(self.environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield self
        finally:
            emperor.send_signal(signal.SIGQUIT)  # to uWSGI, SIGTERM means: begin anew
            with contextlib.suppress(subprocess.TimeoutExpired):
                emperor.wait(timeout=20)
            if emperor.poll() is None:
                emperor.kill()

    def _answers(self) -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/", timeout=2) as answer:
                said: bytes = answer.read()
                return said.decode().endswith(f" v{self._changes}")
        return False

    def _settings(self, change: int) -> str:
        """What the app shows of itself, of which it knows the release by."""
        return f"PORT={self._port}\nPINODE_APP={APP}\nPINODE_NODE=piku\nPINODE_RELEASE=v{change}\n"

    def _run(self, program: str, *words: str, folder: Path | None = None) -> None:
        environment = dict(getattr(self, "environment", os.environ))
        here = Path(sys.executable).with_name(program)
        found = str(here) if program == "uv" and here.exists() else program
        ended = subprocess.run(
            [found, *words], cwd=folder, env=environment, capture_output=True, check=False, timeout=300
        )
        if ended.returncode:
            raise RuntimeError(
                f"{program} {' '.join(words)} failed: {(ended.stderr or ended.stdout).decode()[-2000:]}"
            )
