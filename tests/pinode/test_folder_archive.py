"""`pinode deploy --dir .`: which files of a folder are sent."""

import os
import tarfile
from pathlib import Path

import pytest

from pinode.cli.folder_archive import archive_folder, is_local
from pinode.cli.invocation import Failure
from tests.builders.repositories import make_repository


def names(folder: Path, tmp_path: Path) -> list[str]:
    count = archive_folder(folder, tmp_path / "archive")
    with tarfile.open(tmp_path / "archive") as archive:
        found = archive.getnames()
    assert count == len(found)
    return sorted(found)


def test_what_git_ignores_is_not_sent_and_what_is_new_is(tmp_path: Path) -> None:
    repository = make_repository(
        tmp_path / "r", {".gitignore": "secret\n*.pyc\n", "a.py": "", "web/b.py": ""}
    )
    (repository.path / "secret").write_text("x")
    (repository.path / "web" / "b.pyc").write_text("x")
    (repository.path / "new.py").write_text("x")
    (repository.path / "web" / "b.py").unlink()

    assert names(repository.path, tmp_path) == [".gitignore", "a.py", "new.py"]


def test_of_a_folder_in_a_repository_its_own_files_are_sent(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", {"a.py": "", "web/b.py": "", "web/x/c.py": ""})

    assert names(repository.path / "web", tmp_path) == ["b.py", "x/c.py"]


def test_without_git_all_is_sent_that_somebody_wants(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    for name in (
        "a.py",
        "x/b.py",
        ".venv/bin/python",
        "x/__pycache__/b.pyc",
        "node_modules/m/i.js",
        ".git/config",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "link").symlink_to("x")
    os.mkfifo(folder / "pipe")

    assert names(folder, tmp_path) == ["a.py", "link", "x/b.py"]


def test_where_git_does_not_read_a_repository_nothing_is_sent_for_its_ignored_files_would_be(
    tmp_path: Path,
) -> None:
    repository = make_repository(tmp_path / "r", {".gitignore": "secret\n", "web/a.py": ""})
    (repository.path / "web" / "secret").write_text("x")
    (repository.path / ".git" / "index").write_bytes(b"damaged")

    with pytest.raises(Failure, match="git does not list the files of") as failure:
        archive_folder(repository.path / "web", tmp_path / "archive")

    assert ".gitignore" in str(failure.value.hint)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_repository_of_somebody_else_is_not_sent_whole(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", {".gitignore": "secret\n", "a.py": ""})
    (repository.path / "secret").write_text("x")
    for path in (repository.path, repository.path / ".git"):
        os.chown(path, 12_345, 12_345)

    with pytest.raises(Failure, match="dubious ownership"):
        archive_folder(repository.path, tmp_path / "archive")


def test_a_file_with_two_names_is_sent_twice(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "a").write_text("x")
    os.link(tmp_path / "app" / "a", tmp_path / "app" / "b")

    archive_folder(tmp_path / "app", tmp_path / "archive")

    with tarfile.open(tmp_path / "archive") as archive:
        assert [(member.name, member.isreg(), member.size) for member in archive] == [
            ("a", True, 1),
            ("b", True, 1),
        ]


def test_a_folder_with_nothing_to_send_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(Failure, match="no files"):
        archive_folder(tmp_path / "empty", tmp_path / "archive")
    with pytest.raises(Failure, match="is no folder"):
        archive_folder(tmp_path / "nowhere", tmp_path / "archive")


@pytest.mark.parametrize("directory", [".", "./web", "..", "/srv/web", "~/web"])
def test_a_folder_of_this_machine_is_known_by_how_it_begins(directory: str) -> None:
    assert is_local(directory)


@pytest.mark.parametrize("directory", ["web", "services/web", None, ""])
def test_a_folder_of_the_repository_is_another(directory: str | None) -> None:
    assert not is_local(directory)
