"""When a replica has its next turn."""

import asyncio
from collections.abc import Callable
from typing import Any

from replicated_queue.turns import EARLY_SECONDS, Turns


class RecordingLoop(asyncio.SelectorEventLoop):
    """Remembers the timers that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[asyncio.TimerHandle] = []

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, **how: Any) -> Any:
        self.timers.append(super().call_later(delay, callback, *args, **how))
        return self.timers[-1]


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


def test_a_deadline_that_keeps_moving_on_wakes_nobody_and_needs_few_timers() -> None:
    async def hear_heartbeats() -> None:
        turns = Turns(lambda: None)
        turns.start()
        for beat in range(12):
            turns.by(1.5 + beat / 4, now=beat / 4)

    with asyncio.Runner(loop_factory=RecordingLoop) as runner:
        loop = runner.get_loop()
        runner.run(hear_heartbeats())
        assert isinstance(loop, RecordingLoop)

    *earlier, last = [timer.cancelled() for timer in loop.timers]
    assert all(earlier)
    assert not last
    assert 1 < len(loop.timers) <= 4
