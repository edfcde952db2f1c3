"""From `cluster.toml`, environment variables and flags to `Settings`, or an error that says what to write."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import get_type_hints

from pinode.errors import SettingsError
from pinode.settings.keys import UNSET_PATH, Kind, ListenSettings, Settings
from pinode.settings.values import PortRange

SYSTEM_FILE = Path("/etc/pinode/cluster.toml")


def find_settings_file(path: Path | None) -> Path | None:
    """Return the file settings come from: the one named, else the one here, else the system's, else none."""
    if path is not None:
        if not path.is_file():
            raise SettingsError(
                f"there is no settings file {path}",
                hint="Write one with `pinode init`, or leave --config out.",
            )
        return path
    return next((found for found in (Path("cluster.toml"), SYSTEM_FILE) if found.is_file()), None)


def load_settings(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> Settings:
    """Read the settings file, then `PINODE_<SECTION>_<KEY>`, then flags such as `{"node.data_dir": "/srv"}`.

    Relative paths in the file are relative to its folder, others to where the command runs.
    Raises `SettingsError` naming source, key and a valid example.
    """
    return _load(find_settings_file(path), environ, overrides, is_root=os.geteuid() == 0)


def load_system_settings(path: Path | None, overrides: Mapping[str, object] | None = None) -> Settings:
    """As a node that the system starts as root reads them: not from this folder, not from the environment.

    Without `path` from the system's file if there is one. Raises `SettingsError`.
    """
    if path is None:
        return _load(SYSTEM_FILE if SYSTEM_FILE.is_file() else None, {}, overrides, is_root=True)
    return _load(find_settings_file(path), {}, overrides, is_root=True)


def _load(
    file: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None, *, is_root: bool
) -> Settings:
    settings = Settings()
    if file is not None:
        settings = _apply_file(settings, file)
    settings = _apply_environment(settings, environ)
    for name, value in (overrides or {}).items():
        section, _, key = name.partition(".")
        settings = _set(
            settings, section, key, value, source=f"flag for {name}", folder=Path.cwd(), is_text=True
        )
    _check_together(settings, str(file or "settings"))
    return _with_default_paths(settings, environ, is_root=is_root)


def _apply_file(settings: Settings, file: Path) -> Settings:
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{file} cannot be read: {error}", hint='Valid: [cluster] name = "home"'
        ) from error
    folder = file.absolute().parent
    for section, keys in tables.items():
        if not isinstance(keys, dict):
            raise SettingsError(
                f"{file}: {section!r} stands outside of a section",
                hint=f'Sections are {", ".join(_sections())}. Valid: [cluster] name = "home"',
            )
        for key, value in keys.items():
            settings = _set(settings, section, key, value, source=str(file), folder=folder, is_text=False)
    return settings


def _apply_environment(settings: Settings, environ: Mapping[str, str]) -> Settings:
    for variable, text in sorted(environ.items()):
        found = re.fullmatch(rf"PINODE_({'|'.join(_sections()).upper()})_([A-Z0-9_]+)", variable)
        if found:
            section, key = found[1].lower(), found[2].lower()
            settings = _set(settings, section, key, text, source=variable, folder=Path.cwd(), is_text=True)
    return settings


def _sections() -> list[str]:
    return [section.name for section in fields(Settings)]


def _kinds(section: str) -> dict[str, Kind]:
    """Every key of a section with what it takes, as its annotation says."""
    hints = get_type_hints(get_type_hints(Settings)[section], include_extras=True)
    return {key: hint.__metadata__[0] for key, hint in hints.items()}


def _set(
    settings: Settings, section: str, key: str, value: object, *, source: str, folder: Path, is_text: bool
) -> Settings:
    if section not in _sections():
        raise SettingsError(
            f"{source}: unknown section [{section}]", hint=f"Sections are {', '.join(_sections())}."
        )
    kinds = _kinds(section)
    if key not in kinds:
        first = next(iter(kinds))
        raise SettingsError(
            f"{source}: unknown key {key!r} in [{section}]",
            hint=f"Keys are {', '.join(kinds)}. Valid: {first} = {kinds[first].example}",
        )
    kind = kinds[key]
    try:
        read = kind.read(kind.from_text(value) if is_text and isinstance(value, str) else value)
    except ValueError as error:
        raise SettingsError(
            f"{source}: [{section}] {key} = {_shown(value)} is not {kind.wanted}",
            hint=f"Valid: {key} = {kind.example}",
        ) from error
    if isinstance(read, Path) and read != UNSET_PATH and not str(read).startswith("~"):
        read = folder / read
    return replace(settings, **{section: replace(getattr(settings, section), **{key: read})})


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _check_door(listen: ListenSettings, source: str) -> None:
    door = listen.beanstalk
    if door is not None and not door.is_loopback and not listen.beanstalk_open:
        raise SettingsError(
            f"{source}: [listen] beanstalk = {door} would let everybody who reaches this node into the queue",
            hint=f'The protocol knows no passwords. Valid: beanstalk = "127.0.0.1:{door.port}", '
            "or beanstalk_open = true as well",
        )


def _check_together(settings: Settings, source: str) -> None:
    listen = settings.listen
    taken: dict[int, str] = {}
    _check_door(listen, source)
    for key in ("peer", "web", "apps", "apps_tls", "router", "beanstalk"):
        if getattr(listen, key) is None:
            continue
        port = getattr(listen, key).port
        if port in taken:
            raise SettingsError(
                f"{source}: [listen] {key} and {taken[port]} share port {port}",
                hint=f'Give each its own. Valid: {key} = "0.0.0.0:{port + 1}"',
            )
        taken[port] = key
    for key in ("app_ports", "dyno_ports"):
        ports: PortRange = getattr(listen, key)
        clash = next((name for port, name in taken.items() if port in ports), None)
        if (
            key == "dyno_ports"
            and listen.app_ports.first <= ports.last
            and ports.first <= listen.app_ports.last
        ):
            clash = "app_ports"
        if clash:
            raise SettingsError(
                f"{source}: [listen] {key} = {ports} contains a port of {clash}",
                hint='Keep them apart. Valid: app_ports = "9000-9999" and dyno_ports = "20000-29999"',
            )
    if not settings.node.roles and settings.cluster.expect == 1:
        raise SettingsError(
            f"{source}: [node] roles = [] leaves the only node with nothing to do",
            hint='Valid: roles = ["build", "deploy"]',
        )


def _with_default_paths(settings: Settings, environ: Mapping[str, str], *, is_root: bool) -> Settings:
    home = Path(environ.get("HOME") or "/root")

    def resolve(path: Path, default: Path) -> Path:
        if path == UNSET_PATH:
            return default
        return home / Path(*path.parts[1:]) if path.parts[0] == "~" else path

    fallback = Path("/var/lib/pinode") if is_root else home / ".local/share/pinode"
    data_dir = resolve(settings.node.data_dir, fallback)
    key_file = resolve(settings.cluster.key_file, data_dir / "cluster.key")
    return replace(
        settings,
        node=replace(settings.node, data_dir=data_dir),
        cluster=replace(settings.cluster, key_file=key_file),
    )
