"""What the build log says of data that a dyno will lose."""

from pathlib import Path

import pytest

from builders.stored_data import MOST_FILES, READ_BYTES, storage_notes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("flaskr/db.py", "import sqlite3\n"),
        ("site/settings.py", "ENGINE = 'django.db.backends.sqlite3'\n"),
        ("config.py", "URL = 'sqlite:///app.db'\n"),
        ("go.mod", "require github.com/mattn/go-sqlite3 v1.14.22\n"),
        ("package.json", '{"dependencies": {"better-sqlite3": "^11"}}'),
        ("data/app.sqlite3", ""),
    ],
)
def test_an_app_with_an_sqlite_database_is_told_that_it_is_lost(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)

    (note,) = storage_notes(tmp_path)

    assert note.startswith(name) and "lost at every start of a dyno" in note


def test_packages_tests_links_and_endless_trees_are_not_looked_through(tmp_path: Path) -> None:
    for name in (".venv/x.py", "node_modules/x/index.js", "vendor/x.go", "tests/test_x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("import sqlite3")
    (tmp_path / "package-lock.json").write_text('{"peer": "better-sqlite3"}')
    (tmp_path / "link.py").symlink_to("tests/test_x.py")
    (tmp_path / "large.py").write_text("#" * READ_BYTES + "import sqlite3")
    (tmp_path / "many").mkdir()
    for number in range(MOST_FILES):
        (tmp_path / "many" / f"{number:05}.txt").touch()
    (tmp_path / "zzz").mkdir()
    (tmp_path / "zzz" / "db.py").write_text("import sqlite3")

    assert storage_notes(tmp_path) == ()
