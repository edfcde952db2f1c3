"""Sockets that listen before anything heavy is imported: clients that come early wait in the backlog."""

import os
import socket
import stat

BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at `host`, or at the path in `unix:PATH`. Raises `OSError`."""
    if host.startswith("unix:"):
        return _listen_unix(host.removeprefix("unix:"))
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _listen_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)  # left behind by a program that was killed
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
