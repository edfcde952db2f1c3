"""Many jobs are kicked in several commands, for one holds up every node until it is done."""

from collections.abc import Awaitable, Callable
from typing import Final

from replicated_queue.queue.commands import MAX_JOBS_PER_COMMAND, Kicked

MOST_PARTS: Final = 100  # more than a queue has jobs; workers may bury again what is kicked


async def kick_in_parts(bound: int, kick: Callable[[int, bool], Awaitable[Kicked]]) -> int:
    """Kick up to `bound` jobs, not first the buried and then delayed ones; return how many.

    `kick(wanted, only_buried)` kicks so many by one command. To one that was done before it may give the
    answer of that time: who repeats all of them goes through the same parts and comes to the same end.
    """
    kicked, were_buried = 0, False
    for _ in range(MOST_PARTS):
        wanted = min(bound - kicked, MAX_JOBS_PER_COMMAND)
        part = await kick(wanted, were_buried)
        kicked += part.count
        were_buried = were_buried or part.were_buried
        if part.count < MAX_JOBS_PER_COMMAND or kicked >= bound:
            break
    return kicked
