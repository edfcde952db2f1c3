"""Every key of `cluster.toml`: its section, its default, and what values it takes."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pinode.settings.values import GIB, MIB, Address, PortRange, parse_address, parse_port_range, parse_size

DEFAULT_PEER_PORT = 7300


@dataclass(frozen=True, slots=True)
class Kind:
    """What values a key takes: in words, by a valid example in TOML, and as a function that reads one."""

    wanted: str
    example: str
    read: Callable[[Any], Any]  # from a TOML value; raises ValueError
    from_text: Callable[[str], object] = str  # from an environment variable or a flag to a TOML value


def _text_matching(pattern: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError("no match")
        return value

    return read


def _whole_number(text: str) -> object:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text.strip()) else text


def _count(smallest: int, largest: int) -> Kind:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
            raise ValueError("out of range")
        return value

    return Kind(f"a whole number from {smallest} to {largest}", str(smallest), read, _whole_number)


def _read_boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("not a boolean")
    return value


def _choice(*allowed: str) -> Kind:
    pattern = "|".join(map(re.escape, allowed))
    quoted = " or ".join(f'"{choice}"' for choice in allowed)
    return Kind(quoted, f'"{allowed[0]}"', _text_matching(pattern))


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("not a list of texts")
    return value


def _read_join(value: Any) -> tuple[Address, ...]:
    return tuple(parse_address(item, default_port=DEFAULT_PEER_PORT) for item in _texts(value))


def _read_roles(value: Any) -> tuple[str, ...]:
    if not set(_texts(value)) <= {"build", "deploy"}:
        raise ValueError("unknown role")
    return tuple(dict.fromkeys(value))


def _read_path(value: Any) -> Path:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("not a path")
    return Path(value) if value else UNSET_PATH


def _read_door(value: Any) -> Address | None:
    return parse_address(_text_matching(r".+")(value)) if value != "" else None


def _split_list(text: str) -> object:
    return [item.strip() for item in text.split(",") if item.strip()]


def _boolean_text(text: str) -> object:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower(), text)


UNSET_PATH = Path()
NODE_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
SIZE = Kind("a size in bytes or with a unit", '"2 GiB"', parse_size)
BOOLEAN = Kind("true or false", "true", _read_boolean, _boolean_text)
PATH = Kind('a path, or "" for the default', '"/srv/pinode"', _read_path)
LISTEN = Kind("host:port", '"0.0.0.0:7300"', lambda value: parse_address(_text_matching(r".+")(value)))
PORTS = Kind("a range of ports", '"9000-9999"', lambda value: parse_port_range(_text_matching(r".+")(value)))
CLUSTER_NAME = Kind(
    "1 to 30 lower-case letters, digits and -", '"home"', _text_matching(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
)
JOIN = Kind('a list of "host" or "host:port"', '["pi1", "pi2:7300"]', _read_join, _split_list)
ROLES = Kind('a list of "build" and "deploy"', '["build", "deploy"]', _read_roles, _split_list)
NAME = Kind("lower-case letters, digits and -", '"pi1"', _text_matching(rf"({NODE_NAME})?"))
ADVERTISE = Kind(
    'an address others can dial, or "" for the default route\'s',
    '"192.168.1.20"',
    _text_matching(r"[A-Za-z0-9_.:-]{0,253}"),
)
DOOR = Kind('host:port, or "" for none', '"127.0.0.1:11300"', _read_door)
DOMAIN = Kind("a domain name", '"local"', _text_matching(rf"{NODE_NAME}(\.{NODE_NAME})*"))


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """`[cluster]`: which cluster this is and how its nodes find each other."""

    name: Annotated[str, CLUSTER_NAME] = "home"
    expect: Annotated[int, _count(1, 64)] = 1
    join: Annotated[tuple[Address, ...], JOIN] = ()
    discovery: Annotated[str, _choice("mdns", "off")] = "mdns"
    key_file: Annotated[Path, PATH] = UNSET_PATH  # after loading: never unset


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """`[node]`: this machine. An empty `name` or `advertise` means: as `pinode.host` finds it."""

    name: Annotated[str, NAME] = ""
    data_dir: Annotated[Path, PATH] = UNSET_PATH  # after loading: never unset
    advertise: Annotated[str, ADVERTISE] = ""
    roles: Annotated[tuple[str, ...], ROLES] = ("build", "deploy")
    trust_clock: Annotated[bool, BOOLEAN] = False


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """`[listen]`: addresses and ports."""

    peer: Annotated[Address, LISTEN] = field(default=Address("0.0.0.0", DEFAULT_PEER_PORT))
    web: Annotated[Address, LISTEN] = field(default=Address("0.0.0.0", 8000))
    apps: Annotated[Address, LISTEN] = field(default=Address("0.0.0.0", 8080))
    apps_tls: Annotated[Address, LISTEN] = field(default=Address("0.0.0.0", 8443))
    router: Annotated[Address, LISTEN] = field(default=Address("0.0.0.0", 7301))
    app_ports: Annotated[PortRange, PORTS] = field(default=PortRange(9000, 9999))
    dyno_ports: Annotated[PortRange, PORTS] = field(default=PortRange(20000, 29999))
    beanstalk: Annotated[Address | None, DOOR] = None
    beanstalk_open: Annotated[bool, BOOLEAN] = False


@dataclass(frozen=True, slots=True)
class AppsSettings:
    """`[apps]`: where apps answer."""

    domain: Annotated[str, DOMAIN] = "local"


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """`[sandbox]`: isolation of builds and dynos."""

    required: Annotated[bool, BOOLEAN] = True


@dataclass(frozen=True, slots=True)
class BuildsSettings:
    """`[builds]`: how apps are built."""

    python_downloads: Annotated[str, _choice("auto", "never")] = "auto"
    concurrent: Annotated[int, _count(1, 16)] = 1
    home_python: Annotated[bool, BOOLEAN] = False  # may apps use this node's own Python in a home directory?


@dataclass(frozen=True, slots=True)
class LimitsSettings:
    """`[limits]`: bounds of what one user, app, build or dyno may take."""

    apps_per_user: Annotated[int, _count(1, 10_000)] = 20
    dynos_per_user: Annotated[int, _count(1, 10_000)] = 20
    memory_per_user: Annotated[int, SIZE] = 2 * GIB  # bytes
    dyno_memory_bytes: Annotated[int, SIZE] = 512 * MIB
    dyno_processes: Annotated[int, _count(8, 65_536)] = 256
    build_memory_bytes: Annotated[int, SIZE] = GIB
    build_disk_bytes: Annotated[int, SIZE] = 2 * GIB
    build_processes: Annotated[int, _count(16, 65_536)] = 512
    build_cache_bytes: Annotated[int, SIZE] = GIB
    build_log_bytes: Annotated[int, SIZE] = 2 * MIB
    clone_bytes: Annotated[int, SIZE] = 500 * MIB
    slug_bytes: Annotated[int, SIZE] = 500 * MIB
    log_bytes: Annotated[int, SIZE] = 4 * MIB
    free_disk_bytes: Annotated[int, SIZE] = 512 * MIB


@dataclass(frozen=True, slots=True)
class TimingsSettings:
    """`[timings]`: how long things may take, in seconds."""

    build_seconds: Annotated[int, _count(10, 86_400)] = 900
    build_silence_seconds: Annotated[int, _count(10, 86_400)] = 300
    start_seconds: Annotated[int, _count(1, 3_600)] = 60
    stop_seconds: Annotated[int, _count(1, 3_600)] = 30
    release_seconds: Annotated[int, _count(1, 86_400)] = 900
    cron_seconds: Annotated[int, _count(1, 86_400)] = 21_600


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one node, read and checked."""

    cluster: ClusterSettings = ClusterSettings()
    node: NodeSettings = NodeSettings()
    listen: ListenSettings = ListenSettings()
    apps: AppsSettings = AppsSettings()
    sandbox: SandboxSettings = SandboxSettings()
    builds: BuildsSettings = BuildsSettings()
    limits: LimitsSettings = LimitsSettings()
    timings: TimingsSettings = TimingsSettings()
