"""What leaves a replica in one turn: joined, encoded once, each kind on its lane."""

from collections.abc import Callable, Iterable, Sequence

from .codec import encode_frame
from .interfaces import Transport
from .raft.joining import join_appends, newest_acknowledgements
from .raft.messages import (
    Append,
    AppendRejected,
    AppendResponse,
    InstallSnapshot,
    Message,
    Ready,
    VoteResponse,
)

Offer = Callable[[InstallSnapshot, int], None]  # the message, cluster time


class Outgoing:
    """The sending side of a replica."""

    def __init__(self, transport: Transport, max_append_bytes: int, offer: Offer) -> None:
        self._transport = transport
        self._max_append_bytes = max_append_bytes
        self._offer = offer

    def messages(self, messages: Sequence[Message], cluster_time: int) -> None:
        """What needs no disk."""
        if messages:
            self._send(join_appends(messages, max_bytes=self._max_append_bytes), cluster_time)

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
                frame = encode_frame(message, now=cluster_time)
            is_append = isinstance(message, Append | AppendResponse | AppendRejected)
            self._transport.send(message.to, frame, lane="appends" if is_append else "votes")
