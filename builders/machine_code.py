"""For which machines an app's files are: machine code among them is for one kind of CPU, all else for any.

Looked at are the headers of ELF files (elf(5)), whatever they are called: programs, shared objects, the
extensions of Python and Node.js packages.
"""

import os
import platform
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

ANY_MACHINE = "any"
MAGIC = b"\x7fELF"
HEADER_BYTES = 20  # up to e_machine
BIG_ENDIAN = 2  # EI_DATA
NAMES = {  # e_machine: names in `uname -m` of machines that run it
    3: ("i686",),
    40: ("armv6l", "armv7l"),
    62: ("x86_64",),
    183: ("aarch64",),
    243: ("riscv64",),
}


def machines_in(app: Path) -> frozenset[str]:
    """Names of the machines for which there is machine code in the folder; empty: any machine will do.

    What is for a machine that we know no name of counts as being for this one.
    """
    numbers = {number for path in _files(app) if (number := _machine_of(path)) is not None}
    return frozenset(name for number in numbers for name in NAMES.get(number, (platform.machine(),)))


def runs_on(machines: Collection[str]) -> str:
    """What a slug for these machines says that it is for: their names, or "any"."""
    return ",".join(sorted(machines)) or ANY_MACHINE


def _files(folder: Path) -> Iterator[str]:
    for here, _, names in os.walk(folder):
        yield from (os.path.join(here, name) for name in names)


def _machine_of(path: str) -> int | None:
    """The machine of an ELF file; None for every other file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # a link: its target is looked at where it is
        return None
    try:
        header = os.read(descriptor, HEADER_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    finally:
        os.close(descriptor)
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        return None
    return int.from_bytes(header[18:20], "big" if header[5] == BIG_ENDIAN else "little")
