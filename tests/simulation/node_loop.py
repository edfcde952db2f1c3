"""An event loop in virtual time: one a process, by its machine's clock, driven by the events of a world.

A process that is paused runs nothing; one that crashed never runs again. Blocking work takes virtual time and
happens at its end, at once. Streams between loops keep their order.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol


class Surroundings(Protocol):
    """What a loop needs of the world around it."""

    def after(self, seconds: float, action: Callable[[], None]) -> None: ...

    def clock_of(self, loop: "NodeLoop") -> float: ...

    def seconds_until(self, loop: "NodeLoop", shown: float) -> float:
        """Until the loop's clock shows that."""
        ...

    def pause_of(self, loop: "NodeLoop") -> float:
        """For how long the process stands still."""
        ...

    def work_seconds(self, loop: "NodeLoop") -> float:
        """How long blocking work takes."""
        ...

    def turned(self, loop: "NodeLoop") -> None:
        """The loop has run what was due."""
        ...

    def dial(self, loop: "NodeLoop", path: str, protocol: asyncio.Protocol) -> "asyncio.Future[Any]":
        """A stream to who listens there."""
        ...


class NodeLoop(asyncio.AbstractEventLoop):
    """As much of a loop as the queue's shells use."""

    def __init__(self, world: Surroundings, name: object) -> None:
        self.name = name
        self.is_dead = False
        self.errors: list[BaseException] = []
        self._world = world
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._sequence = 0
        self._is_turn_due = False
        self._wakes_at: float | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._world.clock_of(self)

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._turn_soon()
        return handle

    call_soon_threadsafe = call_soon  # there are no threads

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, timer))
        self._arm()
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any],  # type: ignore[override]
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> "asyncio.Task[Any]":
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        if len(self._tasks) > 64:
            self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: None, func: Callable[..., object], *args: Any
    ) -> "asyncio.Future[Any]":
        future = self.create_future()

        def work() -> None:
            if self.is_dead or future.cancelled():
                return
            pause = self._world.pause_of(self)
            if pause > 0:
                self._world.after(pause, work)
                return
            try:
                result = func(*args)
            except Exception as error:
                self.call_soon(_settle, future, error, None)
            else:
                self.call_soon(_settle, future, None, result)

        if self.is_dead:
            future.cancel()
        else:
            self._world.after(self._world.work_seconds(self), work)
        return future

    async def create_unix_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], path: str
    ) -> tuple["Stream", asyncio.Protocol]:
        protocol = protocol_factory()
        return await self._world.dial(self, path, protocol), protocol

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if "never retrieved" not in context["message"] and not self.is_dead:
            self.errors.append(error or AssertionError(context["message"]))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    # How it is driven

    def _turn_soon(self) -> None:
        if not self._is_turn_due and not self.is_dead:
            self._is_turn_due = True
            self._world.after(0.0, self._turn)

    def _arm(self) -> None:
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers or self.is_dead:
            return
        when = self._timers[0][0]
        if self._wakes_at is not None and self._wakes_at <= when:
            return
        self._wakes_at = when
        self._world.after(self._world.seconds_until(self, when), lambda: self._wake(when))

    def _wake(self, when: float) -> None:
        if self._wakes_at == when:
            self._wakes_at = None
            self._turn_soon()

    def _turn(self) -> None:
        self._is_turn_due = False
        if self.is_dead:
            return
        pause = self._world.pause_of(self)
        if pause > 0:
            self._is_turn_due = True
            self._world.after(pause, self._turn)
            return
        now = self.time() + 1e-9
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled():
                self._ready.append(timer)
        self._run(len(self._ready))
        if self.errors:
            raise self.errors[0]
        self._world.turned(self)
        if self._ready:
            self._turn_soon()
        self._arm()

    def _run(self, count: int) -> None:
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            for _ in range(count):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(before)

    def die(self) -> None:
        """The process is gone. What its coroutines do on their way out reaches nobody."""
        self.is_dead = True
        self._ready.clear()
        self._timers.clear()
        for task in self._tasks:
            task.cancel()
        for _ in range(50):
            if not self._ready:
                break
            self._run(len(self._ready))
        self._tasks.clear()
        self._ready.clear()


def _settle(future: "asyncio.Future[Any]", error: Exception | None, result: object) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


class Stream(asyncio.Transport):
    """One end of a connection between two loops; `wire` brings bytes and the end to the other, in order."""

    def __init__(self, loop: NodeLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.loop = loop
        self.protocol = protocol
        self.wire: Callable[[bytes | None], None] = lambda data: None
        self._is_closing = False
        self._is_paused = False
        self._held: list[bytes | None] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._is_closing:
            self.wire(bytes(data))

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.wire(None)
            self.loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        held, self._held = self._held, []
        for data in held:
            self.loop.call_soon(self.arrived, data)

    def arrived(self, data: bytes | None) -> None:
        """In our loop: what the other end wrote; None when it is gone."""
        if self._is_closing or self.loop.is_dead:
            return
        if self._is_paused:
            self._held.append(data)
        elif data is None:
            self._is_closing = True
            self.protocol.connection_lost(None)
        else:
            self.protocol.data_received(data)
