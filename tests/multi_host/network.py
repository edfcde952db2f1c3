"""Several little hosts on this machine: each its own network, hostname, mounts and processes, on one switch.

Needs root and Debian's iproute2, nftables and util-linux. No address of the network exists outside its namespaces,
so nothing that is sent in it can leave the machine.
"""

import atexit
import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_SERIAL = itertools.count()
_INIT = r"""
import os, signal, socket, subprocess, sys
name, data, at = sys.argv[1:4]
socket.sethostname(name)
subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
os.makedirs(at, exist_ok=True)
subprocess.run(["mount", "--bind", data, at], check=True)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.write(1, b"ready\n"); os.close(1)
while True: signal.pause()
"""


def run_tool(*argv: str, stdin: str | None = None, may_fail: bool = False) -> str:
    done = subprocess.run(argv, input=stdin, text=True, capture_output=True)
    if done.returncode and not may_fail:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def in_network_of(namespace: str) -> Iterator[None]:
    """This thread is in the network namespace inside the block; sockets made there stay there."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if _LIBC.setns(there, 0x40000000):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            _LIBC.setns(here, 0x40000000)
    finally:
        os.close(here)
        os.close(there)


class Host:
    """One host: `ip`, a private data directory `data` (seen from the test as `outside`), processes."""

    def __init__(self, network: "Network", number: int, ip: str) -> None:
        self.network, self.number, self.ip = network, number, ip
        self.name = f"n{number}"
        self.namespace = f"{network.id}-{self.name}"
        self.data = Path("/var/lib/pinode")
        self.outside = network.folder / self.name
        self._front: subprocess.Popen[bytes] | None = None

    def power_on(self) -> None:
        """Boot: files as they were, no process but an init."""
        self.outside.mkdir(parents=True, exist_ok=True)
        self._front = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "--mount", "--uts", "--pid", "--fork",
             "--kill-child=KILL", sys.executable, "-I", "-S", "-c", _INIT, self.name, str(self.outside), str(self.data)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._front.stdout
        assert self._front.stdout.readline() == b"ready\n", f"{self.name} did not come up"
        self._front.stdout.close()
        children = Path(f"/proc/{self._front.pid}/task/{self._front.pid}/children").read_text()
        self.init_pid = int(children.split()[0])

    def power_off(self) -> None:
        """As if the plug was pulled: every process of the host is killed at once."""
        if self._front:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.init_pid, signal.SIGKILL)
            self._front.wait(10)
            self._front = None

    def command(self, words: Sequence[str], cwd: Path | str = "/") -> list[str]:
        """The words, to be run inside of this host, in the folder `cwd` of the test (else in its root)."""
        return [
            "nsenter",
            "-t",
            str(self.init_pid),
            "--net",
            "--uts",
            "--mount",
            "--pid",
            "--",
            "env",
            "-C",
            str(cwd),
            *words,
        ]

    def start(
        self, words: Sequence[str], *, cwd: Path | str = "/", **options: Any
    ) -> subprocess.Popen[bytes]:
        """A process inside of this host."""
        return subprocess.Popen(self.command(words, cwd), **options)

    def run(
        self, words: Sequence[str], *, seconds: float = 60, cwd: Path | str = "/", **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end inside of this host; output captured as text."""
        return subprocess.run(
            self.command(words, cwd), timeout=seconds, capture_output=True, text=True, **options
        )

    def connect(self, ip: str, port: int, *, seconds: float = 3.0) -> socket.socket:
        """A TCP connection out of this host's network, usable by the test."""
        with in_network_of(self.namespace):
            connection = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
        connection.settimeout(seconds)
        try:
            connection.connect((ip, port))
        except BaseException:
            connection.close()
            raise
        return connection


class Network:
    """`count` hosts n1, n2, … on one switch, as a context manager that leaves nothing behind.

    With `only_ipv6` they have no IPv4 address but loopback's.
    """

    def __init__(self, count: int, *, only_ipv6: bool = False) -> None:
        self._only_ipv6 = only_ipv6
        self.id = f"pnt{os.getpid()}x{next(_SERIAL)}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.id}-"))
        self._switch = f"{self.id}-sw"
        self.hosts: dict[int, Host] = {}
        atexit.register(self.close)
        try:
            run_tool("ip", "netns", "add", self._switch)
            setup = "link add br0 type bridge mcast_snooping 0 stp_state 0\nlink set br0 up\nlink set lo up\n"
            run_tool("ip", "-n", self._switch, "-b", "-", stdin=setup)
            for number in range(1, count + 1):
                self._add(number)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, number: int) -> Host:
        return self.hosts[number]

    def _add(self, number: int) -> None:
        ip = f"fd77::{number}" if self._only_ipv6 else f"10.77.0.{number}"
        host = self.hosts[number] = Host(self, number, ip)
        run_tool("ip", "netns", "add", host.namespace)
        run_tool("ip", "-n", host.namespace, "link", "set", "lo", "up")
        self.plug_in(host, "eth0", ip)
        if not self._only_ipv6:
            run_tool("ip", "-n", host.namespace, "route", "add", "224.0.0.0/4", "dev", "eth0")
        host.power_on()

    def plug_in(self, host: Host, interface: str, ip: str) -> None:
        """Connect an interface of the host, with this address."""
        self._connect(host, interface)
        address = f"{ip}/64 dev {interface} nodad" if ":" in ip else f"{ip}/24 brd + dev {interface}"
        setup = f"addr add {address}\nlink set {interface} up\n"
        run_tool("ip", "-n", host.namespace, "-b", "-", stdin=setup)

    def _connect(self, host: Host, interface: str) -> None:
        """A cable to the switch."""
        port = f"p{host.number}" if interface == "eth0" else f"p{host.number}-{interface}"
        cable = f"link add {port} type veth peer name {interface} netns {host.namespace}\nlink set {port} master br0 up\n"
        run_tool("ip", "-n", self._switch, "-b", "-", stdin=cable)

    def partition(self, *groups: Sequence[int]) -> None:
        """Only hosts of one group reach each other; a host named in no group is alone. Takes effect at once."""
        group_of = {number: place for place, group in enumerate(groups) for number in group}
        cut = [
            f'"p{a}" . "p{b}"'
            for a, b in itertools.permutations(self.hosts, 2)
            if a not in group_of or group_of[a] != group_of.get(b)
        ]
        self._rules(f"iifname . oifname {{ {', '.join(cut)} }} drop" if cut else "")

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self._rules("")

    def _rules(self, rule: str) -> None:
        text = (
            "table bridge cluster\ndelete table bridge cluster\ntable bridge cluster {\n"
            f"chain forward {{ type filter hook forward priority 0; policy accept;\n{rule}\n}}\n}}\n"
        )
        with in_network_of(self._switch):
            run_tool("nft", "-f", "-", stdin=text)

    def close(self) -> None:
        """Kill and remove everything."""
        atexit.unregister(self.close)
        for host in self.hosts.values():
            host.power_off()
            run_tool("ip", "netns", "del", host.namespace, may_fail=True)
        self.hosts.clear()
        run_tool("ip", "netns", "del", self._switch, may_fail=True)
        shutil.rmtree(self.folder, ignore_errors=True)
