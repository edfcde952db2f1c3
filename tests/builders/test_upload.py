"""Archives as people make them: laid out where that is harmless, refused where it is not (checklist 5.3)."""

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builders.archive import ArchiveBounds
from builders.errors import ArchiveRefused
from builders.upload import lay_out_upload
from tests.builders.test_archive import archive_of, entry

BOUNDS = ArchiveBounds(total_bytes=1_000_000, members=100)


def laid_out(archive: io.BytesIO, into: Path) -> dict[str, bytes | str]:
    into.mkdir()
    lay_out_upload(archive, into, bounds=BOUNDS)
    return {
        str(path.relative_to(into)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(into.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_what_tar_makes_of_a_folder_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    (folder / "templates" / "deep").mkdir(parents=True)
    (folder / "app.py").write_bytes(b"print()")
    (folder / "templates" / "deep" / "x.html").write_bytes(b"<p>")
    (folder / "run").write_bytes(b"#!/bin/sh")
    (folder / "run").chmod(0o700)
    (folder / "link").symlink_to("templates/deep")
    made = subprocess.run(["tar", "cz", "-C", folder, "."], check=True, capture_output=True).stdout

    found = laid_out(io.BytesIO(made), tmp_path / "out")

    assert found == {
        "app.py": b"print()", "link": "templates/deep", "run": b"#!/bin/sh", "templates/deep/x.html": b"<p>",
    }  # fmt: skip
    assert [os.access(tmp_path / "out" / name, os.X_OK) for name in ("run", "app.py")] == [True, False]


def test_what_git_archive_makes_of_a_commit_is_taken(tmp_path: Path) -> None:
    from tests.builders.repositories import make_repository

    repository = make_repository(tmp_path / "r", {"a/b.py": "x", "c": "y"})
    made = subprocess.run(
        ["git", "archive", "--format=tar.gz", "HEAD"], cwd=repository.path, check=True, capture_output=True
    ).stdout

    assert laid_out(io.BytesIO(made), tmp_path / "out") == {"a/b.py": b"x", "c": b"y"}


def test_the_git_folder_is_left_out_wherever_it_is(tmp_path: Path) -> None:
    archive = archive_of(
        entry("./.git", tarfile.DIRTYPE),
        entry("./.git/hooks/pre-commit", content=b"evil"),
        entry("sub/.GIT/config", content=b"evil"),
        entry(".gitignore", content=b"fine"),
    )

    assert laid_out(archive, tmp_path / "out") == {".gitignore": b"fine"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: archive_of(entry("/etc/x")),
        lambda: archive_of(entry("../x")),
        lambda: archive_of(entry("./../x")),
        lambda: archive_of(entry("a/../../x")),
        lambda: archive_of(entry("a/../b", content=b"x")),
        lambda: archive_of(entry("..", tarfile.DIRTYPE)),
        lambda: archive_of(entry("a", tarfile.SYMTYPE, "/etc")),
        lambda: archive_of(entry("a", tarfile.SYMTYPE, "..")),
        lambda: archive_of(entry("./a", tarfile.SYMTYPE, "/tmp"), entry("./a/x", content=b"x")),
        lambda: archive_of(entry("l", tarfile.SYMTYPE, "d"), entry("l/x", content=b"x")),
        lambda: archive_of(entry("l", tarfile.SYMTYPE, "d"), entry("l", tarfile.DIRTYPE)),
        lambda: archive_of(entry("l", tarfile.SYMTYPE, "d"), entry("l/deep/x", content=b"x")),
        lambda: archive_of(entry("x", content=b"1"), entry("./x", content=b"2")),
        lambda: archive_of(entry("x", content=b"1"), entry("x/y", content=b"2")),
        lambda: archive_of(entry("x", content=b"1"), entry("h", tarfile.LNKTYPE, "x")),
        lambda: archive_of(entry("d", tarfile.CHRTYPE)),
        lambda: archive_of(entry("d", tarfile.FIFOTYPE)),
        lambda: archive_of(entry("n" * 2_000, content=b"x")),
        lambda: archive_of(entry("d/" * 70 + "x", content=b"x")),
        lambda: archive_of(*(entry(f"f{number}") for number in range(101))),
        lambda: archive_of(entry("bomb", content=bytes(1_000_001))),
        lambda: io.BytesIO(archive_of(entry("x", content=b"x" * 9_000)).getvalue()[:-40]),
        lambda: io.BytesIO(b"not an archive"),
        lambda: io.BytesIO(b""),
    ],
)
def test_an_archive_that_could_do_harm_is_refused_and_touches_nothing_else(
    tmp_path: Path, make: Callable[[], io.BytesIO]
) -> None:
    (tmp_path / "in" / "out").mkdir(parents=True)

    with pytest.raises(ArchiveRefused):
        lay_out_upload(make(), tmp_path / "in" / "out", bounds=BOUNDS)

    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["out"]
