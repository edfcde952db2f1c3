"""What rides on which message, how often, and that a datagram never grows over its bound."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gossip.codec import (
    HEADER_BYTES,
    MAX_STATE_BYTES,
    decode_state,
    encode_datagram,
    encode_state,
    row_size,
    update_size,
)
from gossip.dissemination import NewsQueue, transmit_limit
from gossip.member import MAX_META_BYTES, MAX_NAME_BYTES, MAX_ROW_BYTES, MemberState
from gossip.messages import Datagram, MemberUpdate, Message, News, Ping, PingRequest, RowUpdate
from gossip.settings import GossipSettings
from gossip.stats import StatTable, received_row
from tests.gossip.factories import NAMES, Core, accused, member, node_id

BIGGEST = replace(
    member("b", run_id=1 << 53, incarnation=1 << 53),
    name="n" * MAX_NAME_BYTES,
    address=("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", 65_535),
    meta=b"m" * MAX_META_BYTES,
)


def news(name: str, incarnation: int = 0) -> MemberUpdate:
    return MemberUpdate(member=member(name, incarnation=incarnation), by=node_id(name))


def test_each_news_is_told_a_bounded_number_of_times() -> None:
    queue = NewsQueue()
    queue.put(news("b"))

    told = [queue.take(room=1000, limit=3) for _ in range(5)]

    assert [len(one) for one in told] == [1, 1, 1, 0, 0]
    assert not queue


def test_the_limit_grows_with_the_logarithm_of_the_cluster() -> None:
    assert [transmit_limit(members, 4) for members in (1, 3, 16, 1000)] == [4, 4, 8, 16]


def test_newer_news_of_a_member_replaces_older_and_accusers_of_one_claim_stand_together() -> None:
    queue = NewsQueue()

    queue.put(news("b", incarnation=1))
    queue.put(MemberUpdate(member=accused("b", incarnation=1), by=node_id("c")))
    queue.put(MemberUpdate(member=accused("b", incarnation=1), by=node_id("d")))
    accusers = {update.by for update in queue.take(room=10_000, limit=9)}
    queue.put(news("b", incarnation=2))

    assert accusers == {node_id("c"), node_id("d")}
    assert queue.take(room=10_000, limit=9) == [news("b", incarnation=2)]


def test_what_was_told_least_goes_first_and_what_does_not_fit_waits() -> None:
    queue = NewsQueue()
    for name in "bcd":
        queue.put(news(name))
    room = update_size(news("b")) + 10

    told = [queue.take(room=room, limit=2)[0].member.name for _ in range(6)]

    assert sorted(told[:3]) == sorted(told[3:]) == ["b", "c", "d"]


@given(st.integers(1, 40), st.integers(0, MAX_META_BYTES), st.integers(0, MAX_ROW_BYTES))
def test_no_datagram_is_larger_than_its_bound(members: int, meta_bytes: int, row_bytes: int) -> None:
    core = Core("b", "c")
    update = replace(member("d"), meta=b"m" * meta_bytes, name="n" * 20)
    for number in range(members):
        core.hears("b", about=(replace(update, node_id=f"{number + 1000:016x}"),))
    core.swim.publish(b"r" * row_bytes, now=core.now)
    core.effects.clear()

    core.run(3.0, answering=("b", "c"))

    bound = core.settings.datagram_bytes - core.settings.seal_bytes
    sizes = [len(encode_datagram(sent.datagram, cluster_id=b"c" * 32)) for sent in core.sent(core.effects)]
    assert sizes
    assert max(sizes) <= bound


def test_the_biggest_possible_claim_fits_a_datagram_beside_the_biggest_message() -> None:
    settings = GossipSettings()
    messages: list[Message] = [
        Ping(sequence=1 << 32, target=node_id("b"), target_run_id=1 << 53),
        PingRequest(sequence=1 << 32, target=node_id("b"), target_run_id=1 << 53, address=BIGGEST.address),
    ]

    for message in messages:
        bare = Datagram(sender=node_id("a"), run_id=1 << 53, incarnation=1 << 53, beat=1.5e9, message=message)
        header = len(encode_datagram(bare, cluster_id=b"c" * 32)) + 4  # both arrays may need a longer head
        assert header <= HEADER_BYTES
    assert HEADER_BYTES + update_size(MemberUpdate(member=BIGGEST, by=node_id("a"))) <= (
        settings.datagram_bytes - settings.seal_bytes
    )


def test_statistics_take_only_the_room_that_membership_leaves() -> None:
    core = Core("b", "c")
    core.run(5.0, answering=("b", "c"))
    core.swim.publish(b"r" * MAX_ROW_BYTES, now=core.now)
    fat = replace(member("d"), meta=b"m" * MAX_META_BYTES)
    core.hears("b", about=(fat, replace(fat, node_id=node_id("e"))))
    core.effects.clear()

    core.run(0.3)

    first = core.sent(core.effects, News)[0].datagram
    assert len(first.updates) == 2
    assert first.rows == ()


def test_a_row_is_passed_on_a_few_times_and_a_newer_one_replaces_it() -> None:
    table = StatTable()

    def put(version: int) -> bool:
        update = RowUpdate(node_id=node_id("b"), run_id=1, version=version, age_seconds=0, payload=b"x")
        return table.put(received_row(update, now=0.0))

    accepted = [put(1), put(1), put(2), put(1)]
    taken = [
        [row.version for row in table.take(room=1000, overhead=row_size(b""), budget=3)] for _ in range(5)
    ]

    assert accepted == [True, False, True, False]
    assert taken == [[2], [2], [2], [], []]


def test_our_row_rides_on_so_many_datagrams_as_are_set_and_no_more() -> None:
    core = Core("b", "c")
    core.run(5.0, answering=("b", "c"))
    core.effects.clear()

    core.swim.publish(b"hot", now=core.now)
    core.run(20.0, answering=("b", "c"))

    carried = [sent for sent in core.sent(core.effects) if sent.datagram.rows]
    assert len(carried) == core.settings.stat_transmits


def test_a_full_exchange_carries_as_many_members_as_there_may_be_each_at_its_biggest() -> None:
    core = Core()
    others = [
        replace(BIGGEST, node_id=f"{number + 1000:016x}") for number in range(core.settings.max_members - 1)
    ]
    for first in range(0, len(others), 64):
        core.hears("b", about=tuple(others[first : first + 64]))
    for one in others:
        row = RowUpdate(
            node_id=one.node_id, run_id=1, version=1, age_seconds=0.0, payload=b"r" * MAX_ROW_BYTES
        )
        core.hears("b", rows=(row,))

    state = core.swim.full_state(core.now)

    encoded = encode_state(state, cluster_id=b"c" * 32)
    assert len(state.members) == core.settings.max_members
    assert len(encoded) <= MAX_STATE_BYTES and len(state.rows) > 500
    assert decode_state(encoded, cluster_id=b"c" * 32) == state


def test_with_no_news_only_the_probe_is_sent() -> None:
    core = Core("b", "c")
    core.run(20.0, answering=("b", "c"))
    core.effects.clear()

    core.run(10.0, answering=("b", "c"))

    sent = core.sent(core.effects)
    assert len(sent) == len(core.sent(core.effects, Ping)) == 10


def test_news_of_many_members_reach_everyone_although_no_datagram_carries_them_all() -> None:
    core = Core("b", "c")
    many = tuple(replace(member(name), meta=b"m" * 400) for name in NAMES[4:])
    for one in many:
        core.hears("b", about=(one,))
    core.effects.clear()

    core.run(10.0)

    told = {
        (sent.to, update.member.name) for sent in core.sent(core.effects) for update in sent.datagram.updates
    }
    for one in many:
        assert len([to for to, name in told if name == one.name]) >= 2


def test_the_states_of_a_claim_are_ordered_as_the_paper_says() -> None:
    assert MemberState.ALIVE < MemberState.SUSPECT < MemberState.DEAD < MemberState.LEFT
