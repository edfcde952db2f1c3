"""An interpreter in the slug, where no installed one satisfies the app (checklist 4.5)."""

from collections.abc import Mapping
from pathlib import Path

from builders.builder import BuildContext
from builders.interpreters import pinned, required
from builders.own_python import fetch_own_python
from builders.request import BuildRequest
from pinode.sandbox.interpreters import interpreter_binds
from tests.builders.repositories import make_log


class Fetching:
    """uv as far as this needs it: puts the wanted Python where it is told, if it `has` it."""

    def __init__(self, folder: Path, *, has: str) -> None:
        self.asked: list[str] = []
        self._folder = folder
        self._has = has

    async def attempt(self, step: str, argv: list[str], env: Mapping[str, str]) -> bool:
        self.asked.append(argv[-1])
        if not self._has.startswith(argv[-1]):
            return False
        minor = self._has.rpartition(".")[0]
        root = self._folder / "cache" / "python" / f"cpython-{self._has}-linux-aarch64-gnu"
        for name in (f"bin/python{minor}", f"lib/python{minor}/os.py", f"lib/python{minor}/test/big.py"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        return True


def context_for(
    folder: Path, fetching: Fetching, *, allowed: bool = True, bwrap: str = "bwrap"
) -> BuildContext:
    async def never(step: str, argv: list[str], env: Mapping[str, str]) -> None:
        raise AssertionError(step)

    app = folder / "app"
    app.mkdir(exist_ok=True)
    request = BuildRequest(
        git_url="", app=str(app), cache=str(folder / "cache"), python_downloads=allowed, bwrap=bwrap
    )
    return BuildContext(
        request=request, app=app, log=make_log()[0], run=never, run_tool=never, attempt=fetching.attempt
    )


async def test_the_lowest_that_satisfies_the_app_is_fetched_once_and_goes_into_the_slug(
    tmp_path: Path,
) -> None:
    fetching = Fetching(tmp_path, has="3.12.4")

    first = await fetch_own_python(context_for(tmp_path, fetching), required("pyproject.toml", ">=3.12"))
    (tmp_path / "app").rename(tmp_path / "built")
    again = await fetch_own_python(context_for(tmp_path, fetching), pinned(".python-version", "3.12"))

    assert first == again
    assert first is not None
    assert (first.path, first.version) == (str(tmp_path / "app/.python/bin/python3.12"), "3.12.4")
    assert fetching.asked == ["3.12"]
    assert (tmp_path / "app/.python/lib/python3.12/os.py").exists()
    assert not (tmp_path / "app/.python/lib/python3.12/test").exists(), "what no app needs is left out"


async def test_none_is_fetched_where_that_is_not_allowed_or_the_slug_could_not_run_it(tmp_path: Path) -> None:
    fetching = Fetching(tmp_path, has="3.12.4")
    wish = pinned(".python-version", "3.12")

    assert await fetch_own_python(context_for(tmp_path, fetching, allowed=False), wish) is None
    assert await fetch_own_python(context_for(tmp_path, fetching, bwrap=""), wish) is None
    assert await fetch_own_python(context_for(tmp_path, fetching), pinned("runtime.txt", "3.6.5")) is None
    assert fetching.asked == []


async def test_one_that_cannot_be_had_is_none(tmp_path: Path) -> None:
    fetching = Fetching(tmp_path, has="3.12.4")

    assert await fetch_own_python(context_for(tmp_path, fetching), pinned("runtime.txt", "3.14")) is None
    assert fetching.asked == ["3.14"]


def test_a_dyno_needs_to_be_shown_nothing_for_an_interpreter_of_its_own(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to("../../.python/bin/python3.12")

    assert interpreter_binds(tmp_path, managed=tmp_path / "managed") == ()
