"""This node's own disk generation, and the file of the newest one heard of each peer.

Both are written when a node starts, its own and those of the others that hear it, and never in between.
"""

import asyncio
import json
import logging
from pathlib import Path
from random import Random

from pinode.peers.durable_files import write_durably
from pinode.peers.standing import MARK_BYTES, MAX_KNOWN, DiskGeneration, Generations

logger = logging.getLogger(__name__)

VERSION = 1
OWN_FILE = "disk.generation"
PEERS_FILE = "peers.generations"


def next_generation(data_dir: Path, random: Random) -> DiskGeneration:
    """Count one further than the last start did, durably; `random` must be the system's."""
    number = generation_of(data_dir) + 1
    write_durably(data_dir / OWN_FILE, f"{number}\n".encode())
    return DiskGeneration(number, random.randbytes(MARK_BYTES))


def generation_of(data_dir: Path) -> int:
    """How often a node of a cluster was started from this directory.

    Where that cannot be read it counts as never: the peers will say that they remember more.
    """
    file = data_dir / OWN_FILE
    try:
        return int(file.read_text())
    except FileNotFoundError:
        return 0
    except ValueError:
        logger.warning("the disk's generation is not readable file=%s", file)
        return 0


class KeptGenerations:
    """Those of the peers: `load` them before links run, `run` beside them."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / PEERS_FILE
        self._changed = asyncio.Event()
        self.all = self._load()

    def note_news(self) -> None:
        """One of `all` is new."""
        self._changed.set()

    async def run(self) -> None:
        """Write what changed, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            listed = {peer: [one.number, one.mark.hex()] for peer, one in self.all.known.items()}
            content = json.dumps({"version": VERSION, "peers": listed}, indent=1).encode() + b"\n"
            try:
                await asyncio.to_thread(write_durably, self._file, content)
            except OSError as error:
                logger.warning("generations of peers are not written file=%s reason=%r", self._file, error)

    def _load(self) -> Generations:
        """A file that is missing or damaged names none: what it says is a help, not a promise."""
        try:
            read = json.loads(self._file.read_bytes())
            listed = read["peers"] if read["version"] == VERSION else {}
            known = {
                str(peer): DiskGeneration(int(number), bytes.fromhex(mark))
                for peer, (number, mark) in list(listed.items())[:MAX_KNOWN]
            }
        except FileNotFoundError:
            known = {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("generations of peers are not readable file=%s reason=%r", self._file, error)
            known = {}
        return Generations(known)
