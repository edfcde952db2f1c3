"""Real repositories, deployed on three nodes: what answers, after how long, from how large a slug.

    python -m benchmarks.repositories CLONES LIST.toml [NAME ...]

CLONES is a folder of clones, `owner/name` (or `owner+name`) in it; each is served by git over HTTP on loopback. The list
has a `[[repository]]` for each: `name`, `what` it is an example of, and where needed `directory`, `config`, `is_web =
false`. Of each, two deploys: cold, with empty caches on all nodes, and warm, the same commit once more. Seconds go from
the request to the first answer of the release through a router or, where there is no web process, to a worker that is
up. Prints rows of docs/real_repositories.md.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pinode.cli.api_client import ApiClient
from pinode.cli.demo_source import served
from pinode.cli.invocation import Failure
from pinode.cli.target import app_path
from tests.multi_host.three_nodes import Nodes, running_nodes
from tests.waiting import until

DEPLOY_SECONDS = 600.0
OWN_STATUSES = (502, 503, 504)  # the router's


@dataclass(frozen=True, slots=True)
class Repository:
    """One to try."""

    name: str
    what: str
    directory: str = ""
    is_web: bool = True
    config: Mapping[str, str] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repositories")
    parser.add_argument("clones", type=Path)
    parser.add_argument("list", type=Path)
    parser.add_argument("names", nargs="*", help="only those; all unless named")
    asked = parser.parse_args()
    listed = [Repository(**row) for row in tomllib.loads(asked.list.read_text())["repository"]]
    chosen = [item for item in listed if not asked.names or item.name in asked.names]
    with tempfile.TemporaryDirectory(prefix="pinode-bench-") as folder, served(Path(folder)) as base:
        present = [item for item in chosen if _offer(item, asked.clones, Path(folder))]
        print(
            "| repository | what | cold s | warm s | slug MB | answer |\n|---|---|---|---|---|---|",
            flush=True,
        )
        with running_nodes() as nodes:
            for number, repository in enumerate(present):
                row = Row(nodes, repository, f"a{number}", f"{base}/{repository.name}")
                print(row.text(), flush=True)
    return 0


def _offer(repository: Repository, clones: Path, folder: Path) -> bool:
    """Put it where it is served; False when there is no clone of it."""
    places = [clones / repository.name, clones / repository.name.replace("/", "+")]
    found = [
        path for place in places for path in (place / ".git", place, place / "repo/.git", place / "repo")
    ]
    clone = next((path for path in found if (path / "HEAD").is_file()), None)
    if clone is None:
        print(f"no clone of {repository.name} in {clones}", file=sys.stderr)
        return False
    target = folder / repository.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(clone, target)
    return True


@dataclass(slots=True)
class Row:
    """One repository on the cluster."""

    nodes: Nodes
    repository: Repository
    app: str
    url: str

    def text(self) -> str:
        """Its row of the table."""
        name = f"[{self.repository.name}](https://github.com/{self.repository.name})"
        cells = [name + (f" `{self.repository.directory}`" if self.repository.directory else "")]
        with self._created() as client:
            self._empty_caches()
            try:
                cold, warm = self._deploy(client), self._deploy(client)
            except Failure as failure:
                said = " ".join(str(failure).split())
                return f"| {' | '.join([*cells, self.repository.what])} | | | | {said} |"
            size = f"{self._slug_bytes(client) / 1_000_000:.1f}"
            return f"| {' | '.join([*cells, self.repository.what, cold[0], warm[0], size, warm[1]])} |"

    def _slug_bytes(self, client: ApiClient) -> int:
        slug = client.items(app_path(self.app, "releases"))[0]["slug"]
        found = (path for node in self.nodes.nodes for path in (node.folder / "data/slugs").rglob(f"{slug}*"))
        return next(path.stat().st_size for path in found)

    @contextlib.contextmanager
    def _created(self) -> Iterator[ApiClient]:
        client = self.nodes.nodes[0].client()
        client.post("/api/v1/apps", {"name": self.app})
        if self.repository.config:
            client.request("PATCH", app_path(self.app, "config"), body=dict(self.repository.config))
        try:
            yield client
        finally:
            client.request("DELETE", app_path(self.app))

    def _empty_caches(self) -> None:
        for node in self.nodes.nodes:
            shutil.rmtree(node.folder / "data/builds/cache", ignore_errors=True)

    def _deploy(self, client: ApiClient) -> tuple[str, str]:
        began = time.perf_counter()
        where = {"git_url": self.url, "dir": self.repository.directory or None}
        build = client.post(app_path(self.app, "builds"), where)
        version = self._released(client, int(build["id"]))
        answer = self._answer(client, version)
        return f"{time.perf_counter() - began:.1f}", answer

    def _released(self, client: ApiClient, build: int) -> int:
        """The version that the build made. Raises `Failure` with what the build says."""
        found = self._until_state(client, ("builds", str(build)), ("succeeded", "failed", "cancelled"))
        if found["version"] is None:
            raise Failure(found["failure"])
        return int(found["version"])

    def _answer(self, client: ApiClient, version: int) -> str:
        """What is seen of the release. Raises `Failure` with what its rollout says."""
        if not self.repository.is_web and version == 1:
            client.request("PATCH", app_path(self.app, "formation"), body={"worker": 1})
        found = self._until_state(client, ("releases", str(version)), ("live", "failed"))
        if found["state"] == "failed":
            raise Failure(found["failure"])

        def seen() -> Any:
            if not self.repository.is_web:
                dynos = client.items(app_path(self.app, "dynos"))
                return "worker up" if any(_is_up(dyno, version) for dyno in dynos) else None
            status, _ = self.nodes.get(self.app, self.nodes.nodes[0])  # 127.0.0.1, which Django knows
            return None if status in OWN_STATUSES else str(status)

        seen_as: str = until(seen, within_seconds=DEPLOY_SECONDS, saying=f"v{version} of {self.app} answers")
        return seen_as

    def _until_state(
        self, client: ApiClient, path: tuple[str, ...], states: tuple[str, ...]
    ) -> dict[str, Any]:
        def there() -> Any:
            found: dict[str, Any] = client.get(app_path(self.app, *path))
            return found if found["state"] in states else None

        found: dict[str, Any] = until(
            there, within_seconds=DEPLOY_SECONDS, saying=f"{' '.join(path)} of {self.app} ends"
        )
        return found


def _is_up(dyno: dict[str, Any], version: int) -> bool:
    return bool(dyno["state"] == "up" and dyno["version"] == version)


if __name__ == "__main__":
    sys.exit(main())
