"""Small real git repositories, and requests to build them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builders.interpreters import find_interpreters
from builders.log import BuildLog
from builders.request import Bounds, BuildRequest

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org", "GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository with a working tree."""

    path: Path

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def git(self, *words: str) -> str:
        return subprocess.run(
            ["git", *words],
            cwd=self.path,
            env={**os.environ, **IDENTITY},
            check=True,
            capture_output=True,
            text=True,
            umask=0o022,
        ).stdout.strip()

    def commit(self, files: Mapping[str, str | bytes], message: str = "Change") -> str:
        """Write the files, commit all, return the commit."""
        for name, content in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        _show(self.path)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def commit_tree(self, tree: str) -> str:
        """Commit a tree that is there already, whatever it holds; nothing is checked out."""
        commit = self.git("commit-tree", "-m", "Change", tree)
        self.git("update-ref", "refs/heads/main", commit)
        _show(self.path)
        return commit

    def tree(self, *entries: tuple[str, str, str]) -> str:
        """A tree of (mode, name, object) as they come, such as `git mktree` would refuse it."""
        raw = self.path / ".git" / "raw-tree"
        raw.write_bytes(
            b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(entry) for mode, name, entry in entries)
        )
        return self.git("hash-object", "-t", "tree", "-w", "--literally", str(raw))

    def blob(self, content: str) -> str:
        """A file's content, or where a link leads."""
        raw = self.path / ".git" / "raw-blob"
        raw.write_text(content)
        return self.git("hash-object", "-w", "--no-filters", str(raw))


def _show(folder: Path) -> None:
    """Let others read it, as anybody's repository can be read: builds have users of their own."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))


def make_repository(path: Path, files: Mapping[str, str | bytes] | None = None) -> Repository:
    """A new repository; with files, one commit of them."""
    path.mkdir(parents=True)
    repository = Repository(path)
    repository.git("init", "--quiet", "--initial-branch=main")
    _show(path)
    if files is not None:
        repository.commit(files)
    return repository


def make_request(
    tmp_path: Path, git_url: str, *, bounds: Bounds | None = None, **fields: object
) -> BuildRequest:
    """A request of an administrator, its folders below `tmp_path`."""
    folders = {name: str(tmp_path / name) for name in ("work", "app", "output", "cache", "own_cache")}
    for folder in folders.values():
        Path(folder).mkdir()
    return BuildRequest(
        git_url=git_url,
        uv=str(Path(sys.executable).with_name("uv")),
        interpreters=find_interpreters(managed=None, homes_allowed=True),
        bounds=bounds or Bounds(wall_seconds=60, silence_seconds=30),
        **{"administrator": True, **folders, **fields},  # type: ignore[arg-type]
    )


def make_log() -> tuple[BuildLog, list[str]]:
    """A log, and the lines it has written so far."""
    lines: list[str] = []
    return BuildLog(lines.append), lines


def hostile_project(code: str) -> dict[str, str | bytes]:
    """Files of a Python app that runs `code` while it is built, where Django collects its files; needs no
    index.
    """
    return {
        "requirements.txt": "",
        "manage.py": f"# django\n{code}\n",
        "site1/settings.py": "STATIC_ROOT = '/app/staticfiles'\n",
        "Procfile": "web: true\n",
    }


def uninstallable_project() -> dict[str, str | bytes]:
    """Files of a Python app whose own build backend gives up."""
    return {
        "pyproject.toml": '[project]\nname = "broken"\nversion = "1"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": "def build_wheel(directory, *_):\n    raise SystemExit('no wheel')\n",
        "Procfile": "web: true\n",
    }
