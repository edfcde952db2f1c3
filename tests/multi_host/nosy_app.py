"""An app that looks around: what its dynos, and the hook that its build runs, can see and do.

It is not imported by tests, it is what they deploy: only the standard library, and nothing of pinode.
"""

import ctypes
import json
import os
import signal
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PTRACE_ATTACH = 16
FOLDERS = ("/", "/root", "/home", "/var", "/run", "/srv", "/mnt", "/media", "/opt", "/etc", "/sys", "/boot")
SYSTEM_FILES = ("/etc/shadow", "/etc/gshadow", "/etc/hostname", "/etc/machine-id", "/etc/ssl/private", "/proc/1/mem",
                "/proc/1/root/etc/shadow", "/proc/kcore", "/proc/sysrq-trigger",
                "/dev/mem", "/dev/kmsg")  # fmt: skip


def look_around(wanted: dict[str, list]) -> dict[str, object]:
    """All of it. `wanted` names paths, sockets and processes of the node, as a spy would guess them."""
    libc = ctypes.CDLL(None, use_errno=True)
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return {
        "uid": os.getuid(),
        "capabilities": [line.split()[1] for line in _read("/proc/self/status").splitlines() if "Cap" in line],
        "no_new_privileges": "NoNewPrivs:\t1" in _read("/proc/self/status"),
        "commands": [_read(f"/proc/{pid}/cmdline").replace("\0", " ") for pid in pids],
        "environments": [_read(f"/proc/{pid}/environ") for pid in pids if pid != os.getpid()],
        "own_environment": dict(os.environ),
        "folders": {path: sorted(os.listdir(path)) for path in FOLDERS if os.access(path, os.R_OK)},
        "readable": [path for path in [*wanted["paths"], *SYSTEM_FILES] if _opens(path)],
        "existing": [path for path in wanted["paths"] if os.path.lexists(path)],
        "connected": [path for path in wanted["sockets"] if _connects(path)],
        "signalled": [pid for pid in wanted["pids"] if _may(os.kill, pid, 0)],
        "traced": [pid for pid in wanted["pids"] if libc.ptrace(PTRACE_ATTACH, pid, None, None) == 0],
        "written": [path for path in ("/usr/x", "/etc/x", "/x", "/dev/x", "/proc/sys/kernel/hostname") if _writes(path)],
        "mounted": libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0,
        "descriptors": sorted(_target(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")),
        "devices": sorted(os.listdir("/dev")),
        "abstract_sockets": [line.split()[-1] for line in _read("/proc/net/unix").splitlines() if " @" in line],
        "loopback": [address for address in wanted["loopback"] if _reaches(address)],
    }  # fmt: skip


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError as error:
        return f"{error.strerror}"


def _opens(path: str) -> bool:
    if os.path.isdir(path):
        return _may(os.listdir, path)
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError:
        return False
    return True


def _writes(path: str) -> bool:
    try:
        Path(path).write_text("x")
    except OSError:
        return False
    return True


def _connects(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as door:
        return _may(door.connect, path)


def _reaches(address: list) -> bool:
    with socket.socket() as door:
        door.settimeout(2)
        return _may(door.connect, tuple(address))


def _may(function, *arguments: object) -> bool:
    try:
        function(*arguments)
    except OSError:
        return False
    return True


def _target(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


class Confession(BaseHTTPRequestHandler):
    """Answers with what the dyno sees, and what the build saw."""

    def do_GET(self) -> None:
        seen = {
            "dyno": look_around(json.loads(os.environ["WANTED"])),
            "build": json.loads(_read("seen_by_build.json")),
        }
        body = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Confession).serve_forever()
