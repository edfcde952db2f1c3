"""When each held lease ends, as the leader remembers it. Nothing of this is in the log."""

from heapq import heapify, heappop, heappush
from typing import Final

TICK_SECONDS: Final = 1.0  # how often to call `advance` at least while leases are held
GAP_SECONDS: Final = 1.5  # a longer step means that this process did not run
RETRY_SECONDS: Final = 1.0  # until an expiry is proposed again whose entry did not come


class LeaseTable:
    """Deadlines in *lease time*: seconds this process was running.

    A pause of the process (SIGSTOP, a stalled card) does not count, so it lengthens every lease by at least
    the pause: workers could not extend while nobody listened. A lease is never shorter than it was promised.
    """

    def __init__(self) -> None:
        self._time = 0.0
        self._seen: float | None = None  # the clock at the last `advance`
        self._held: dict[int, tuple[int, float, float]] = {}  # job → (token, deadline, granted seconds)
        self._heap: list[tuple[float, int, int]] = []  # (deadline or earlier, job, token)
        self._ending: set[int] = set()  # jobs whose expiry was proposed: too late to extend

    def __len__(self) -> int:
        return len(self._held)

    def advance(self, now: float) -> None:
        """Let lease time go on to the clock's `now`."""
        if self._seen is not None and now - self._seen <= GAP_SECONDS:
            self._time += now - self._seen
        self._seen = now

    def grant(self, job_id: int, token: int, seconds: float) -> None:
        """A lease begins now."""
        deadline = self._time + seconds
        self._held[job_id] = (token, deadline, seconds)
        heappush(self._heap, (deadline, job_id, token))
        if len(self._heap) > 2 * len(self._held) + 1_024:
            self._heap = [(held[1], job, held[0]) for job, held in self._held.items()]
            heapify(self._heap)

    def extend(self, job_id: int, token: int, seconds: float | None) -> bool:
        """Begin the lease anew; False if it is not held, or its end is on the way into the log."""
        held = self._held.get(job_id)
        if held is None or held[0] != token or job_id in self._ending:
            return False
        deadline = self._time + (seconds if seconds is not None else held[2])
        self._held[job_id] = (token, deadline, held[2])
        if deadline < held[1]:
            heappush(self._heap, (deadline, job_id, token))  # an entry may be too early, never too late
        return True

    def end(self, job_id: int) -> None:
        """The lease ended by an entry of the log."""
        self._held.pop(job_id, None)
        self._ending.discard(job_id)

    def clear(self) -> None:
        """Another node leads: its memory counts."""
        self._held.clear()
        self._heap.clear()
        self._ending.clear()
        self._seen = None

    def take_due(self) -> list[tuple[int, int]]:
        """(job, token) of leases that have run out; each comes again later unless `end` is called."""
        due = []
        while self._heap and self._heap[0][0] <= self._time:
            _, job_id, token = heappop(self._heap)
            held = self._held.get(job_id)
            if held is None or held[0] != token:
                continue
            deadline = held[1]
            if deadline <= self._time:
                due.append((job_id, token))
                self._ending.add(job_id)
                deadline = self._time + RETRY_SECONDS
                self._held[job_id] = (token, deadline, held[2])
            heappush(self._heap, (deadline, job_id, token))
        return due

    def seconds_to_next(self) -> float | None:
        """Until the next lease may run out, at most a tick; None when none is held."""
        if not self._held:
            return None
        return min(TICK_SECONDS, max(0.0, self._heap[0][0] - self._time))
