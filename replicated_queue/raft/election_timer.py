"""How long a replica waits for its leader before it asks for an election (§5.2)."""

from random import Random


class ElectionTimer:
    """Counts ticks up to a timeout that is drawn anew for each wait: one to two `election_ticks`."""

    def __init__(self, election_ticks: int, random: Random) -> None:
        self._election_ticks = election_ticks
        self._random = random
        self.timeout_ticks = 0  # a test may set it
        self.elapsed_ticks = 0  # since we heard a leader, voted or began an election
        self.draw()

    def restart(self) -> None:
        """Another term or leader: wait anew, for another time."""
        self.elapsed_ticks = 0
        self.draw()

    def draw(self) -> None:
        """Draw another timeout for the wait that goes on."""
        self.timeout_ticks = self._election_ticks + self._random.randrange(self._election_ticks)

    def hurry(self, most_ticks: int) -> None:
        """Let it be over in at most so many ticks and one."""
        soon = self.timeout_ticks - 1 - self._random.randrange(most_ticks + 1)
        self.elapsed_ticks = max(self.elapsed_ticks, soon)

    @property
    def is_over(self) -> bool:
        return self.elapsed_ticks >= self.timeout_ticks

    @property
    def has_heard_lately(self) -> bool:
        """Whether less than the shortest timeout has passed."""
        return self.elapsed_ticks < self._election_ticks

    @property
    def ticks_left(self) -> int:
        """Until it is over; at least 1. For as long as a wait that is over goes on: another shortest one."""
        left = self.timeout_ticks - self.elapsed_ticks
        return left if left > 0 else self._election_ticks
