"""Which commands every member of a cluster can apply: its feature level. `CONTRIBUTING.md` has the rule.

A program supports all levels up to its own. The cluster's level is the lowest among its registered nodes; it
rises when the last of them has registered as upgraded, and never falls.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final

FEATURE_LEVEL: Final = 1  # of this program
SINCE: Final[
    Mapping[str, int]
] = {}  # "RenameApp", or a field "AddNode.zone" → its level; the rest is level 1


def level_of(command: object, since: Mapping[str, int] = SINCE) -> int:
    """The level that the cluster must have before this command may be proposed.

    Its class counts, and each field that says more than its default: older nodes would skip that.
    """
    kind = type(command).__name__
    level = since.get(kind, 1)
    if dataclasses.is_dataclass(command):
        for field in dataclasses.fields(command):
            if getattr(command, field.name) != field.default:
                level = max(level, since.get(f"{kind}.{field.name}", 1))
    return level
