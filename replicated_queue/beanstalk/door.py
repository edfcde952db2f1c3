"""Where beanstalk clients come in."""

import asyncio
import socket
from collections.abc import Coroutine, Sequence
from itertools import count

from replicated_queue.beanstalk.connection import Connection
from replicated_queue.beanstalk.hall import Hall
from replicated_queue.beanstalk.listening import BACKLOG
from replicated_queue.beanstalk.session import Session


class BeanstalkDoor:
    """The listening side of one node's door."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._numbers = count(1)
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self, listeners: Sequence[socket.socket]) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            servers = [
                await loop.create_server(self._connection, sock=sock, backlog=BACKLOG) for sock in listeners
            ]
            try:
                await loop.create_future()
            finally:
                self._tasks = None  # a group that ends takes in nobody
                for server in servers:
                    server.close()

    def spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None] | None":
        """Let `work` run as a child of `run`; it is dropped when that has ended."""
        if self._tasks is None:
            work.close()
            return None
        return self._tasks.create_task(work)

    def _connection(self) -> Connection:
        session = Session(self._hall, worker=f"beanstalk {self._hall.id}/{next(self._numbers)}")
        return Connection(self._hall, session, spawn=self.spawn)
