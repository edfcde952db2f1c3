"""What is freed goes back to the system: on machines of 512 MB others need it."""

import ctypes


def give_back() -> None:
    """Return to the system what lies free inside the heap. Takes a millisecond or two."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
