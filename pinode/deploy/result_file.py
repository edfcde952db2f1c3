"""What a child has left as its result: written by strangers' code, so it may be a link, a device, a lie or
nothing.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def read_result(path: Path, decode: Callable[[bytes], T], *, most_bytes: int) -> T:
    """What `decode` makes of the file, of which one byte more than `most_bytes` is read; blocking.

    Raises `OSError` or `ValueError` for whatever is not a plain file of that kind.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is no file")
    with open(descriptor, "rb") as file:
        return decode(file.read(most_bytes + 1))
