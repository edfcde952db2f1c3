"""Packages that were compiled and packed before: believed when they are whole, and only for the same files."""

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from builders.archive import ArchiveBounds, Layer, pack, unpack
from builders.layer import KeptLayer, layer_of
from tests.builders.repositories import make_request

LARGE = 10**9


class Builds:
    """Builds of one app, one after another, each with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    async def build(
        self, *, library: str = "x = 1\n", code: str = "", made_by: str = "python 3.11"
    ) -> tuple[Path, KeptLayer]:
        """The slug, laid out, and the layer before it was kept."""
        self.count += 1
        here = self.folder / str(self.count)
        here.mkdir(parents=True)
        request = make_request(here, "file:///nowhere", own_cache=str(self.own_cache))
        app = Path(request.app)
        files = {".venv/lib/site.py": library, ".venv/bin/tool": "#!/bin/sh\n", "app.py": code}
        for name, text in files.items():
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            (app / name).write_text(text)
        (app / ".venv/bin/python").symlink_to("/usr/bin/python3")
        layer = layer_of(request, ".venv", made_by=made_by)
        if layer.known is None:
            (app / ".venv/lib/__pycache__").mkdir()
            (app / ".venv/lib/__pycache__/site.pyc").write_text(f"compiled {library}")
        pack(app, self.slug, most_bytes=LARGE, layer=layer.packed)
        await layer.keep(_run, os.environ)
        with self.slug.open("rb") as file:
            unpack(file, here / "out", bounds=ArchiveBounds(total_bytes=LARGE))
        return here / "out", layer

    @property
    def own_cache(self) -> Path:
        folder = self.folder / "own"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def slug(self) -> Path:
        return self.folder / "slug.tar.gz"

    @property
    def kept(self) -> Path:
        (found,) = self.own_cache.iterdir()
        return found


async def _run(step: str, argv: list[str], env: Mapping[str, str]) -> None:
    await asyncio.to_thread(subprocess.run, argv, env=dict(env), check=True)


@pytest.fixture
def builds(tmp_path: Path) -> Builds:
    return Builds(tmp_path)


async def test_what_was_packed_before_is_taken_with_its_bytecode_and_gives_the_very_same_slug(
    builds: Builds, tmp_path: Path
) -> None:
    _, first = await builds.build(code="one")
    out, second = await builds.build(code="two")
    slug = builds.slug.read_bytes()
    elsewhere = Builds(tmp_path / "elsewhere")
    await elsewhere.build(code="two")

    assert (first.known, second.known) == (None, builds.kept)
    assert (out / "app.py").read_text() == "two"
    assert (out / ".venv/lib/__pycache__/site.pyc").read_text() == "compiled x = 1\n"
    assert os.readlink(out / ".venv/bin/python") == "/usr/bin/python3"
    assert elsewhere.slug.read_bytes() == slug


@pytest.mark.parametrize("change", [{"library": "x = 2\n"}, {"made_by": "python 3.12"}])
async def test_other_packages_or_another_python_are_packed_anew_and_take_the_place_of_the_older(
    builds: Builds, change: dict[str, str]
) -> None:
    await builds.build()
    older = builds.kept

    out, layer = await builds.build(**change)

    assert layer.known is None
    assert builds.kept != older
    assert (
        out / ".venv/lib/__pycache__/site.pyc"
    ).read_text() == f"compiled {change.get('library', 'x = 1' + chr(10))}"


@pytest.mark.parametrize("damage", ["cut", "changed", "link", "folder"])
async def test_what_is_kept_and_not_whole_is_not_taken(builds: Builds, damage: str) -> None:
    await builds.build()
    kept = builds.kept
    content = kept.read_bytes()
    kept.unlink()
    match damage:
        case "cut":
            kept.write_bytes(content[: len(content) // 2])
        case "changed":
            kept.write_bytes(content[:-9] + bytes(9))
        case "link":
            (builds.folder / "real").write_bytes(content)
            kept.symlink_to(builds.folder / "real")
        case _:
            kept.mkdir()

    out, layer = await builds.build()

    assert layer.known is None
    assert (out / ".venv/lib/site.py").read_text() == "x = 1\n"
    assert hashlib.sha256(builds.kept.read_bytes()).hexdigest() in builds.kept.name


async def test_the_app_can_put_into_its_slug_by_this_what_it_could_anyway_and_nothing_else(
    builds: Builds, tmp_path: Path
) -> None:
    """Its code may write what is kept; so unpacking checks that as all else."""
    _, layer = await builds.build()
    evil = tmp_path / "evil"
    (evil / ".venv").mkdir(parents=True)
    (evil / ".venv/planted").write_text("mine")
    pack(evil, tmp_path / "other.tar.gz", most_bytes=LARGE, layer=Layer(".venv", written=tmp_path / "layer"))
    content = (tmp_path / "layer").read_bytes()
    builds.kept.unlink()
    name = f"layer-{layer.key}-{hashlib.sha256(content).hexdigest()}.tar.gz"
    (builds.own_cache / name).write_bytes(content)

    out, _ = await builds.build()

    assert (out / ".venv/planted").read_text() == "mine"
    assert (out / "app.py").exists()


@pytest.mark.parametrize("there", ["link", "file", "nothing"])
def test_a_folder_that_is_none_is_packed_as_it_is(tmp_path: Path, there: str) -> None:
    """A link that stands where the packages were is not followed: what it leads to is not the app's."""
    request = make_request(tmp_path, "file:///nowhere")
    app = Path(request.app)
    (app / "elsewhere").mkdir()
    (app / "elsewhere/secret").write_text("x")
    if there == "link":
        (app / ".venv").symlink_to("elsewhere")
    elif there == "file":
        (app / ".venv").write_text("x")

    layer = layer_of(request, ".venv", made_by="x")
    pack(app, tmp_path / "slug", most_bytes=LARGE, layer=layer.packed)
    with (tmp_path / "slug").open("rb") as file:
        unpack(file, tmp_path / "out", bounds=ArchiveBounds(total_bytes=LARGE))

    assert layer.key == ""
    assert (tmp_path / "out/.venv").is_symlink() == (there == "link")
    assert (tmp_path / "out/.venv").is_file() == (there == "file")
