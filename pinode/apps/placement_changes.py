"""What placements go through: decided, moved, gone.

They exist only for releases that are kept; those of a release that will never serve go in the same entry in
which that is decided. The `release:` command of a release is a placement too, with two entries more: it
begins, and it ends. The first stands in the log before its process is made, so it runs at most once.
"""

from dataclasses import replace

from pinode.apps.checks import RELEASE_TYPE, check_lines, check_text, one_line
from pinode.apps.commands import EndReleaseCommand, Place, RestartDynos, StartReleaseCommand, Unplace
from pinode.apps.errors import (
    AlreadyPlaced,
    DynoNotFound,
    InvalidValue,
    PlacementNotFound,
    ProcessTypeNotFound,
    ReleaseCommandStarted,
    ReleaseNotPending,
)
from pinode.apps.placement import Placement
from pinode.apps.release import Release
from pinode.apps.tables import Tables


def place(tables: Tables, command: Place, *, index: int) -> int:
    """Its number. Raises `AlreadyPlaced` when the dyno has another placement than the one to be replaced."""
    release = tables.release(command.app, command.version)
    if release.state not in ("pending", "live"):
        raise ReleaseNotPending(app=release.app, version=release.version, state=release.state)
    if command.process_type not in release.process_types:
        known = ", ".join(sorted(release.process_types))
        raise ProcessTypeNotFound(app=command.app, process_type=command.process_type, known=known)
    if command.process_type == RELEASE_TYPE and (
        release.state == "live" or release.command_state != "waiting"
    ):
        raise ReleaseCommandStarted(app=release.app, version=release.version)
    if command.ordinal < 1:
        raise InvalidValue(what=f"ordinal {command.ordinal}", rule="must be 1 or more")
    check_text("the node", command.node_id, chars=100)
    tables.check_room()
    present = _placement_for(tables, command)
    if command.replaces is not None and (present is None or present.number != command.replaces):
        raise PlacementNotFound(number=command.replaces)
    if present is not None and command.replaces is None:
        raise AlreadyPlaced(app=command.app, dyno=present.dyno, number=present.number)
    if present is not None and command.is_beside:
        tables.placements.put(present.number, replace(present, is_moving=True))
    elif present is not None:
        tables.placements.drop(present.number)
    placement = Placement(
        number=index,
        app=command.app,
        version=command.version,
        process_type=command.process_type,
        ordinal=command.ordinal,
        node_id=command.node_id,
    )
    tables.placements.put(index, placement)
    return index


def unplace(tables: Tables, command: Unplace) -> None:
    """Raises `PlacementNotFound`."""
    if command.number not in tables.placements:
        raise PlacementNotFound(number=command.number)
    tables.placements.drop(command.number)


def restart(tables: Tables, command: RestartDynos) -> int:
    """How many dynos are marked. Raises `DynoNotFound` when the named one does not run."""
    app = tables.app(command.app)
    meant = [
        placement
        for placement in tables.placements_of(app.name)
        if placement.version == app.live_version
        and command.dyno in (None, placement.dyno, placement.process_type)
    ]
    if command.dyno is not None and not meant:
        raise DynoNotFound(app=app.name, dyno=command.dyno)
    for placement in meant:
        tables.placements.put(placement.number, replace(placement, is_to_restart=True))
    tables.change_app(app.name, is_stopped=False)
    return len(meant)


def start_release_command(tables: Tables, command: StartReleaseCommand) -> None:
    """Raises `PlacementNotFound`, or `ReleaseCommandStarted` when it has begun before."""
    release = _release_of(tables, command.number)
    if release.state != "pending":
        raise ReleaseNotPending(app=release.app, version=release.version, state=release.state)
    if release.command_state != "waiting":
        raise ReleaseCommandStarted(app=release.app, version=release.version)
    tables.releases.put((release.app, release.version), replace(release, command_state="running"))


def end_release_command(tables: Tables, command: EndReleaseCommand) -> None:
    """Its release goes on, or fails. Raises `PlacementNotFound` when that was said before."""
    release = _release_of(tables, command.number)
    check_lines(command.last_lines)
    if command.failure is None and release.command_state != "running":
        raise InvalidValue(what="the release command", rule="must begin before it ends well")
    ended = replace(release, command_state="succeeded", last_lines=command.last_lines)
    if command.failure is not None:
        ended = replace(ended, command_state="failed")
        if release.state == "pending":
            ended = replace(ended, state="failed", failure=one_line(command.failure))
    tables.releases.put((release.app, release.version), ended)
    tables.placements.drop(command.number)


def drop_placements(tables: Tables, app: str, version: int | None = None) -> None:
    """Remove the placements of a release, or of all.

    Of a release alone, its command goes on if it has begun: half a migration is worse than a late one.
    """
    for placement in tables.placements_of(app):
        if version is None or (placement.version == version and not is_running_command(tables, placement)):
            tables.placements.drop(placement.number)


def is_running_command(tables: Tables, placement: Placement) -> bool:
    """Whether this is a `release:` command that has begun, and has not said how it ended."""
    release = tables.releases.get((placement.app, placement.version))
    is_command = placement.process_type == RELEASE_TYPE
    return is_command and release is not None and release.command_state == "running"


def _release_of(tables: Tables, number: int) -> Release:
    """Of a placement that is a `release:` command."""
    placement = tables.placements.get(number)
    if placement is None or placement.process_type != RELEASE_TYPE:
        raise PlacementNotFound(number=number)
    return tables.release(placement.app, placement.version)


def _placement_for(tables: Tables, command: Place) -> Placement | None:
    wanted = (command.version, command.process_type, command.ordinal)
    for placement in tables.placements_of(command.app):
        found = (placement.version, placement.process_type, placement.ordinal)
        if found == wanted and not placement.is_moving:
            return placement
    return None
