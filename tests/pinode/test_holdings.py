"""The end of what a node holds: its folder, wherever that lies, and the files beside it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pinode.card.lock import lock_data_dir
from pinode.errors import Conflict, PinodeError, SettingsError
from pinode.operations.holdings import Holdings, holdings_of, holdings_of_unit, purge
from pinode.operations.system_unit import StartFlags, SystemUnit
from tests.pinode.cli_stage import ROOT

needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="only root mounts, in a namespace of its own"
)
PURGE = """
import sys
from pathlib import Path
from pinode.errors import PinodeError
from pinode.operations.holdings import Holdings, purge
from pinode.operations.system_unit import StartFlags
folder, key = Path(sys.argv[1]), Path(sys.argv[2])
done = purge(Holdings(name="pi1", data_dir=folder, files=(key,), flags=StartFlags()))
print("deleted", *done.deleted)
print("emptied", *done.emptied)
try:
    done.check()
except PinodeError as error:
    print(error.message, "|", error.hint)
print("there", *sorted(str(path.relative_to(folder)) for path in folder.rglob("*")))
"""


class Home:
    """A node that does not run: what it holds, and its key."""

    def __init__(self, folder: Path) -> None:
        self.data, self.key, self.config = folder / "data", folder / "cluster.key", folder / "cluster.toml"
        self.key.write_text("secret")
        self.config.write_text(
            '[node]\nname = "pi7"\ndata_dir = "data"\n[cluster]\nkey_file = "cluster.key"\n'
        )

    def fill(self, folder: Path) -> None:
        (folder / "slugs" / "1").mkdir(parents=True)
        (folder / "slugs" / "1" / "app").write_text("…")
        (folder / "node.key").write_text("secret")
        os.close(lock_data_dir(folder))

    @property
    def held(self) -> Holdings:
        return Holdings(
            name="pi7",
            data_dir=self.data,
            files=(self.config, self.key),
            flags=StartFlags(config=self.config),
        )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def purge_after(mounts: str, folder: Path, key: Path) -> list[str]:
    """Purge where these mounts are there and end with it; what it said and what stays, by line."""
    script = f'set -e; {mounts}; exec "$0" -c "$3" "$1" "$2"'
    ended = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable, str(folder), str(key), PURGE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_purge_deletes_what_a_stopped_node_holds_and_nothing_else(home: Home, tmp_path: Path) -> None:
    other = tmp_path / "home"
    other.mkdir()
    home.fill(home.data)

    done = purge(home.held)

    assert done.deleted == [str(home.data), str(home.config), str(home.key)]
    assert list(tmp_path.iterdir()) == [other]


def test_a_node_that_runs_is_not_purged_and_it_is_said_how_it_ends(home: Home) -> None:
    home.fill(home.data)
    lock = lock_data_dir(home.data)
    try:
        with pytest.raises(Conflict, match="nothing was deleted") as refused:
            purge(home.held)
    finally:
        os.close(lock)

    assert f"sudo pinode --config {home.config} stop. Then" in refused.value.hint
    assert (home.data / "slugs/1/app").exists() and home.key.exists() and home.config.exists()


def test_a_folder_that_is_no_nodes_is_left_alone_with_the_files(home: Home) -> None:
    home.data.mkdir()
    (home.data / "letters").mkdir()

    with pytest.raises(Conflict, match="holds no node"):
        purge(home.held)

    assert (home.data / "letters").exists() and home.key.exists()


def test_a_link_to_the_folder_goes_with_the_folder(home: Home, tmp_path: Path) -> None:
    disk = tmp_path / "ssd" / "pinode"
    home.fill(disk)
    home.data.symlink_to(disk)

    done = purge(home.held)

    assert done.deleted[:2] == [str(disk), f"the link {home.data}"]
    assert not disk.exists() and not home.data.is_symlink() and not home.key.exists()


def test_a_link_to_a_disk_that_is_not_mounted_is_left_alone(home: Home, tmp_path: Path) -> None:
    home.data.symlink_to(tmp_path / "ssd")

    with pytest.raises(Conflict, match="which is not there") as refused:
        purge(home.held)

    assert "Mount its disk" in refused.value.hint
    assert home.data.is_symlink() and home.key.exists()


def test_what_links_in_the_folder_lead_to_is_not_the_nodes(home: Home, tmp_path: Path) -> None:
    home.fill(home.data)
    (tmp_path / "letters").mkdir()
    (home.data / "letters").symlink_to(tmp_path / "letters")
    (home.data / "slugs" / "letters").symlink_to(tmp_path / "letters")

    purge(home.held)

    assert (tmp_path / "letters").is_dir() and not home.data.exists()


def test_of_a_file_that_is_a_link_the_link_is_deleted_and_that_is_said(home: Home, tmp_path: Path) -> None:
    home.fill(home.data)
    kept = home.key.rename(tmp_path / "kept.key")
    home.key.symlink_to(kept)

    done = purge(home.held)

    assert done.deleted[-1] == f"{home.key} (a link; {kept} stays)"
    assert kept.exists() and not home.key.is_symlink()


def test_what_is_not_there_is_not_said_to_be_deleted(home: Home) -> None:
    home.config.unlink()

    done = purge(home.held)

    assert done.deleted == [str(home.key)]
    assert purge(home.held).deleted == []


def test_what_cannot_be_deleted_keeps_nothing_else_and_is_named(home: Home) -> None:
    home.fill(home.data)
    home.config.unlink()
    (home.config / "odd").mkdir(parents=True)

    done = purge(home.held)

    assert done.deleted == [str(home.data), str(home.key)]
    with pytest.raises(PinodeError, match=r"could not be deleted: .*cluster.toml") as left:
        done.check()
    assert f"sudo rm -rf {home.config}" in left.value.hint


@needs_mounts
def test_of_a_disk_that_is_mounted_there_all_is_deleted_and_the_mount_point_stays(home: Home) -> None:
    home.data.mkdir()

    deleted, emptied, there = purge_after(
        'mount -t tmpfs none "$1"; mkdir "$1/a"; touch "$1/lock" "$1/a/b"', home.data, home.key
    )

    assert deleted == f"deleted all in {home.data} {home.key}"
    assert emptied == f"emptied {home.data}"
    assert there == "there"
    assert not home.key.exists()


@needs_mounts
def test_a_disk_that_is_mounted_in_a_folder_of_it_is_emptied(home: Home) -> None:
    home.fill(home.data)

    deleted, emptied, there = purge_after(
        'mount -t tmpfs none "$1/slugs/1"; touch "$1/slugs/1/b"', home.data, home.key
    )

    assert deleted == f"deleted all in {home.data} {home.key}"
    assert emptied == f"emptied {home.data}/slugs/1"
    assert there == "there slugs slugs/1"


@needs_mounts
def test_a_disk_that_cannot_be_written_is_said_with_what_to_do_and_the_key_goes(home: Home) -> None:
    home.fill(home.data)
    mounts = 'mount -t tmpfs none "$1/slugs"; touch "$1/slugs/b"; mount -o remount,ro "$1/slugs"'

    deleted, _, trouble, there = purge_after(mounts, home.data, home.key)

    assert deleted == f"deleted {home.key}"
    assert f"could not be deleted: {home.data}/slugs/b (Read-only file system) |" in trouble
    assert "remount,rw" in trouble and trouble.endswith(f"sudo rm -rf {home.data}")
    assert there == "there lock slugs slugs/b", "it is still known as a node's"


@needs_mounts
def test_a_card_that_became_read_only_keeps_the_folder_but_not_the_key(home: Home) -> None:
    home.data.mkdir()
    mounts = 'mount -t tmpfs none "$1"; touch "$1/lock" "$1/node.key"; mount -o remount,ro "$1"'

    deleted, _, trouble, there = purge_after(mounts, home.data, home.key)

    assert deleted == f"deleted {home.key}" and there == "there lock node.key"
    assert "Read-only file system" in trouble and "remount,rw" in trouble


def unit_of(home: Home, *, data_dir: Path | None = None) -> SystemUnit:
    flags = StartFlags(config=home.config)
    return SystemUnit(program=("/bin/pinode",), flags=flags, data_dir=data_dir or home.data)


def test_what_a_units_node_holds_is_known_from_the_unit(home: Home) -> None:
    held = holdings_of_unit(unit_of(home), StartFlags())

    assert (held.name, held.data_dir) == ("pi7", home.data)
    assert list(held.files) == [home.config, home.key, home.key.with_name("cluster.key.left")]


def test_naming_the_same_node_is_no_contradiction_and_naming_another_is_one(home: Home) -> None:
    same = holdings_of_unit(unit_of(home), StartFlags(config=home.config, data_dir=home.data))

    assert same.data_dir == home.data
    for asked, flag in (
        (StartFlags(config=Path("/etc/other.toml")), "--config"),
        (StartFlags(data_dir=Path("/srv/other")), "--data-dir"),
    ):
        with pytest.raises(Conflict, match="nothing was changed") as refused:
            holdings_of_unit(unit_of(home), asked)
        assert f"Leave {flag} out" in refused.value.hint


def test_settings_that_moved_or_went_since_the_install_are_not_guessed_at(home: Home) -> None:
    with pytest.raises(Conflict, match="installed for a node in /srv/old") as moved:
        holdings_of_unit(unit_of(home, data_dir=Path("/srv/old")), StartFlags())
    home.config.unlink()
    with pytest.raises(SettingsError, match="there is no settings file") as gone:
        holdings_of_unit(unit_of(home), StartFlags())

    assert f"sudo pinode --config {home.config} install" in moved.value.hint
    assert f"delete {home.data} by hand" in gone.value.hint


def test_without_a_unit_the_command_line_says_whose_it_is(home: Home, tmp_path: Path) -> None:
    held = holdings_of(StartFlags(config=home.config, data_dir=tmp_path / "other"))

    assert (held.name, held.data_dir) == ("pi7", tmp_path / "other")
