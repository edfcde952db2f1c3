"""Where members are, what time it is, and how much one datagram may do."""

import ast
import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

import gossip
from gossip.codec import MAX_UPDATES, decode_datagram, encode_datagram
from gossip.member import Address, MemberState
from gossip.messages import Ack, MalformedMessage, Ping
from gossip.service import Gossip, Opened
from gossip.settings import GossipSettings
from tests.gossip.factories import Core, accused, member, node_id, says
from tests.gossip.plain_seal import PlainSeal, Streams
from tests.gossip.test_service import FAST
from tests.waiting import eventually

ALIVE, SUSPECT, DEAD, LEFT = MemberState
CLUSTER = b"home"


def service_at(
    name: str, host: str, streams: Streams, *, settings: GossipSettings | None = None, bind: str = ""
) -> Gossip:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        address: Address = probe.getsockname()[:2]
    service = Gossip(
        node_id=node_id(name),
        name=name,
        address=address,
        bind=(bind or host, address[1]),
        run_id=1,
        cluster_id=CLUSTER,
        seal=PlainSeal(),
        exchange=streams.exchange,
        seeds=list(streams.services),
        settings=settings,
    )
    streams.services[address] = service
    return service


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_members_find_each_other_by_ipv6() -> None:
    streams = Streams()
    services = [service_at(name, "::1", streams) for name in "ab"]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(service.run()) for service in services]
        await eventually(lambda: all(len(service.members()) == 2 for service in services))
        await eventually(lambda: all(service.counters.datagrams_received for service in services))
        for task in tasks:
            task.cancel()

    assert {one.state for service in services for one in service.members()} == {ALIVE}


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("other", ["127.0.0.1", "::1"])
async def test_a_member_that_listens_to_both_families_speaks_either(other: str) -> None:
    streams = Streams()
    both = service_at("a", other, streams, settings=FAST, bind="::")
    one = service_at("b", other, streams, settings=FAST)
    sources: list[Address] = []

    class Noting(PlainSeal):
        def open(self, datagram: bytes, *, source: Address) -> Opened:
            sources.append(source)
            return super().open(datagram, source=source)

    both._seal = Noting()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(service.run()) for service in (both, one)]
        await eventually(lambda: min(len(both.members()), len(one.members())) == 2)
        await eventually(lambda: min(both.counters.datagrams_sent, one.counters.datagrams_received) > 3)
        for task in tasks:
            task.cancel()

    assert (both.counters.send_failures, one.counters.send_failures) == (0, 0)
    assert {host for host, _ in sources} == {other}, "known by the address that everyone else knows"


def test_an_answer_that_leaves_its_sender_by_another_interface_counts() -> None:
    core = Core("b", "c")
    core.run(1.1)
    ping = next(one.datagram.message for one in core.sent(core.effects, Ping))
    assert isinstance(ping, Ping)
    probed = next(name for name in "bc" if node_id(name) == ping.target)

    core.hears(probed, Ack(sequence=ping.sequence), source=("192.168.7.7", 7300))
    core.run(0.9)

    assert core.state(probed) is ALIVE
    assert core.held(probed) == member(probed), "and its address stays the one it tells"


@pytest.mark.parametrize("host", ["fe80::1%eth0", "pi1.local", "", "10.0.0.256"])
def test_an_address_that_means_nothing_elsewhere_is_not_told(host: str) -> None:
    told = says("b", about=(replace(member("b"), address=(host, 7300)),))

    with pytest.raises(MalformedMessage, match="address"):
        decode_datagram(encode_datagram(told, cluster_id=CLUSTER), cluster_id=CLUSTER)


async def test_a_datagram_over_its_bound_is_counted() -> None:
    class TalkativeSeal(PlainSeal):
        def seal(self, payload: bytes, *, to: Address) -> bytes:
            return super().seal(payload, to=to) + b"x" * 1200

    service = service_at("a", "127.0.0.1", Streams())
    service._seal = TalkativeSeal()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(service.run())
        await eventually(lambda: service._socket is not None)
        service._perform(service._swim.receive(says("b"), source=("127.0.0.1", 9), now=service._clock()))
        task.cancel()

    assert service.counters.oversize == 1


def test_a_datagram_with_more_claims_than_the_bound_is_refused() -> None:
    claims = tuple(replace(member("b"), node_id=f"{number:016x}") for number in range(MAX_UPDATES + 1))

    with pytest.raises(MalformedMessage):
        decode_datagram(encode_datagram(says("b", about=claims), cluster_id=CLUSTER), cluster_id=CLUSTER)


def test_no_clock_but_the_monotonic_one_is_read() -> None:
    """So the wall clock may stand in 1970 or jump by a day: there is nothing that it could change."""
    sources = sorted(Path(gossip.__file__).parent.glob("*.py"))

    read = {
        f"{path.name} {node.value.id}.{node.attr}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in ("time", "datetime", "date")
    }

    assert {one.partition(" ")[2] for one in read} <= {"time.monotonic", "time.sleep"}
    assert len(sources) > 10


def test_a_dead_node_moved_elsewhere_needs_a_later_run_to_be_taken_back() -> None:
    core = Core("b", "c")
    core.hears("b", about=(accused("c"),))
    core.hears("b", about=(accused("c", state=DEAD),))
    elsewhere = replace(member("c"), address=("10.9.9.9", 7300))

    core.hears("b", about=(elsewhere,))
    same_run = core.state("c")
    core.hears("b", about=(replace(elsewhere, run_id=2),))

    assert same_run is DEAD
    assert core.state("c") is ALIVE


def test_the_address_of_a_dead_node_may_be_used_by_another() -> None:
    core = Core("b", "c")
    core.hears("b", about=(accused("c"),))
    core.hears("b", about=(accused("c", state=DEAD),))
    heir = replace(member("d"), address=member("c").address)

    core.hears("d", about=(heir,), source=heir.address)

    assert (core.state("c"), core.state("d")) == (DEAD, ALIVE)
