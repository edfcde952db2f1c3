"""Slugs as archives: the same bytes for the same files, and nothing believed on the way back (checklist
5.3).
"""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builders.archive import ArchiveBounds, pack, unpack
from builders.errors import ArchiveRefused, BoundHit

BOUNDS = ArchiveBounds(total_bytes=1_000_000, members=100)


def make_app(root: Path) -> Path:
    (root / "package" / "empty").mkdir(parents=True)
    (root / "package" / "app.py").write_text("print('hello')\n")
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o700)
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to("/usr/bin/python3.11")
    (root / "latest").symlink_to("package/app.py")
    return root


def archive_of(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> io.BytesIO:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=form) as tar:
        for member, content in members:
            member.size = len(content) if member.isreg() else member.size
            tar.addfile(member, io.BytesIO(content))
    return io.BytesIO(gzip.compress(plain.getvalue()))


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member, content


def test_the_same_files_give_the_same_bytes_whenever_and_in_whatever_order_they_were_made(
    tmp_path: Path,
) -> None:
    first = pack(make_app(tmp_path / "a"), tmp_path / "a.tar.gz", most_bytes=100_000)
    other = make_app(tmp_path / "b")
    (other / "zzz").write_text("")
    (other / "zzz").unlink()
    os.utime(other / "run", (0, 0))

    second = pack(other, tmp_path / "b.tar.gz", most_bytes=100_000)

    assert first == second
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    assert first.packed_bytes == (tmp_path / "a.tar.gz").stat().st_size


def test_what_was_packed_comes_out_again(tmp_path: Path) -> None:
    pack(make_app(tmp_path / "a"), tmp_path / "a.tar.gz", most_bytes=100_000)

    with (tmp_path / "a.tar.gz").open("rb") as file:
        unpack(file, tmp_path / "out", bounds=BOUNDS)

    out = tmp_path / "out"
    assert (out / "package" / "app.py").read_text() == "print('hello')\n"
    assert (out / "package" / "empty").is_dir()
    assert os.access(out / "run", os.X_OK)
    assert os.readlink(out / ".venv/bin/python") == "/usr/bin/python3.11"
    assert os.readlink(out / "latest") == "package/app.py"


def test_packing_ends_at_its_bound(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "noise").write_bytes(os.urandom(50_000))

    with pytest.raises(BoundHit) as hit:
        pack(tmp_path / "a", tmp_path / "a.tar.gz", most_bytes=10_000)

    assert hit.value.bound == "slug"


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../secret", "package/../../x", "package/../x", "/usr/bin/env"]
)
def test_links_out_of_the_app_are_not_packed(tmp_path: Path, target: str) -> None:
    (tmp_path / "a" / "package").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to(target)

    with pytest.raises(ArchiveRefused, match="link"):
        pack(tmp_path / "a", tmp_path / "a.tar.gz", most_bytes=10_000)


def test_links_up_and_across_within_the_app_are_packed_and_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a" / "x" / "y").mkdir(parents=True)
    (tmp_path / "a" / "x" / "y" / "top").symlink_to("../..")
    (tmp_path / "a" / "x" / "y" / "beside").symlink_to("../z//./w")
    (tmp_path / "a" / "here").symlink_to(".")

    packed = pack(tmp_path / "a", tmp_path / "a.tar.gz", most_bytes=10_000)
    with (tmp_path / "a.tar.gz").open("rb") as archive:
        unpack(archive, tmp_path / "b", bounds=BOUNDS)

    assert packed
    assert (tmp_path / "b" / "x" / "y" / "top").resolve() == tmp_path / "b"
    assert os.readlink(tmp_path / "b" / "x" / "y" / "beside") == "../z//./w"


def test_devices_and_pipes_are_not_packed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "pipe")

    with pytest.raises(ArchiveRefused, match="pipe"):
        pack(tmp_path / "a", tmp_path / "a.tar.gz", most_bytes=10_000)


@pytest.mark.parametrize(
    "make",
    [
        lambda: archive_of(entry("/etc/x")),
        lambda: archive_of(entry("../x")),
        lambda: archive_of(entry("a/../../x")),
        lambda: archive_of(entry("a/x")),
        lambda: archive_of(entry("./x")),
        lambda: archive_of(entry("a", tarfile.SYMTYPE, "/etc")),
        lambda: archive_of(entry("a", tarfile.SYMTYPE, "..")),
        lambda: archive_of(
            entry("x", tarfile.DIRTYPE),
            entry("x/y", tarfile.DIRTYPE),
            entry("x/y/up", tarfile.SYMTYPE, "../.."),
            entry("e", tarfile.SYMTYPE, "x/y/up/../secret"),
        ),
        lambda: archive_of(entry("a", tarfile.SYMTYPE, "/tmp"), entry("a/x", content=b"x")),
        lambda: archive_of(entry("d", tarfile.DIRTYPE), entry("d", tarfile.SYMTYPE, ".")),
        lambda: archive_of(entry("l", tarfile.SYMTYPE, "d"), entry("l/x", content=b"x")),
        lambda: archive_of(entry("x", content=b"1"), entry("x", content=b"2")),
        lambda: archive_of(entry("x", content=b"1"), entry("h", tarfile.LNKTYPE, "x")),
        lambda: archive_of(entry("d", tarfile.CHRTYPE)),
        lambda: archive_of(entry("d", tarfile.BLKTYPE)),
        lambda: archive_of(entry("d", tarfile.FIFOTYPE)),
        lambda: archive_of(entry("d", tarfile.CONTTYPE, content=b"x")),
        lambda: archive_of(entry("n" * 2_000, content=b"x")),
        lambda: archive_of(entry("n" * 100_000, content=b"x"), form=tarfile.GNU_FORMAT),
        lambda: archive_of(*(entry(f"f{number}") for number in range(101))),
        lambda: archive_of(entry("bomb", content=bytes(1_000_001))),
        lambda: archive_of(
            entry(".venv", tarfile.DIRTYPE), entry(".venv/python", tarfile.SYMTYPE, "/usr/bin/python3")
        ),
        lambda: io.BytesIO(archive_of(entry("x", content=b"x" * 9_000)).getvalue()[:-40]),
        lambda: io.BytesIO(b"not an archive"),
        lambda: io.BytesIO(gzip.compress(os.urandom(4_096))),
        lambda: io.BytesIO(b""),
    ],
)
def test_an_archive_that_is_not_as_we_write_them_is_refused_and_touches_nothing_else(
    tmp_path: Path, make: Callable[[], io.BytesIO]
) -> None:
    (tmp_path / "in").mkdir()

    with pytest.raises(ArchiveRefused):
        unpack(make(), tmp_path / "in" / "out", bounds=BOUNDS)

    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["out"]
