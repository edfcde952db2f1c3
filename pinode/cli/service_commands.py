"""`pinode install` and `pinode uninstall`: whether this machine's node starts at boot."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from pinode.cli.confirmation import confirm_name
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.node_commands import stop_node
from pinode.cli.output import say
from pinode.errors import SettingsError
from pinode.host import default_node_name
from pinode.local_door import SYSTEM_GROUP
from pinode.operations.install import Systemd, UnitState, check_startable, purge
from pinode.operations.install import install as install_unit
from pinode.operations.install import uninstall as uninstall_unit
from pinode.operations.system_unit import SystemUnit
from pinode.settings import Settings, load_system_settings
from pinode.settings.loading import SYSTEM_FILE

STOP_SECONDS = 120.0  # for the dynos to end


@click.command()
@click.option("--no-start", is_flag=True, help="from the next boot on, not now")
@click.option("--print", "only_prints", is_flag=True, help="show the unit and do nothing; needs no root")
@click.pass_obj
def install(invocation: Invocation, no_start: bool, only_prints: bool) -> int:
    """Start this node at boot, and now: writes and enables a systemd unit for this installation of pinode."""
    if only_prints:
        unit = _unit(invocation, _config_file(invocation) or SYSTEM_FILE, _settings(invocation))
        click.echo(unit.text, nl=False)
    else:
        install_node(invocation, Systemd(), starts=not no_start)
    return ExitCode.OK


def install_node(invocation: Invocation, systemd: Systemd, *, starts: bool) -> None:
    """Check, install and say so. Raises `PinodeError` with nothing changed where the node could not start."""
    systemd.check("install")
    config, settings = _config_file(invocation), _settings(invocation)
    unit = _unit(invocation, config, settings)
    systemd.unit_text()  # somebody else's unit is said before anything that could be mended
    check_startable(systemd, settings, config=config)
    was_active = systemd.is_active()
    state = install_unit(systemd, unit, starts=starts)
    _say_installed(systemd, state, was_active=was_active, starts=starts)


def _config_file(invocation: Invocation) -> Path | None:
    if invocation.config:
        return invocation.config.absolute()
    return SYSTEM_FILE if SYSTEM_FILE.is_file() else None


def _settings(invocation: Invocation) -> Settings:
    return load_system_settings(invocation.config, invocation.overrides)


def _unit(invocation: Invocation, config: Path | None, settings: Settings) -> SystemUnit:
    command = [*_own_program(), "start"]
    if config:
        command += ["--config", str(config)]
    if invocation.data_dir:
        command += ["--data-dir", str(settings.node.data_dir)]
    return SystemUnit(command=command, data_dir=settings.node.data_dir)


def _own_program() -> list[str]:
    """What runs this installation of pinode, from any folder."""
    script = Path(sys.executable).with_name("pinode")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "pinode"]


def _say_installed(systemd: Systemd, state: UnitState, *, was_active: bool, starts: bool) -> None:
    say(f"{systemd.unit_file}: {state}; the node starts at boot")
    if was_active and state is UnitState.CHANGED:
        say("It runs as before until: sudo systemctl restart pinode   (its dynos go on)")
    elif was_active:
        say("It runs already.")
    elif starts:
        say("It was started. Its log: journalctl -u pinode -f")
    else:
        say("Not now: sudo systemctl start pinode")
    say(f"To administer it without sudo: sudo usermod -aG {SYSTEM_GROUP} $USER   (then log in again)")


@click.command()
@click.option("--keep-running", is_flag=True, help="end the node alone: its dynos run until this Pi is off")
@click.option("--purge", "purges", is_flag=True, help="delete all this node holds, and its configuration")
@click.option("--confirm", metavar="NAME", help="this node's name: do purge")
@click.pass_obj
def uninstall(invocation: Invocation, keep_running: bool, purges: bool, confirm: str | None) -> int:
    """Stop this node, handing over what it does, and start it no more. What it holds stays, unless purged."""
    if purges and keep_running:
        raise Failure("nothing was changed: what runs cannot be purged", code=ExitCode.USAGE)
    systemd = Systemd()
    systemd.check("uninstall")
    if purges:
        _confirm_purge(invocation, confirm)
    uninstall_node(invocation, systemd, keep_running=keep_running)
    if purges:
        _purge(invocation)
    else:
        _say_what_stays(invocation)
    return ExitCode.OK


def uninstall_node(invocation: Invocation, systemd: Systemd, *, keep_running: bool) -> None:
    """End the node and have nothing start it any more. Raises `PinodeError`."""
    if systemd.unit_text() is None:
        say(f"there is no {systemd.unit_file}: nothing starts the node at boot")
    else:
        if systemd.is_active() and not keep_running:
            _hand_over(invocation, systemd)
        uninstall_unit(systemd)
        say(f"{systemd.unit_file} is gone: nothing starts the node at boot any more")


def _confirm_purge(invocation: Invocation, given: str | None) -> None:
    name = _settings(invocation).node.name or default_node_name()
    what, undone = "deletes all that this node holds", "nothing was changed"
    confirm_name(invocation, name, given, what=what, undone=undone)


def _hand_over(invocation: Invocation, systemd: Systemd) -> None:
    """Have the node end as `pinode stop` does; one that cannot be asked is ended by systemd."""
    # By the socket of the unit's node, wherever its data lies.
    here = replace(invocation, servers=(), data_dir=systemd.runtime_folder)
    try:
        stop_node(here, everything=False, wait_seconds=STOP_SECONDS)
        say("the node has handed over and ended its dynos")
    except Failure as failure:
        say(f"the node could not be asked to hand over ({failure}); its dynos may run until this Pi is off")


def _files_of(settings: Settings, invocation: Invocation) -> list[Path]:
    config = _config_file(invocation)
    return [settings.cluster.key_file, *([config] if config else [])]


def _purge(invocation: Invocation) -> None:
    settings = _settings(invocation)
    name = settings.node.name or default_node_name()
    purge(settings.node.data_dir, _files_of(settings, invocation))
    say(f"deleted {settings.node.data_dir} and the configuration")
    say(f"Unless it left before, tell the others: pinode node:remove {name} --confirm {name}")


def _say_what_stays(invocation: Invocation) -> None:
    try:
        settings = _settings(invocation)
    except SettingsError:
        return  # a broken file must not keep anybody from uninstalling
    kept = [path for path in (settings.node.data_dir, *_files_of(settings, invocation)) if path.exists()]
    if kept:
        say("What stays: " + ", ".join(map(str, kept)))
        say("`sudo pinode install` goes on with it; `sudo pinode uninstall --purge` deletes it.")
