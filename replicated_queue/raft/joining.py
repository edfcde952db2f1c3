"""What one turn of the event loop makes of several messages to one peer: one append, one acknowledgement.

The algorithm itself speaks as the reference does, a message for each event.
"""

from collections.abc import Sequence

from .messages import Append, AppendResponse, Message


def join_appends(messages: Sequence[Message], *, max_bytes: int) -> list[Message]:
    """The same messages with appends that continue each other made one: one turn, one append a peer."""
    if len({message.to for message in messages}) == len(messages):
        return list(messages)
    joined: list[Message] = []
    newest: dict[int, int] = {}  # where each peer's newest append stands in `joined`
    for message in messages:
        if not isinstance(message, Append):
            joined.append(message)
            continue
        place = newest.get(message.to)
        before = joined[place] if place is not None else None
        if place is None or not isinstance(before, Append) or not _continues(before, message, max_bytes):
            newest[message.to] = len(joined)
            joined.append(message)
            continue
        joined[place] = Append(
            sender=message.sender,
            to=message.to,
            term=message.term,
            previous=before.previous,
            commit=message.commit,
            entries=[*before.entries, *message.entries],
        )
    return joined


def _continues(before: Append, message: Append, max_bytes: int) -> bool:
    if before.term != message.term or before.previous.index + len(before.entries) != message.previous.index:
        return False
    if not before.entries or not message.entries:
        return True
    return sum(len(e.data) for e in before.entries) + sum(len(e.data) for e in message.entries) <= max_bytes


def newest_acknowledgements(promises: Sequence[Message]) -> list[Message]:
    """The same promises without acknowledgements that a later one of the same term includes."""
    if len(promises) == 1:
        return list(promises)
    newest: dict[tuple[int, int], int] = {}
    for message in promises:
        if isinstance(message, AppendResponse):
            key = message.to, message.term
            newest[key] = max(newest.get(key, 0), message.index)
    kept: list[Message] = []
    for message in promises:
        if isinstance(message, AppendResponse):
            key = message.to, message.term
            if message.index != newest.get(key):
                continue
            del newest[key]  # so that an equal one behind it is left out
        kept.append(message)
    return kept
