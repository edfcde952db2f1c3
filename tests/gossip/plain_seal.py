"""A seal that keeps nobody out, and streams that are method calls: what tests hand in for pinode's."""

from gossip.member import Address
from gossip.service import Gossip, Opened

MARK = b"plain:"
CHALLENGE = b"challenge"
ECHO = b"echo"


class PlainSeal:
    """Datagrams in the clear, with a mark by which strangers' are told apart."""

    def seal(self, payload: bytes, *, to: Address) -> bytes:
        return MARK + payload

    def open(self, datagram: bytes, *, source: Address) -> Opened:
        if not datagram.startswith(MARK):
            return Opened(None)
        return Opened(datagram[len(MARK) :])


class ChallengingSeal(PlainSeal):
    """Believes a source only after it echoed a challenge; what came before is not kept."""

    def __init__(self) -> None:
        self._believed: set[Address] = set()

    def open(self, datagram: bytes, *, source: Address) -> Opened:
        if datagram == CHALLENGE:
            return Opened(None, (ECHO,))
        if datagram == ECHO:
            self._believed.add(source)
            return Opened(None)
        if source not in self._believed:
            return Opened(None, (CHALLENGE,))
        return super().open(datagram, source=source)


class Streams:
    """The exchanges between the services of one test."""

    def __init__(self) -> None:
        self.services: dict[Address, Gossip] = {}
        self.calls = 0

    async def exchange(self, host: str, port: int, payload: bytes) -> bytes:
        self.calls += 1
        if (host, port) not in self.services:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        return self.services[host, port].answer_exchange(payload)
