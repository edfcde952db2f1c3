"""What apps themselves go through: made, configured, scaled, gone."""

from dataclasses import replace

from pinode.apps.app import App, SealedConfig
from pinode.apps.checks import (
    check_app_name,
    check_config_name,
    check_config_size,
    check_quantities,
    check_texts,
)
from pinode.apps.commands import CreateApp, RenameApp, SetConfig, SetFormation
from pinode.apps.cron_changes import forget_cron
from pinode.apps.errors import AppExists, NoPortLeft, ProcessTypeNotFound, TooManyApps, TooManyDynos
from pinode.apps.hook_changes import forget_hooks
from pinode.apps.placement_changes import drop_placements
from pinode.apps.release_changes import add_release, forget_unused_slugs, newest_good
from pinode.apps.source_changes import forget_unused_sources
from pinode.apps.tables import Tables

NAMES_SHOWN = 5  # in the description of a release


def create(tables: Tables, command: CreateApp, *, index: int, now: int) -> int:
    """The port index of the new app: the smallest that is free."""
    check_app_name(command.name)
    check_texts(owner=command.owner, git_url=command.git_url)
    if command.name in tables.apps:
        raise AppExists(app=command.name)
    if sum(app.owner == command.owner for app in tables.apps) >= command.apps_per_user:
        raise TooManyApps(owner=command.owner, bound=command.apps_per_user)
    taken = {app.port_index for app in tables.apps}
    port_index = next(number for number in range(len(taken) + 1) if number not in taken)
    if port_index >= command.app_ports:
        raise NoPortLeft(bound=command.app_ports)
    tables.check_room()
    app = App(
        name=command.name,
        owner=command.owner,
        port_index=port_index,
        created_at_ms=now,
        created_index=index,
        git_url=command.git_url,
        folder=_folder_for(tables, command.name, index=index),
    )
    tables.apps.put(app.name, app)
    return port_index


def rename(tables: Tables, command: RenameApp) -> None:
    """All that refers to the app by its name follows; ids, numbers and the port stay."""
    app = tables.app(command.app)
    check_app_name(command.name)
    if command.name in tables.apps:
        raise AppExists(app=command.name)
    tables.check_room()
    tables.apps.drop(app.name)
    tables.apps.put(command.name, replace(app, name=command.name, folder=app.folder_name))
    tables.rename(app.name, command.name)


def destroy(tables: Tables, app: str) -> None:
    """Remove the app with its releases and placements; its builds are gone already."""
    drop_placements(tables, app)
    for release in tables.releases_of(app):
        tables.releases.drop((app, release.version))
    tables.apps.drop(app)
    forget_unused_sources(tables, app)
    forget_hooks(tables, app)
    forget_cron(tables, app)
    forget_unused_slugs(tables)


def set_config(tables: Tables, command: SetConfig, *, now: int) -> int | None:
    """The version of the release that carries the change, if there is one to build on."""
    app = tables.app(command.app)
    for name in (*sorted(command.set_values), *command.unset):
        check_config_name(name)
    values = {**app.config.values, **command.set_values}
    for name in command.unset:
        values.pop(name, None)
    if values == dict(app.config.values):
        return None
    check_config_size(app.name, values)
    tables.check_room()
    app = tables.change_app(app.name, config=SealedConfig(values=dict(sorted(values.items()))))
    present = newest_good(tables, app.name)
    if present is None:
        return None
    release = add_release(
        tables,
        app,
        slug_digest=present.slug_digest,
        process_types=present.process_types,
        health_checks=present.health_checks,
        cron=present.cron,
        created_by=command.actor,
        description=_description(command),
        commit=present.commit,
        build_id=present.build_id,
        variants=present.variants,
        now=now,
    )
    return release.version


def set_formation(tables: Tables, command: SetFormation) -> None:
    """Raises `ProcessTypeNotFound`, `TooManyDynos` or what is wrong with a quantity."""
    app = tables.app(command.app)
    check_quantities(command.quantities)
    newest = newest_good(tables, app.name)
    for name in sorted(command.quantities):
        if newest is not None and name not in newest.process_types and name not in app.formation:
            known = ", ".join(sorted(newest.process_types))
            raise ProcessTypeNotFound(app=app.name, process_type=name, known=known)
    changed = replace(app, formation=dict(sorted({**app.formation, **command.quantities}.items())))
    others = tables.dynos_of_owner(app.owner) - sum(app.formation.values())
    wanted = others + sum(changed.formation.values())
    grows = sum(changed.formation.values()) > sum(app.formation.values())
    if grows and wanted > command.dynos_per_user:
        raise TooManyDynos(owner=app.owner, wanted=wanted, bound=command.dynos_per_user)
    tables.apps.put(app.name, changed)


def _folder_for(tables: Tables, name: str, *, index: int) -> str:
    """Empty, unless an app that is called otherwise now began with this name."""
    is_taken = any(app.folder_name == name for app in tables.apps)
    return f"{name}.{index}" if is_taken else ""  # no name has a dot


def _description(command: SetConfig) -> str:
    """ "Set DEBUG, SECRET_KEY config vars; unset OLD config var"."""
    parts = []
    for verb, names in (("Set", sorted(command.set_values)), ("Unset", sorted(command.unset))):
        if names:
            more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            noun = "config var" if len(names) == 1 else "config vars"
            parts.append(f"{verb} {', '.join(names[:NAMES_SHOWN])}{more} {noun}")
    return "; ".join(parts)
