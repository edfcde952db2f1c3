"""The long versions: `python -m tests.gossip.soak [--hours 24] [--inputs 10000000] [--seed N]`; `make soak`.

The tests run small shares of the same functions, with other seeds.
"""

import argparse
import resource
import sys
import time
from dataclasses import dataclass
from random import Random

from gossip.codec import decode_datagram, decode_state, encode_datagram, encode_state
from gossip.keys import KeyRing, derive_from
from gossip.member import MemberState
from gossip.messages import Datagram, FullState, GossipError, KnownMember
from gossip.sealing import MAX_CHALLENGES, MAX_SENDERS, EchoSeal
from gossip.settings import GossipSettings
from tests.gossip.factories import Core, member, node_id, says
from tests.gossip.fuzzed import random_datagram, random_state
from tests.gossip.world import World

CLUSTER = b"home"
MEMORY_GROWTH_BYTES = 64 << 20
HERE = ("10.0.0.9", 7300)


def long_life(*, hours: float, seed: int, nodes: int = 16) -> list[tuple[float, int, int]]:
    """A cluster with a fifth of its datagrams lost, starved in slices of a second; verdicts on the living."""
    world = World(nodes, seed=seed, loss=0.2)
    world.settle()
    world.starve(slice_seconds=1.0, every_seconds=4.0)
    world.run(hours * 3600)
    return world.false_deaths


@dataclass(slots=True)
class Fuzzed:
    """What became of the inputs."""

    inputs: int = 0
    understood: int = 0
    most_members: int = 0
    memory_growth_bytes: int = 0


class Fuzzer:
    """Feeds a core, the decoders and a seal with damaged, invented and forged messages."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.seen = Fuzzed()
        self._settings = GossipSettings(max_members=256)
        self._core = Core("b", "c", settings=self._settings)
        keys = KeyRing(derive_from(b"k" * 32))
        self._seal = EchoSeal(node_id("a"), keys=keys, cluster_id=CLUSTER, random=Random(seed))
        self._peer = EchoSeal(node_id("b"), keys=keys, cluster_id=CLUSTER, random=Random(seed + 1))

    def run(self, inputs: int) -> Fuzzed:
        """Any exception but a typed refusal flies."""
        before = _peak_bytes()
        ways = (self._datagram, self._datagram, self._state, self._sealed)
        for _ in range(inputs):
            self.random.choice(ways)()
            self.seen.inputs += 1
            if self.seen.inputs % 64 == 0:
                self._core.run(0.05)
                self._core.effects.clear()
            if self.seen.inputs % 4096 == 0:
                self._check()
        self._check()
        self.seen.memory_growth_bytes = _peak_bytes() - before
        return self.seen

    def _check(self) -> None:
        self.seen.most_members = max(self.seen.most_members, len(self._core.swim.members()))
        assert self.seen.most_members <= self._settings.max_members
        assert self._core.swim.me.state is MemberState.ALIVE
        assert len(self._seal._senders) <= MAX_SENDERS
        assert len(self._seal._challenges) <= MAX_CHALLENGES

    def _datagram(self) -> None:
        data = self._damaged(encode_datagram(random_datagram(self.random), cluster_id=CLUSTER))
        try:
            datagram: Datagram = decode_datagram(data, cluster_id=CLUSTER)
        except GossipError:
            return
        self.seen.understood += 1
        self._core.receives(datagram, source=HERE)

    def _state(self) -> None:
        data = self._damaged(encode_state(random_state(self.random), cluster_id=CLUSTER))
        try:
            state: FullState = decode_state(data, cluster_id=CLUSTER)
        except GossipError:
            return
        self.seen.understood += 1
        self._core.learns(state)

    def _sealed(self) -> None:
        for reply in self._seal.open(self._damaged(self._peer.seal(b"hello", to=HERE)), source=HERE).replies:
            self._peer.open(self._damaged(reply), source=HERE)

    def _damaged(self, data: bytes) -> bytes:
        """As it is, cut, flipped, grown, repeated, or nothing but noise."""
        random = self.random
        match random.randrange(8):
            case 0:
                return data[: random.randrange(len(data) + 1)]
            case 1 | 2:
                changed = bytearray(data)
                for _ in range(random.randint(1, 4)):
                    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
                return bytes(changed)
            case 3:
                return data + random.randbytes(random.randrange(40))
            case 4:
                at = random.randrange(len(data) + 1)
                return data[:at] + data[at // 2 : at] + data[at:]
            case 5:
                return random.randbytes(random.randrange(200))
        return data


def replayed(seed: int) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """A member's table before and after all it ever heard is played to it again, in another order."""
    random = Random(seed)
    core = Core("b", "c", "d")
    heard = [says("b", about=(member("c", incarnation=number),)) for number in range(20)]
    heard += [random_datagram(random) for _ in range(200)]
    for datagram in heard:
        core.receives(datagram, source=HERE)
    core.learns(
        FullState(sender=node_id("b"), run_id=1, beat=0.0, members=(KnownMember(member=member("d")),))
    )
    before = tuple((one.node_id, one.run_id, one.incarnation) for one in core.swim.members()[1:])
    random.shuffle(heard)
    for datagram in heard:
        core.receives(datagram, source=HERE)
    return before, tuple((one.node_id, one.run_id, one.incarnation) for one in core.swim.members()[1:])


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="virtual hours of 16 nodes")
    parser.add_argument("--inputs", type=int, default=10_000_000, help="fuzzed datagrams and streams")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    deaths = long_life(hours=given.hours, seed=given.seed)
    print(
        f"gossip: 16 nodes, {given.hours:g} virtual hours, 20 % loss, starved: {len(deaths)} false deaths "
        f"(seed {given.seed}, {time.monotonic() - began:.0f} s)",
        flush=True,
    )
    began = time.monotonic()
    seen = Fuzzer(given.seed).run(given.inputs)
    print(
        f"gossip: {seen.inputs} fuzzed inputs, {seen.understood} understood, at most {seen.most_members} members, "
        f"memory grew by {seen.memory_growth_bytes >> 10} KiB (seed {given.seed}, {time.monotonic() - began:.0f} s)"
    )
    return 1 if deaths or seen.memory_growth_bytes > MEMORY_GROWTH_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
