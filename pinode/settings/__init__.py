"""The settings of a node: `cluster.toml`, overridden by environment variables, overridden by flags.

Every key has a default, so an empty or missing file is a working one-node cluster. The file in the repository
is the documented default; a test holds the two together. Whatever is unknown, of the wrong type or impossible
is refused with the file, the key and a valid example.
"""

from pinode.settings.keys import (
    DEFAULT_PEER_PORT,
    AppsSettings,
    BuildsSettings,
    ClusterSettings,
    LimitsSettings,
    ListenSettings,
    NodeSettings,
    SandboxSettings,
    Settings,
    TimingsSettings,
)
from pinode.settings.loading import find_settings_file, load_settings, load_system_settings
from pinode.settings.values import (
    GIB,
    MIB,
    Address,
    PortRange,
    parse_address,
    parse_port_range,
    parse_size,
)

__all__ = [
    "DEFAULT_PEER_PORT",
    "GIB",
    "MIB",
    "Address",
    "AppsSettings",
    "BuildsSettings",
    "ClusterSettings",
    "LimitsSettings",
    "ListenSettings",
    "NodeSettings",
    "PortRange",
    "SandboxSettings",
    "Settings",
    "TimingsSettings",
    "find_settings_file",
    "load_settings",
    "load_system_settings",
    "parse_address",
    "parse_port_range",
    "parse_size",
]
