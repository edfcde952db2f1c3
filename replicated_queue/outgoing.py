"""What leaves a replica in one turn: joined, encoded once, each kind on its lane.

An append without entries tells a follower what is committed, or asks where it is. While there is work the
next append says the same: it waits for that one as long as the last ones were apart, twice over, which spares
every node a good part of its messages. Where none is to be expected it leaves at once.
"""

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Final

from .codec import Checkpoint, encode_frame
from .interfaces import Transport
from .raft.joining import join_appends, newest_acknowledgements
from .raft.messages import (
    Append,
    AppendRejected,
    AppendResponse,
    Heartbeat,
    InstallSnapshot,
    Message,
    Ready,
    VoteResponse,
)

LONGEST_NEWS_SECONDS: Final = 0.01  # an append without entries waits no longer for one with
Offer = Callable[[InstallSnapshot, int], None]  # the message, cluster time


class Outgoing:
    """The sending side of a replica."""

    def __init__(self, transport: Transport, max_append_bytes: int, offer: Offer) -> None:
        self._transport = transport
        self._max_append_bytes = max_append_bytes
        self._offer = offer
        self._news: list[Message] = []  # appends without entries, at most a few a peer
        self.news_due = inf  # when they must leave
        self._appended_at = -inf  # when the last append with entries left
        self._pace = inf  # seconds between the last two
        self.checkpoint: Checkpoint | None = None  # of the state as it is, for heartbeats

    def messages(self, messages: Sequence[Message], cluster_time: int, *, now: float) -> None:
        """What needs no disk."""
        joined = join_appends([*self._news, *messages], max_bytes=self._max_append_bytes)
        self._news = [said for said in joined if type(said) is Append and not said.entries]
        urgent = [said for said in joined if type(said) is not Append or said.entries]
        if any(type(said) is Append for said in urgent):
            self._pace, self._appended_at = now - self._appended_at, now
        self.news_due = min(self.news_due, now + self._patience(now)) if self._news else inf
        self._send(urgent, cluster_time)
        self.tell_news(cluster_time, now=now)

    def _patience(self, now: float) -> float:
        """How long news wait for an append with entries: not at all where none is to be expected soon."""
        expected = 2 * max(self._pace, now - self._appended_at)
        return expected if expected <= LONGEST_NEWS_SECONDS else 0.0

    def tell_news(self, cluster_time: int, *, now: float) -> None:
        """What has waited for an append with entries long enough."""
        if now >= self.news_due:
            news, self._news, self.news_due = self._news, [], inf
            self._send(news, cluster_time)

    def votes(self, cast: Iterable[Ready], cluster_time: int) -> None:
        """Answers to candidates whose term and vote are on the disk."""
        votes = [vote for ready in cast for vote in ready.promises if isinstance(vote, VoteResponse)]
        self._send(votes, cluster_time)

    def acknowledgements(self, durable: Iterable[Ready], cluster_time: int) -> None:
        """The other promises of Readies that are on the disk."""
        kept = [said for ready in durable for said in ready.promises if not isinstance(said, VoteResponse)]
        if kept:
            self._send(newest_acknowledgements(kept), cluster_time)

    def _send(self, messages: Iterable[Message], cluster_time: int) -> None:
        encoded: dict[tuple[int, int, int], bytes] = {}
        for message in messages:
            if isinstance(message, InstallSnapshot):
                self._offer(message, cluster_time)
                continue
            if isinstance(message, Append):
                # Appends of one turn with one beginning and one length are equal but for the receiver.
                key = (message.previous.index, len(message.entries), message.commit)
                frame = encoded.get(key)
                if frame is None:
                    frame = encoded[key] = encode_frame(message, now=cluster_time)
            else:
                checkpoint = self.checkpoint if type(message) is Heartbeat else None
                frame = encode_frame(message, now=cluster_time, checkpoint=checkpoint)
            is_append = isinstance(message, Append | AppendResponse | AppendRejected)
            self._transport.send(message.to, frame, lane="appends" if is_append else "votes")
