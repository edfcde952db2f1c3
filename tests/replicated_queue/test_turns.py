"""When a replica has its next turn."""

import asyncio

from replicated_queue.turns import EARLY_SECONDS, Turns


async def seconds_until_turn(*deadlines: float) -> float:
    """How long it takes until the first turn, when it is asked for by each of these in turn."""
    loop = asyncio.get_running_loop()
    taken: asyncio.Future[float] = loop.create_future()
    began = loop.time()
    turns = Turns(lambda: taken.set_result(loop.time() - began))
    turns.start()
    for deadline in deadlines:
        turns.by(began + deadline, now=began)
    async with asyncio.timeout(5):
        seconds = await taken
    turns.stop()
    return seconds


async def test_a_turn_that_is_needed_later_than_was_thought_is_not_taken_before() -> None:
    assert await seconds_until_turn(0.001, 0.04) >= 0.04 - EARLY_SECONDS


async def test_a_turn_that_is_needed_sooner_than_was_thought_does_not_wait() -> None:
    assert await seconds_until_turn(30.0, 0.001) < 4
