"""Keeps a long-lived process small on machines of 512 MB: what is freed goes back to the system."""

import asyncio.sslproto
import ctypes
import gc

from replicated_queue.memory import give_back

M_TRIM_THRESHOLD = -1  # names and numbers of glibc's <malloc.h>
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
GIVEN_BACK_BYTES = 512 * 1024  # as large: back when freed. asyncio reads plain sockets by the half of it
TLS_READ_BYTES = 32 * 1024  # two records


def keep_small() -> None:
    """Call this before the process has threads or connections.

    Left alone, glibc stops giving large blocks back after the first that was freed and keeps a heap for each
    thread, and asyncio fills 256 KiB for each TLS connection. A C library without `mallopt` is left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, GIVEN_BACK_BYTES)
        mallopt(M_TRIM_THRESHOLD, GIVEN_BACK_BYTES)
    asyncio.sslproto.SSLProtocol.max_size = TLS_READ_BYTES


def settle() -> None:
    """After loading: what is in memory now lives as long as the process.

    To look through it again and again for garbage would stall the event loop. Python waits with that until a
    quarter as much is new as was there the last time: it looks once more, at nothing, so that garbage to come
    (each ended TLS connection is 0.1 MB of it) does not wait for a quarter of all that was loaded.
    """
    gc.collect()
    gc.freeze()
    gc.collect()
    give_back()
