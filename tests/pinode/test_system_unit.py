"""The unit that starts a node at boot: what it promises, and that systemd reads it as it was meant."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinode import wind_down
from pinode.cli.invocation import ExitCode
from pinode.errors import InvalidInput
from pinode.operations.system_unit import (
    UNSPEAKABLE,
    StartFlags,
    StrangeUnit,
    SystemUnit,
    is_ours,
    quoted,
    read_unit,
)

PROGRAM = "/home/ada/pinode/.venv/bin/pinode"
WORDS = st.text(min_size=1, max_size=12).filter(
    lambda word: word.isprintable() and not UNSPEAKABLE & set(word)
)
PATHS = st.lists(
    WORDS | st.sampled_from(["start", "--config", "--data-dir", "%%"]), min_size=1, max_size=3
).map(lambda words: Path("/", *words))


def unit(
    program: str = PROGRAM, *, config: str | None = None, data_dir: str = "/var/lib/pinode"
) -> SystemUnit:
    flags = StartFlags(config=Path(config) if config else None)
    return SystemUnit(program=(program,), flags=flags, data_dir=Path(data_dir))


def read(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


def test_the_unit_starts_this_program_at_boot_when_its_disk_is_there() -> None:
    found = read(unit(config="/etc/pinode/cluster.toml", data_dir="/srv/pinode").text)

    assert found["Service"]["ExecStart"] == f"{PROGRAM} start --config /etc/pinode/cluster.toml"
    assert found["Install"]["WantedBy"] == "multi-user.target"
    assert found["Unit"]["RequiresMountsFor"] == "/srv/pinode"
    assert found["Unit"]["Wants"] == found["Unit"]["After"] == "network-online.target"


def test_the_end_of_the_node_ends_no_dyno_and_comes_before_systemd_loses_patience() -> None:
    service = read(unit().text)["Service"]

    assert service["KillMode"] == "process"
    assert int(service["TimeoutStopSec"]) > wind_down.BUILDS_END_SECONDS + wind_down.HAND_OVER_SECONDS


def test_a_node_that_failed_is_started_for_ever_but_not_where_a_person_is_asked_nor_after_a_stop() -> None:
    found = read(unit().text)

    assert found["Service"]["Restart"] == "on-failure", "`pinode stop` ends with 0"
    assert found["Unit"]["StartLimitIntervalSec"] == "0"
    assert set(map(int, found["Service"]["RestartPreventExitStatus"].split())) == {
        ExitCode.USAGE,
        ExitCode.CONFLICT,
    }


def test_nothing_in_the_unit_breaks_the_sandbox_or_needs_what_an_old_systemd_lacks() -> None:
    service = read(unit().text)["Service"]

    hardening = {
        name for name in service if name.startswith(("Restrict", "Private", "Protect", "NoNew", "System"))
    }
    assert not hardening, "bubblewrap and nft need what these take away"
    assert "Delegate" not in service
    assert service["Type"] == "exec"


def test_only_a_unit_of_ours_is_known_as_ours() -> None:
    assert is_ours(unit().text)
    assert not is_ours("[Service]\nExecStart=/usr/bin/pinode start\n")
    assert not is_ours("")


@given(PATHS, st.booleans(), st.none() | PATHS, st.none() | PATHS, PATHS)
def test_what_was_written_is_read_back(
    program: Path, by_module: bool, config: Path | None, data_dir: Path | None, folder: Path
) -> None:
    written = SystemUnit(
        program=(str(program), "-m", "pinode") if by_module else (str(program),),
        flags=StartFlags(config=config, data_dir=data_dir),
        data_dir=folder,
    )

    assert read_unit(written.text) == written


@pytest.mark.parametrize(
    "old, new",
    [
        ("pinode start", "pinode start --join abc"),
        ("pinode start", "pinode start --config"),
        ("pinode start", "pinode run"),
        ("pinode start", "pinode start --data-dir $HOME"),
        ("pinode start", "pinode start --data-dir '/srv/a'"),
        ("pinode start", "pinode start --config /a --config /b"),
        ("ExecStart=", "ExecStart=-"),
        ("ExecStart=", "ExecStart=/bin/true\nExecStart="),
        ("RequiresMountsFor=", "# RequiresMountsFor="),
        ("RequiresMountsFor=", "RequiresMountsFor=/srv "),
        ("RequiresMountsFor=/var/lib/pinode", "RequiresMountsFor=/var/lib/%p"),
    ],
)
def test_a_unit_that_was_changed_by_hand_is_not_guessed_at(old: str, new: str) -> None:
    changed = unit().text.replace(old, new, 1)
    assert changed != unit().text

    with pytest.raises(StrangeUnit, match="changed by hand") as refused:
        read_unit(changed)

    assert "sudo pinode install" in refused.value.hint


@pytest.mark.parametrize(
    "word, written",
    [
        (PROGRAM, PROGRAM),
        ("/home/ada b/pinode", '"/home/ada b/pinode"'),
        ("/50%", '"/50%%"'),
        ("/häuser", '"/häuser"'),
    ],
)
def test_a_word_is_written_so_that_systemd_reads_it_back(word: str, written: str) -> None:
    assert quoted(word) == written


@pytest.mark.parametrize(
    "word", ["/a\nExecStartPre=/bin/evil", "/a\x1b[2J", "/a$HOME", "/a\udcff", '/a"b', "/it's", "/a\\b"]
)
def test_a_path_that_no_unit_can_name_is_refused(word: str) -> None:
    with pytest.raises(InvalidInput, match="systemd takes no path"):
        quoted(word)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze (Debian: systemd)")
def test_systemd_finds_nothing_wrong_with_it_even_where_the_path_is_strange(tmp_path: Path) -> None:
    program = tmp_path / "a strange 50% place" / "pinode"
    program.parent.mkdir()
    shutil.copy("/bin/true", program)
    program.chmod(0o755)
    file = tmp_path / "pinode.service"
    file.write_text(unit(str(program), data_dir="/srv/my data").text)

    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, timeout=60
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
