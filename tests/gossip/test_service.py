"""The shell on real sockets of the loopback interface."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gossip.codec import encode_state
from gossip.events import Event, MemberDied, MemberJoined, MemberLeft
from gossip.member import Address, MemberState
from gossip.messages import MalformedMessage, WrongCluster
from gossip.service import Gossip, Seal
from gossip.settings import GossipSettings
from tests.gossip.factories import member, node_id, tells_all
from tests.gossip.plain_seal import MARK, ChallengingSeal, PlainSeal, Streams
from tests.waiting import eventually

# Five times as fast as in real life, so that tests need not wait.
FAST = GossipSettings(
    probe_interval_seconds=0.2,
    probe_timeout_seconds=0.08,
    indirect_seconds=0.07,
    reminder_seconds=0.05,
    gossip_interval_seconds=0.04,
    seed_retry_seconds=0.2,
    seed_retry_max_seconds=1.0,
)


def free_address() -> Address:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        host, port = probe.getsockname()
        return (host, port)


class Cluster:
    """Some services of one process, each in a task of its own."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self.streams = Streams()
        self.services: dict[str, Gossip] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.events: dict[str, list[Event]] = {}
        self.addresses: dict[str, Address] = {}

    def start(
        self,
        name: str,
        *,
        run_id: int = 1,
        cluster_id: bytes = b"home",
        seal: Callable[[], Seal] = PlainSeal,
        settings: GossipSettings = FAST,
    ) -> Gossip:
        address = self.addresses.setdefault(name, free_address())
        service = Gossip(
            node_id=node_id(name),
            name=name,
            address=address,
            bind=address,
            run_id=run_id,
            cluster_id=cluster_id,
            seal=seal(),
            exchange=self.streams.exchange,
            meta=b"meta of " + name.encode(),
            settings=settings,
            seeds=list(self.addresses.values())[:1],
        )
        self.events[name] = []
        service.subscribe(self.events[name].append)
        self.services[name] = self.streams.services[address] = service
        self.tasks[name] = self._group.create_task(service.run())
        return service

    def stop(self, name: str) -> None:
        self.tasks.pop(name).cancel()
        del self.streams.services[self.addresses[name]], self.services[name]

    def sees(self, name: str, **states: MemberState) -> bool:
        held = {one.name: one.state for one in self.services[name].members()}
        return all(held.get(other) is state for other, state in states.items())

    def all_see(self, **states: MemberState) -> bool:
        return all(self.sees(name, **states) for name in self.services)


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    async with asyncio.TaskGroup() as group:
        made = Cluster(group)
        try:
            yield made
        finally:
            for task in made.tasks.values():
                task.cancel()


ALIVE, DEAD, LEFT = MemberState.ALIVE, MemberState.DEAD, MemberState.LEFT


@pytest.mark.parametrize("seal", [PlainSeal, ChallengingSeal])
async def test_three_services_find_each_other_notice_a_death_and_take_the_restarted_one_back(
    seal: Callable[[], Seal],
) -> None:
    async with cluster() as nodes:
        for name in "abc":
            nodes.start(name, seal=seal)
        await eventually(lambda: nodes.all_see(a=ALIVE, b=ALIVE, c=ALIVE))

        nodes.stop("c")
        await eventually(lambda: nodes.all_see(a=ALIVE, b=ALIVE, c=DEAD))
        nodes.start("c", run_id=2, seal=seal)
        await eventually(lambda: nodes.all_see(a=ALIVE, b=ALIVE, c=ALIVE))

        assert [event.member.name for event in nodes.events["a"] if isinstance(event, MemberDied)] == ["c"]
        assert {event.member.name for event in nodes.events["a"] if isinstance(event, MemberJoined)} == {
            "b",
            "c",
        }


async def test_a_service_that_leaves_is_left_and_not_dead() -> None:
    async with cluster() as nodes:
        for name in "abc":
            nodes.start(name)
        await eventually(lambda: nodes.all_see(a=ALIVE, b=ALIVE, c=ALIVE))

        await nodes.services["c"].leave()
        nodes.stop("c")

        await eventually(lambda: nodes.all_see(a=ALIVE, b=ALIVE, c=LEFT))
        assert [event for event in nodes.events["a"] if isinstance(event, MemberLeft)]
        assert not [event for event in nodes.events["a"] if isinstance(event, MemberDied)]


