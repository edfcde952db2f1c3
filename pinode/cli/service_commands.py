"""`pinode install` and `pinode uninstall`: whether this machine's node starts at boot."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from pinode.cli.confirmation import confirm_name
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.node_commands import stop_node
from pinode.cli.output import say
from pinode.errors import Conflict, SettingsError
from pinode.local_door import SYSTEM_GROUP
from pinode.operations.disk_trouble import disk_trouble
from pinode.operations.holdings import Holdings, Purged, holdings_of, holdings_of_unit, purge
from pinode.operations.install import Systemd, UnitState, check_startable
from pinode.operations.install import install as install_unit
from pinode.operations.install import uninstall as uninstall_unit
from pinode.operations.system_unit import StartFlags, SystemUnit, read_unit
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
        with disk_trouble("it is not installed"):
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
    data_dir = settings.node.data_dir
    flags = StartFlags(config=config, data_dir=data_dir if invocation.data_dir else None)
    return SystemUnit(program=_own_program(), flags=flags, data_dir=data_dir)


def _own_program() -> tuple[str, ...]:
    """What runs this installation of pinode, from any folder."""
    script = Path(sys.executable).with_name("pinode")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "pinode")


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
    with disk_trouble("it is not all done"):
        if purges:
            purge_node(invocation, systemd, confirm)
        else:
            uninstall_node(invocation, systemd, keep_running=keep_running)
    return ExitCode.OK


def uninstall_node(invocation: Invocation, systemd: Systemd, *, keep_running: bool) -> None:
    """End the node, have nothing start it any more, and say what stays. Raises `PinodeError`."""
    try:
        held = _holdings(invocation, systemd)
    except (SettingsError, Conflict, OSError):
        held = None  # a broken file must not keep anybody from uninstalling
    _uninstall(invocation, systemd, keep_running=keep_running)
    if held is not None:
        _say_what_stays(held)


def purge_node(invocation: Invocation, systemd: Systemd, confirm: str | None) -> None:
    """Uninstall the node and delete all that it holds, once its name is confirmed. Raises `PinodeError`."""
    held = _holdings(invocation, systemd)
    held.check()
    there = ", ".join(map(str, held.there())) or "nothing that is there"
    undone = f"nothing was changed; to purge {held.name} deletes {there}"
    confirm_name(invocation, held.name, confirm, what=f"deletes {there}", undone=undone)
    _uninstall(invocation, systemd, keep_running=False)
    _say_purged(held, purge(held))


def _holdings(invocation: Invocation, systemd: Systemd) -> Holdings:
    """Of the node that the unit starts; without one, of the node that the command line names."""
    asked = StartFlags(
        config=invocation.config and invocation.config.absolute(),
        data_dir=invocation.data_dir and invocation.data_dir.absolute(),
    )
    text = systemd.unit_text()
    return holdings_of(asked) if text is None else holdings_of_unit(read_unit(text), asked)


def _uninstall(invocation: Invocation, systemd: Systemd, *, keep_running: bool) -> None:
    if systemd.unit_text() is None:
        say(f"there is no {systemd.unit_file}: nothing starts the node at boot")
    else:
        if systemd.is_active() and not keep_running:
            _hand_over(invocation, systemd)
        uninstall_unit(systemd)
        say(f"{systemd.unit_file} is gone: nothing starts the node at boot any more")


def _hand_over(invocation: Invocation, systemd: Systemd) -> None:
    """Have the node end as `pinode stop` does; one that cannot be asked is ended by systemd."""
    # By the socket of the unit's node, wherever its data lies.
    here = replace(invocation, servers=(), data_dir=systemd.runtime_folder)
    try:
        stop_node(here, everything=False, wait_seconds=STOP_SECONDS)
        say("the node has handed over and ended its dynos")
    except Failure as failure:
        say(f"the node could not be asked to hand over ({failure}); its dynos may run until this Pi is off")


def _say_purged(held: Holdings, done: Purged) -> None:
    """Raises `PinodeError` for what is left."""
    say("deleted " + ", ".join(done.deleted) if done.deleted else "there was nothing to delete")
    for folder in done.emptied:
        say(f"{folder} stays, empty: a disk is mounted there")
    say(f"Unless it left before, tell the others: pinode node:remove {held.name} --confirm {held.name}")
    done.check()


def _say_what_stays(held: Holdings) -> None:
    there = held.there()
    if there:
        say("What stays: " + ", ".join(map(str, there)))
        say(f"`{held.command} install` goes on with it; `{held.command} uninstall --purge` deletes it.")
