"""Hosts on one radio channel: the same little hosts, but every frame between them passes through this process.

So frames can be lost, be held back and come late all at once as on a bad Wi-Fi, or go in one direction only, without
anything from the kernel that small machines have not.
"""

import fcntl
import os
import selectors
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from random import Random

from tests.multi_host.network import Host, Network, in_network_of, run_tool

TUNSETIFF, TAP_WITHOUT_HEADER = 0x400454CA, 0x1002
GROUP_BIT = 1  # of a MAC address: broadcast or multicast
MAX_HELD = 4096


class Air(Network):
    """A network whose frames are carried by a thread of ours. All faults may be set at any time."""

    def __init__(self, count: int, *, seed: int = 1) -> None:
        self.loss = 0.0  # share of all frames
        self._random = Random(seed)
        self._ports: dict[int, int] = {}  # file descriptor by host
        self._cut: frozenset[tuple[int, int]] = frozenset()
        self._held: dict[int, float] = {}  # until when, by host
        self._waiting: deque[tuple[int, int, bytes]] = deque()
        self._learned: dict[bytes, int] = {}
        self._ending = threading.Event()
        self._carrier: threading.Thread | None = None
        super().__init__(count)
        assert set(self._ports) == set(self.hosts), "frames pass by without us"
        self._carrier = threading.Thread(target=self._carry, name="air", daemon=True)
        self._carrier.start()

    def partition(self, *groups: Sequence[int]) -> None:
        """Only hosts of one group hear each other; a host named in no group is alone."""
        group_of = {number: place for place, group in enumerate(groups) for number in group}
        alone = len(groups)
        self._cut = frozenset(
            (a, b)
            for a in self.hosts
            for b in self.hosts
            if a != b and (a not in group_of or group_of[a] != group_of.get(b, alone))
        )

    def cut_one_way(self, senders: Iterable[int], receivers: Iterable[int]) -> None:
        """Nothing of these senders reaches these receivers; the other direction works."""
        ends = list(receivers)
        self._cut |= {(a, b) for a in senders for b in ends if a != b}

    def stall(self, number: int, seconds: float) -> None:
        """Hold back all frames to and from this host, then let them through at once."""
        self._held[number] = time.monotonic() + seconds

    def heal(self) -> None:
        """Everybody hears everybody, without loss."""
        self.loss, self._cut = 0.0, frozenset()
        self._held.clear()

    def close(self) -> None:
        self._ending.set()
        if self._carrier:
            self._carrier.join(5)
        for port in self._ports.values():
            os.close(port)
        self._ports.clear()
        super().close()

    def _connect(self, host: Host, interface: str) -> None:
        with in_network_of(host.namespace):
            port = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(port, TUNSETIFF, struct.pack("16sH", interface.encode(), TAP_WITHOUT_HEADER))
        self._ports[host.number] = port
        run_tool("ip", "-n", host.namespace, "link", "set", "eth0", "up")

    def _carry(self) -> None:
        with selectors.DefaultSelector() as ready:
            for number, port in self._ports.items():
                ready.register(port, selectors.EVENT_READ, number)
            while not self._ending.is_set():
                for key, _ in ready.select(0.01 if self._waiting else 0.2):
                    self._receive(int(key.data), key.fd)
                self._let_through()

    def _receive(self, sender: int, port: int) -> None:
        try:
            frame = os.read(port, 2048)
        except OSError:
            return  # nothing there, or the host is down
        target, source = frame[:6], frame[6:12]
        self._learned[source] = sender
        known = None if target[0] & GROUP_BIT else self._learned.get(target)
        for receiver in [known] if known is not None else list(self._ports):
            if receiver != sender and (sender, receiver) not in self._cut and not self._is_lost():
                self._carry_one(sender, receiver, frame)

    def _is_lost(self) -> bool:
        return self.loss > 0 and self._random.random() < self.loss

    def _carry_one(self, sender: int, receiver: int, frame: bytes) -> None:
        if not self._is_held(sender, receiver):
            self._deliver(receiver, frame)
        elif len(self._waiting) < MAX_HELD:
            self._waiting.append((sender, receiver, frame))

    def _let_through(self) -> None:
        for _ in range(len(self._waiting)):
            self._carry_one(*self._waiting.popleft())

    def _is_held(self, *numbers: int) -> bool:
        return any(self._held.get(number, 0.0) > time.monotonic() for number in numbers)

    def _deliver(self, receiver: int, frame: bytes) -> None:
        try:
            os.write(self._ports[receiver], frame)
        except OSError:
            pass  # its queue is full: as good as lost
