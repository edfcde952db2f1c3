"""Sockets that listen before anything heavy is imported: clients that come early wait in the backlog."""

import os
import socket
import stat

BACKLOG = 1024
SILENT_SECONDS = 60  # until the kernel asks a silent client whether it is there
ASK_AGAIN_SECONDS = 15
MOST_UNANSWERED = 4


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at `host`, or at the path in `unix:PATH`. Raises `OSError`."""
    if host.startswith("unix:"):
        return _listen_unix(host.removeprefix("unix:"))
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _notice_silence(listener)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _notice_silence(listener: socket.socket) -> None:
    """A client whose machine lost its power says no word: it must not keep its place, and its jobs, for ever.

    What is accepted has the options of the socket that listens.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", SILENT_SECONDS),
        ("TCP_KEEPINTVL", ASK_AGAIN_SECONDS),
        ("TCP_KEEPCNT", MOST_UNANSWERED),
    ):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


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
