"""`python -m builders` as tests run it: a repository in, an outcome, a log and an unpacked slug out."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from builders.archive import ArchiveBounds, unpack
from builders.codec import decode_outcome, encode_request
from builders.request import BuildRequest, BuildResult, Outcome

ROOT = Path(__file__).parents[2]
APPS = ROOT / "tests" / "apps"
SLUG_BYTES = 500_000_000


def files_of(app: str) -> dict[str, str | bytes]:
    """The files of one of the smallest apps."""
    folder = APPS / app
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def warm_cache() -> str:
    """A cache that is kept from one run of the tests to the next, as a node keeps its own."""
    folder = Path(tempfile.gettempdir()) / f"pinode-tests-{os.getuid()}" / "cache"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(folder)


def build(request: BuildRequest, env: Mapping[str, str] | None = None) -> tuple[Outcome, str]:
    """Run it; its outcome and its log."""
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "builders"], input=encode_request(request), capture_output=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", **index_environment(), **(env or {})},
        timeout=300,
    )  # fmt: skip
    outcome = decode_outcome((Path(request.output) / "result.json").read_bytes())
    assert ended.returncode == (0 if isinstance(outcome, BuildResult) else 1), ended.stderr.decode()
    return outcome, ended.stdout.decode()


def built(request: BuildRequest, env: Mapping[str, str] | None = None) -> BuildResult:
    """Run it; it must give a slug."""
    outcome, log = build(request, env)
    assert isinstance(outcome, BuildResult), log
    return outcome


def unpacked(request: BuildRequest, into: Path) -> Path:
    """The slug it gave, laid out elsewhere; where it was built is gone."""
    with (Path(request.output) / "slug.tar.gz").open("rb") as file:
        unpack(file, into, bounds=ArchiveBounds(total_bytes=SLUG_BYTES))
    Path(request.app).rename(Path(request.app).with_name("built-here"))
    return into


def with_warm_cache(request: BuildRequest) -> BuildRequest:
    """The same with the cache that is kept."""
    return replace(request, cache=warm_cache())


def index_environment() -> Mapping[str, str]:
    """Where this machine gets its packages from."""
    from pinode.deploy.build_machine import find_build_machine
    from pinode.sandbox.sandbox import find_isolation

    return find_build_machine(
        find_isolation(required=False), data_dir=Path("/nowhere"), homes_allowed=True
    ).index.env
