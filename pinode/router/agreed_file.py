"""What was agreed about routes when it changed last, for a start without any leader.

Written only when it changes, so rarely. Not synced: after a power cut just then a leader tells it anew.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import msgpack

from pinode.router.route_table import AgreedApp, AgreedDyno

logger = logging.getLogger(__name__)

FILE_NAME = "agreed"
VERSION = 1


def write_agreed(directory: Path, agreed: Sequence[AgreedApp]) -> None:
    """Note it, whole or not at all."""
    rows = [
        [
            app.app,
            app.port_index,
            [[dyno.placement, dyno.node_id] for dyno in app.dynos],
            app.in_maintenance,
        ]
        for app in agreed
    ]
    draft = directory / f"{FILE_NAME}.new"
    draft.write_bytes(msgpack.packb([VERSION, rows]))
    draft.replace(directory / FILE_NAME)


def read_agreed(directory: Path) -> tuple[AgreedApp, ...]:
    """What was noted; nothing if there is nothing readable."""
    try:
        _, rows, *_ = msgpack.unpackb((directory / FILE_NAME).read_bytes())
        return tuple(
            AgreedApp(app, port_index, tuple(AgreedDyno(*dyno[:2]) for dyno in dynos), in_maintenance)
            for app, port_index, dynos, in_maintenance, *_ in rows
        )
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, msgpack.UnpackException) as error:
        logger.warning("the noted routes cannot be read, waiting for a leader reason=%s", error)
        return ()
