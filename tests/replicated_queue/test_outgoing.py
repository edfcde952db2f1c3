"""What leaves a replica: appends that only tell what is committed ride with the next one, if one is near."""

from replicated_queue.codec import decode_frame
from replicated_queue.interfaces import Lane
from replicated_queue.outgoing import LONGEST_NEWS_SECONDS, Outgoing
from replicated_queue.raft.messages import Append, Entry, EntryId, Heartbeat, Message


class Wire:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.outgoing = Outgoing(self, 1 << 20, lambda offer, now: None)  # type: ignore[arg-type]

    def send(self, peer: int, frame: bytes, *, lane: Lane) -> None:
        self.sent.append(decode_frame(frame, sender=1, to=peer).message)


def append(to: int, *, after: int, count: int = 0, commit: int = 0) -> Append:
    entries = [Entry(3, index, b"x") for index in range(after + 1, after + count + 1)]
    return Append(sender=1, to=to, term=3, previous=EntryId(3, after), commit=commit, entries=entries)


def busy(every_seconds: float, *, until: float) -> Wire:
    """A leader whose entries left as often as this; the last one just now."""
    wire = Wire()
    for back in (2, 1, 0):
        first = 4 + 2 - back
        said = [append(peer, after=first, count=1) for peer in (2, 3)]
        wire.outgoing.messages(said, 0, now=until - back * every_seconds)
    wire.sent.clear()
    return wire


def test_what_is_committed_rides_with_the_next_entries() -> None:
    wire = busy(0.001, until=1.0)

    wire.outgoing.messages([append(2, after=7, commit=7)], 0, now=1.0005)
    before = list(wire.sent)
    wire.outgoing.messages([append(2, after=7, count=2, commit=7)], 0, now=1.001)

    assert before == []
    assert wire.sent == [append(2, after=7, count=2, commit=7)]
    assert wire.outgoing.news_due == float("inf")


def test_what_is_committed_leaves_by_itself_when_nothing_follows() -> None:
    wire = busy(0.001, until=1.0)
    wire.outgoing.messages([append(2, after=7, commit=7), append(3, after=6, commit=6)], 0, now=1.0)
    wire.outgoing.messages([append(2, after=7, commit=7)], 0, now=1.0005)

    wire.outgoing.tell_news(0, now=1.0019)
    early = list(wire.sent)
    wire.outgoing.tell_news(0, now=1.0021)

    assert early == []
    assert wire.sent == [append(2, after=7, commit=7), append(3, after=6, commit=6)]
    assert wire.outgoing.news_due == float("inf")


def test_what_is_committed_leaves_at_once_where_no_entries_are_expected() -> None:
    wire = busy(0.5, until=1.0)

    wire.outgoing.messages([append(2, after=7, commit=7)], 0, now=1.001)

    assert wire.sent == [append(2, after=7, commit=7)]
    assert wire.outgoing.news_due == float("inf")


def test_what_is_committed_waits_no_longer_for_slow_entries_than_for_a_moment() -> None:
    wire = busy(LONGEST_NEWS_SECONDS / 3, until=1.0)

    wire.outgoing.messages([append(2, after=7, commit=7)], 0, now=1.001)

    assert wire.sent == []
    assert wire.outgoing.news_due <= 1.0011 + LONGEST_NEWS_SECONDS


def test_nothing_else_waits_and_no_other_peer_is_told_it() -> None:
    wire = busy(0.001, until=1.0)
    heartbeat = Heartbeat(sender=1, to=2, term=3, commit=7)

    wire.outgoing.messages([append(2, after=7, commit=7)], 0, now=1.0005)
    wire.outgoing.messages([heartbeat, append(3, after=7, count=1, commit=7)], 0, now=1.001)

    assert wire.sent == [heartbeat, append(3, after=7, count=1, commit=7)]
    assert 1.001 < wire.outgoing.news_due < 1.01