async def test_statistics_and_meta_reach_the_others_with_their_age() -> None:
    async with cluster() as nodes:
        for name in "ab":
            nodes.start(name)
        await eventually(lambda: nodes.all_see(a=ALIVE, b=ALIVE))

        nodes.services["a"].publish(b"42 degrees")
        nodes.services["a"].set_meta(b"changed")

        row = await eventually(lambda: nodes.services["b"].stats().get(node_id("a")))
        await eventually(lambda: b"changed" in {one.meta for one in nodes.services["b"].members()})
        assert row is not None
        assert row.payload == b"42 degrees"
        assert 0 <= asyncio.get_running_loop().time() - row.measured_at < 5


async def test_datagrams_of_strangers_and_of_another_cluster_are_counted_and_dropped() -> None:
    async with cluster() as nodes:
        service = nodes.start("a")
        other = nodes.start("b", cluster_id=b"elsewhere")
        await eventually(lambda: service.counters.wrong_cluster and other.counters.exchange_failures)

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for datagram in (b"", b"\x00" * 65_000, b"hello", MARK, MARK + b"\xc1", MARK + b"\x93" * 900):
                stranger.sendto(datagram, nodes.addresses["a"])

        await eventually(lambda: service.counters.unopened == 3 and service.counters.malformed == 3)
        assert len(service.members()) == 1


async def test_an_exchange_of_garbage_or_of_another_cluster_is_refused() -> None:
    service = lone_service("a", bind=("127.0.0.1", 0))
    elsewhere = encode_state(tells_all("b", member("b")), cluster_id=b"elsewhere")

    with pytest.raises(MalformedMessage):
        service.answer_exchange(b"garbage")
    with pytest.raises(WrongCluster):
        service.answer_exchange(elsewhere)

    assert [one.name for one in service.members()] == ["a"]


def lone_service(name: str, *, bind: Address) -> Gossip:
    return Gossip(
        node_id=node_id(name),
        name=name,
        address=("127.0.0.1", 7300),
        bind=bind,
        run_id=1,
        cluster_id=b"home",
        seal=PlainSeal(),
        exchange=Streams().exchange,
    )


async def test_known_members_of_an_earlier_run_are_found_without_seeds() -> None:
    async with cluster() as nodes:
        nodes.start("a")
        address = free_address()
        known = replace(member("a"), address=nodes.addresses["a"])
        alone = Gossip(
            node_id=node_id("b"),
            name="b",
            address=address,
            bind=address,
            run_id=1,
            cluster_id=b"home",
            seal=PlainSeal(),
            exchange=nodes.streams.exchange,
            settings=FAST,
            known_members=[known],
        )
        nodes.services["b"] = alone
        nodes.tasks["b"] = nodes._group.create_task(alone.run())

        await eventually(lambda: nodes.all_see(a=ALIVE, b=ALIVE))


async def test_a_taken_address_is_an_error_that_ends_run() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        service = lone_service("a", bind=other.getsockname())

        with pytest.raises(OSError, match="in use"):
            await service.run()


@pytest.mark.parametrize(
    "wrong",
    [{"name": "n" * 200}, {"name": "two\nlines"}, {"address": ("pi1.local", 7300)}, {"meta": b"m" * 401}],
)
def test_what_could_not_be_told_to_others_is_refused_at_the_start(wrong: dict[str, object]) -> None:
    right: dict[str, object] = {"name": "a", "address": ("10.0.0.1", 7300), "meta": b""}

    with pytest.raises(ValueError, match="cannot be told"):
        Gossip(
            node_id=node_id("a"),
            bind=("127.0.0.1", 0),
            run_id=1,
            cluster_id=b"home",
            seal=PlainSeal(),
            exchange=Streams().exchange,
            **(right | wrong),  # type: ignore[arg-type]
        )
