"""Many jobs are kicked in several commands, for one holds up every node until it is done."""

from collections.abc import Awaitable, Callable
from typing import Final

from replicated_queue.queue.commands import MAX_JOBS_PER_COMMAND
from replicated_queue.queue.job import TopicStats

MOST_PARTS: Final = 100  # more than a queue has jobs; workers may bury again what is kicked


async def kick_in_parts(
    bound: int, *, look: Callable[[], Awaitable[TopicStats]], kick: Callable[[int], Awaitable[int]]
) -> int:
    """Kick up to `bound` jobs, not first the buried and then delayed ones; return how many.

    `kick(wanted)` kicks so many by one command. To one that was done before it may give the answer of that
    time: who repeats all of them goes through the same parts and comes to the same end.
    """
    if bound <= MAX_JOBS_PER_COMMAND:
        return await kick(bound)
    has_buried = (await look()).buried > 0
    kicked = 0
    for part in range(MOST_PARTS):
        wanted = min(bound - kicked, MAX_JOBS_PER_COMMAND)
        if part and has_buried and not (await look()).buried:
            wanted = 0  # asked for all the same, as the end that who repeats it comes to
        count = await kick(wanted)
        kicked += count
        if count < MAX_JOBS_PER_COMMAND or kicked >= bound:
            break
    return kicked
