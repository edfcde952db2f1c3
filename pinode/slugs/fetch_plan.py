"""Which chunks of a slug to ask of which holder next, and whom to blame when the whole is wrong."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

MOST_RUN = 16  # chunks asked for at once: so many at most are asked anew when a holder dies
SLOW_SECONDS = 2.0  # without a chunk of what was asked: others with nothing to do are asked for it too
FROM_BEFORE = ""  # who delivered the chunks that lay on this disk already


@dataclass(slots=True)
class _Asked:
    """What a holder was asked for and has not delivered yet."""

    chunks: list[int] = field(default_factory=list)
    heard_at: float = 0.0  # when it was asked, or delivered last


class FetchPlan:
    """One slug that several holders deliver, chunk by chunk.

    Nobody can tell a wrong chunk by itself: a slug is known by the sha256 of its whole. So one that turns out
    wrong accuses all who delivered some of it, and from then on one of them at a time delivers; whoever
    delivered all of a wrong one is out. Where one holder tells the truth and stays, this ends.
    """

    def __init__(self, *, chunks: int, have: Iterable[int] = ()) -> None:
        """`chunks`: of the whole slug; `have`: those that are here from before."""
        self._chunks = chunks
        self._delivered = dict.fromkeys(have, FROM_BEFORE)  # chunk -> who delivered it
        self._missing = set(range(chunks)) - self._delivered.keys()
        self._asked: dict[str, _Asked] = {}
        self._liars: set[str] = set()
        self._is_doubted = False
        self._alone: str | None = None  # once the whole was wrong: who delivers now

    @property
    def is_complete(self) -> bool:
        """All chunks are here: now compare the whole."""
        return len(self._delivered) == self._chunks

    @property
    def missing(self) -> frozenset[int]:
        """The chunks that are not here."""
        return frozenset(range(self._chunks)) - self._delivered.keys()

    def is_liar(self, holder: str) -> bool:
        """Whether it alone delivered a slug that was wrong."""
        return holder in self._liars

    def join(self, holder: str) -> None:
        """It has the slug, and may be asked."""
        self._asked.setdefault(holder, _Asked())

    def leave(self, holder: str) -> None:
        """It failed or is gone; what it owes is asked of others."""
        self.end_run(holder)
        del self._asked[holder]
        if holder == self._alone:  # what it delivered proves nothing without the rest
            self._alone = None
            self._forget(lambda _: True)

    def next_run(self, holder: str, *, now: float) -> Sequence[int]:
        """The consecutive chunks to ask of this holder, which owes none; empty: nothing for the moment."""
        assert not self._asked[holder].chunks, "one run of a holder at a time"
        is_out = holder in self._liars
        if is_out or (self._is_doubted and self._alone not in (None, holder)):
            return ()
        run = self._missing_run() or self._overdue_chunk(now)
        if run and self._is_doubted:
            self._alone = holder
        self._missing.difference_update(run)
        self._asked[holder] = _Asked(list(run), now)
        return run

    def arrived(self, holder: str, chunk: int, *, now: float) -> bool:
        """It delivered one: whether that is to be kept; if not, it is here already or was not asked for."""
        asked = self._asked[holder]
        if chunk not in asked.chunks:
            return False
        asked.chunks.remove(chunk)
        asked.heard_at = now
        if chunk in self._delivered or holder in self._liars:
            return False
        if self._is_doubted and holder != self._alone:
            return False
        self._delivered[chunk] = holder
        self._missing.discard(chunk)
        return True

    def is_awaited(self, holder: str) -> bool:
        """Whether something of what it was asked for is still needed; if not, it can stop sending."""
        return any(chunk not in self._delivered for chunk in self._asked[holder].chunks)

    def end_run(self, holder: str) -> None:
        """It sends no more of what it was asked for; the rest is asked again, of it or of others."""
        owed = set(self._asked[holder].chunks) - self._delivered.keys()
        self._asked[holder].chunks = []
        self._missing |= owed - {chunk for asked in self._asked.values() for chunk in asked.chunks}

    def doubt(self) -> None:
        """The whole is wrong: forget what may be, and ask for it again."""
        assert self.is_complete
        delivered = Counter(self._delivered.values())
        if FROM_BEFORE in delivered:  # fetched anew before anybody is accused
            self._forget(lambda holder: holder == FROM_BEFORE)
        elif len(delivered) == 1:
            self._liars.update(delivered)
            self._alone = None
            self._forget(lambda _: True)
        else:
            self._is_doubted = True
            most = max(sorted(delivered), key=lambda holder: delivered[holder])
            self._alone = most if most in self._asked else None
            self._forget(lambda holder: holder != self._alone)

    def _missing_run(self) -> Sequence[int]:
        """Shorter towards the end, so that all holders end together."""
        if not self._missing:
            return ()
        most = max(1, min(MOST_RUN, len(self._missing) // (2 * len(self._asked))))
        first = end = min(self._missing)
        while end in self._missing and end - first < most:
            end += 1
        return range(first, end)

    def _overdue_chunk(self, now: float) -> Sequence[int]:
        """The last that one slow holder owes, if nobody else is asked for it."""
        owed = Counter(chunk for asked in self._asked.values() for chunk in asked.chunks)
        slow = [asked for asked in self._asked.values() if now - asked.heard_at >= SLOW_SECONDS]
        late = [
            chunk
            for asked in slow
            for chunk in asked.chunks
            if owed[chunk] == 1 and chunk not in self._delivered
        ]
        return late[-1:]

    def _forget(self, is_wrong: Callable[[str], bool]) -> None:
        wrong = {chunk for chunk, holder in self._delivered.items() if is_wrong(holder)}
        for chunk in wrong:
            del self._delivered[chunk]
        self._missing |= wrong
