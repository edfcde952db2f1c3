"""`pinode install` and `pinode uninstall`, beside a systemctl that notes what it was asked."""

import errno
import os
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pinode.card.lock import lock_data_dir
from pinode.cli.invocation import Failure, Invocation
from pinode.cli.service_commands import install_node, purge_node, uninstall_node
from pinode.errors import Conflict, PinodeError, SettingsError
from pinode.host import default_node_name
from pinode.operations.disk_trouble import DiskTrouble, disk_trouble
from pinode.operations.install import ForeignUnit, NoSystemd, Systemd
from pinode.sandbox.sandbox import SandboxError
from tests.pinode.cli_stage import Ran, cli_stage, run_here

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root installs")

SYSTEMCTL = """\
#!/bin/sh
echo "$0 $*" >> {calls}
if [ "$1" = is-active ]; then echo "$(/bin/cat {state})"; exit 3; fi
if [ "$1" = "$(/bin/cat {failing})" ]; then echo "Failed to do that: no such luck" >&2; exit 1; fi
if [ "$1" = start ]; then echo active > {state}; fi
if [ "$1" = disable ]; then echo inactive > {state}; fi
"""


@dataclass
class Machine:
    """A root folder with a systemd in it, a node's settings, and the programs that were run."""

    folder: Path

    def __post_init__(self) -> None:
        self.root, self.programs = self.folder / "root", self.folder / "programs"
        self.calls_file, self.state = self.folder / "calls", self.folder / "state"
        self.failing = self.folder / "failing"
        (self.root / "run/systemd/system").mkdir(parents=True)
        self.programs.mkdir()
        self.state.write_text("inactive\n")
        self.failing.write_text("nothing\n")
        text = SYSTEMCTL.format(calls=self.calls_file, state=self.state, failing=self.failing)
        for name in ("systemctl", "groupadd"):
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)
        for name in ("prlimit", "nice", "setpriv", "unshare"):  # but no bwrap
            (self.programs / name).symlink_to(f"/usr/bin/{name}")
        self.config, self.data = self.folder / "cluster.toml", self.folder / "data"
        self.write_config("")

    def write_config(self, more: str) -> None:
        self.config.write_text(f'[node]\ndata_dir = "data"\n[sandbox]\nrequired = false\n{more}')

    def fill(self) -> None:
        """As a node leaves it that ran."""
        self.data.mkdir()
        os.close(lock_data_dir(self.data))

    def run_at(self, verb: str, command: str) -> None:
        """Have systemctl do something else."""
        (self.programs / "systemctl").write_text(f'#!/bin/sh\n[ "$1" != {verb} ] || {command}\n')

    @property
    def systemd(self) -> Systemd:
        return Systemd(root=self.root, path=str(self.programs))

    @property
    def unit_file(self) -> Path:
        return self.root / "etc/systemd/system/pinode.service"

    def invocation(self) -> Invocation:
        return Invocation(config=self.config, environment={})

    def install(self, *, starts: bool = True) -> None:
        install_node(self.invocation(), self.systemd, starts=starts)

    def calls(self) -> list[str]:
        """What was run since the last look, other than questions."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return [line.removeprefix(f"{self.programs}/") for line in lines if " is-active " not in line]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def as_nobody(*words: str) -> Ran:
    run_here(*words, "--help")  # so that all modules are there before this process may read less
    if os.geteuid() != 0:
        return run_here(*words)
    os.seteuid(NOBODY)
    try:
        return run_here(*words)
    finally:
        os.seteuid(0)


@as_root
def test_the_unit_is_written_enabled_and_started(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.install()

    said = capsys.readouterr().err
    assert f"start --config {machine.config}" in machine.unit_file.read_text()
    assert stat.S_IMODE(machine.unit_file.stat().st_mode) == 0o644
    assert machine.calls() == [
        "groupadd --system --force pinode",
        "systemctl daemon-reload",
        "systemctl enable pinode.service",
        "systemctl start pinode.service",
    ]
    assert f"{machine.unit_file}: written" in said and "journalctl -u pinode" in said


@as_root
def test_it_can_wait_for_the_next_boot(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.install(starts=False)

    assert "systemctl start pinode.service" not in machine.calls()
    assert "sudo systemctl start pinode" in capsys.readouterr().err


@as_root
def test_a_second_time_changes_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.install()
    before = machine.unit_file.stat()
    machine.calls(), capsys.readouterr()

    machine.install()

    assert machine.unit_file.stat().st_mtime_ns == before.st_mtime_ns
    assert "systemctl daemon-reload" not in machine.calls()
    assert f"{machine.unit_file}: unchanged" in capsys.readouterr().err


@as_root
def test_a_unit_of_an_older_pinode_is_replaced_and_the_node_that_runs_is_left_alone(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.install()
    text = machine.unit_file.read_text()
    machine.unit_file.write_text(text.replace("RestartSec=5", "RestartSec=9"))
    machine.calls(), capsys.readouterr()

    machine.install()

    said = capsys.readouterr().err
    assert machine.unit_file.read_text() == text
    calls = machine.calls()
    assert "systemctl daemon-reload" in calls and not [call for call in calls if "restart" in call]
    assert ": changed" in said and "sudo systemctl restart pinode" in said


@as_root
@pytest.mark.parametrize("link", [False, True])
def test_somebody_elses_unit_is_neither_overwritten_nor_removed(machine: Machine, link: bool) -> None:
    machine.unit_file.parent.mkdir(parents=True)
    if link:
        machine.unit_file.symlink_to("/nowhere/pinode.service")
    else:
        machine.unit_file.write_text("[Service]\nExecStart=/bin/true\n")
    before = machine.unit_file.lstat()

    for change in (
        machine.install,
        lambda: uninstall_node(machine.invocation(), machine.systemd, keep_running=True),
    ):
        with pytest.raises(ForeignUnit, match="was not written by pinode") as refused:
            change()
        assert "sudo mv" in refused.value.hint

    assert machine.unit_file.lstat().st_ino == before.st_ino
    assert machine.calls() == []


def test_who_is_not_root_is_4_and_told_sudo() -> None:
    for words in ("install", "uninstall"):
        ran = as_nobody(words)

        assert ran.code == 4
        assert f"sudo pinode {words}" in ran.err


def test_the_unit_is_shown_to_anybody(tmp_path: Path) -> None:
    ran = as_nobody("install", "--print")

    assert ran.code == 0
    assert "--config /etc/pinode/cluster.toml" in ran.out
    assert "RequiresMountsFor=/var/lib/pinode\n" in ran.out


@as_root
def test_a_machine_without_systemd_is_told_what_to_do_instead(machine: Machine) -> None:
    (machine.root / "run/systemd/system").rmdir()

    with pytest.raises(NoSystemd, match="not run by systemd") as refused:
        machine.install()

    assert "`pinode start`" in refused.value.hint
    assert not machine.unit_file.exists()


@as_root
def test_a_machine_without_systemctl_is_none_either(machine: Machine) -> None:
    (machine.programs / "systemctl").unlink()

    with pytest.raises(NoSystemd):
        machine.install()


@as_root
def test_without_a_configuration_it_says_which_command_makes_one(machine: Machine) -> None:
    invocation = Invocation(data_dir=machine.folder / "empty", environment={})

    with pytest.raises(SettingsError, match=r"no /etc/pinode/cluster.toml") as refused:
        install_node(invocation, machine.systemd, starts=True)

    assert "sudo pinode init" in refused.value.hint and "--join" in refused.value.hint
    assert machine.calls() == []


@as_root
def test_a_configuration_without_its_key_or_that_cannot_be_is_refused_before_anything_is_done(
    machine: Machine,
) -> None:
    for more, said in (("[cluster]\nexpect = 3\n", "no cluster key"), ("[cluster]\ncolour = 1\n", "colour")):
        machine.write_config(more)
        with pytest.raises(SettingsError, match=said):
            machine.install()

    assert machine.calls() == []
    assert not machine.unit_file.exists()


@as_root
def test_without_bubblewrap_the_node_would_not_start_and_that_is_said_now(machine: Machine) -> None:
    machine.config.write_text('[node]\ndata_dir = "data"\n')

    with pytest.raises(SandboxError, match="bubblewrap is not installed") as refused:
        machine.install()

    assert "apt install bubblewrap" in refused.value.hint
    assert not machine.unit_file.exists()


@as_root
def test_a_node_that_somebody_started_by_hand_is_not_run_into(machine: Machine) -> None:
    (machine.folder / "data").mkdir()
    lock = lock_data_dir(machine.folder / "data")
    try:
        with pytest.raises(Conflict, match="started by hand") as refused:
            machine.install()
        machine.state.write_text("active\n")  # the node of the unit
        machine.install()
    finally:
        os.close(lock)

    assert "Ctrl-C" in refused.value.hint


@as_root
def test_what_systemctl_says_is_passed_on(machine: Machine) -> None:
    machine.failing.write_text("enable\n")

    with pytest.raises(PinodeError, match=r"`systemctl enable pinode.service` failed: .*no such luck"):
        machine.install()


@as_root
def test_uninstall_ends_it_and_removes_the_unit_and_a_second_time_says_so(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.install()
    machine.calls()

    uninstall_node(machine.invocation(), machine.systemd, keep_running=True)
    again = machine.calls()
    uninstall_node(machine.invocation(), machine.systemd, keep_running=True)

    assert again == ["systemctl disable --now pinode.service", "systemctl daemon-reload"]
    assert machine.calls() == []
    assert not machine.unit_file.exists()
    assert "is gone" in (said := capsys.readouterr().err) and "there is no " in said


@as_root
def test_uninstall_has_the_node_hand_over_first(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.install()
    (machine.folder / "node").mkdir()
    with cli_stage(machine.folder / "node") as node:
        (machine.root / "run/pinode").symlink_to(node.folder)
        node.control.process = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
        )

        uninstall_node(machine.invocation(), machine.systemd, keep_running=False)

    assert node.control.stopped == [False]
    assert node.control.process.wait(5) == -signal.SIGTERM
    assert "has handed over" in capsys.readouterr().err


@as_root
def test_a_node_that_cannot_be_asked_is_ended_all_the_same(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.install()

    uninstall_node(machine.invocation(), machine.systemd, keep_running=False)

    assert "could not be asked to hand over" in capsys.readouterr().err
    assert not machine.unit_file.exists()


def test_purge_wants_the_name_and_a_node_that_ends() -> None:
    both = run_here("uninstall", "--purge", "--keep-running")

    assert both.code == 2 and "nothing was changed" in both.err


@as_root
def test_purge_deletes_what_the_units_node_holds_whoever_the_command_line_means(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.write_config('[cluster]\nkey_file = "cluster.key"\n')
    machine.config.write_text(machine.config.read_text().replace("[node]", '[node]\nname = "pi7"'))
    machine.fill()
    machine.install()
    nameless = Invocation(environment={}, no_input=True)

    with pytest.raises(Failure, match=f"nothing was changed; to purge pi7 deletes {machine.data}") as unnamed:
        purge_node(nameless, machine.systemd, "pi1")
    assert unnamed.value.hint == "to do it: --confirm pi7" and machine.unit_file.exists()
    capsys.readouterr()
    purge_node(nameless, machine.systemd, "pi7")

    said = capsys.readouterr().err
    assert not (machine.data.exists() or machine.config.exists() or machine.unit_file.exists())
    assert f"deleted {machine.data}, {machine.config}\n" in said
    assert "pinode node:remove pi7 --confirm pi7" in said


@as_root
def test_a_purge_that_would_be_refused_uninstalls_nothing(machine: Machine) -> None:
    machine.fill()
    machine.install()
    (machine.data / "lock").unlink()

    with pytest.raises(Conflict, match="holds no node"):
        purge_node(machine.invocation(), machine.systemd, default_node_name())

    assert machine.unit_file.exists()


@as_root
def test_what_a_purge_could_not_delete_is_said_after_what_it_did(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.fill()
    machine.write_config('[cluster]\nkey_file = "cluster.key"\n')
    machine.install()
    (machine.folder / "cluster.key.left").mkdir()

    with pytest.raises(PinodeError, match=r"could not be deleted: \S+cluster.key.left"):
        purge_node(machine.invocation(), machine.systemd, default_node_name())

    assert f"deleted {machine.data}, {machine.config}\n" in capsys.readouterr().err


@as_root
def test_what_stays_is_said_with_the_flags_that_mean_it(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.fill()
    machine.install()

    uninstall_node(Invocation(environment={}), machine.systemd, keep_running=True)

    said = capsys.readouterr().err
    assert f"What stays: {machine.data}, {machine.config}\n" in said
    assert f"`sudo pinode --config {machine.config} uninstall --purge` deletes it" in said


@as_root
@pytest.mark.parametrize("broken", ["settings", "unit"])
def test_what_is_broken_keeps_nobody_from_uninstalling_but_from_purging(
    machine: Machine, broken: str
) -> None:
    machine.fill()
    machine.install()
    if broken == "settings":
        machine.config.write_text("[node]\ncolour = 1\n")
    else:
        machine.unit_file.write_text(machine.unit_file.read_text().replace(" --config", " --conf"))

    with pytest.raises(SettingsError if broken == "settings" else Conflict) as refused:
        purge_node(Invocation(environment={}), machine.systemd, default_node_name())
    assert refused.value.hint and machine.unit_file.exists()
    uninstall_node(Invocation(environment={}), machine.systemd, keep_running=True)

    assert not machine.unit_file.exists() and machine.data.exists()


@as_root
def test_what_the_system_refuses_is_said_with_what_to_do(machine: Machine) -> None:
    machine.unit_file.parent.parent.mkdir(parents=True)
    machine.unit_file.parent.write_text("no folder")
    with pytest.raises(DiskTrouble, match=r"pinode.service cannot be read: Not a directory") as unread:
        machine.install()
    machine.unit_file.parent.unlink()
    machine.unit_file.parent.symlink_to("/proc/self")
    with pytest.raises(DiskTrouble, match=r"pinode.service could not be written: ") as unwritten:
        machine.install()

    assert unread.value.hint and unwritten.value.hint


@as_root
def test_a_unit_that_cannot_be_deleted_is_disabled_and_that_is_said(machine: Machine) -> None:
    machine.install()
    machine.run_at("disable", f"/bin/rm {machine.unit_file} && /bin/mkdir {machine.unit_file}")

    with pytest.raises(DiskTrouble, match=r"nothing starts the node any more, but .* could not be deleted"):
        uninstall_node(machine.invocation(), machine.systemd, keep_running=True)


@as_root
def test_a_data_directory_and_a_key_that_cannot_be_used_are_said_before_anything_is_done(
    machine: Machine,
) -> None:
    (machine.data / "lock").mkdir(parents=True)
    with pytest.raises(DiskTrouble, match=f"a node could not work in {machine.data}: Is a directory"):
        machine.install()
    (machine.data / "lock").rmdir()
    machine.write_config('[cluster]\nkey_file = "keys"\n')
    (machine.folder / "keys").mkdir(mode=0o700)
    with pytest.raises(DiskTrouble, match=r"the cluster key .*keys cannot be read: Is a directory"):
        machine.install()

    assert machine.calls() == []


def test_a_disk_that_is_full_or_read_only_is_told_from_others() -> None:
    for number, hint in ((errno.EROFS, "remount,rw"), (errno.ENOSPC, "df -h"), (errno.EIO, "dmesg")):
        assert hint in DiskTrouble("it", OSError(number, os.strerror(number))).hint
    with pytest.raises(DiskTrouble, match=r"it: Permission denied \(/etc/x\)"), disk_trouble("it"):
        raise PermissionError(errno.EACCES, "Permission denied", "/etc/x")
    with pytest.raises(BrokenPipeError), disk_trouble("it"):
        raise BrokenPipeError
