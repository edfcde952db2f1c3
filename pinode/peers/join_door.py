"""The peer port towards those who have a token and no key yet: `pinode-join/1`.

The node shows the certificate of the peers' authority first, so that who dialled can compare it with the
token before it says anything. Then it reads one request, answers it, and closes. What strangers can cost is
bounded.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from pinode.peers.connection import FrameConnection
from pinode.peers.errors import MalformedFrame
from pinode.peers.join_codec import (
    MAX_REQUEST_BYTES,
    Admitted,
    JoinRequest,
    Rejected,
    decode_request,
    encode_answer,
)
from pinode.rate_limit import RateLimit, TooMany

logger = logging.getLogger(__name__)

BURST = 10  # requests of one address at once
SECONDS_EACH = 6.0  # and one more so often
MAX_ANSWERING = 8  # requests of all addresses that are being answered

Judge = Callable[[JoinRequest], Awaitable[Admitted | Rejected]]


class JoinDoor:
    """Serves the joiners of one node."""

    def __init__(
        self,
        authority_pem: Callable[[], str],
        judge: Judge,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`authority_pem()` is the certificate that the node's own is issued by."""
        self._authority_pem = authority_pem
        self._judge = judge
        self._clock = clock
        self._limit = RateLimit(burst=BURST, seconds_each=SECONDS_EACH)
        self._answering = 0

    def welcome(
        self, connection: FrameConnection, tasks: asyncio.TaskGroup, on_judged: Callable[[], None]
    ) -> None:
        """Take in a connection of a stranger; `on_judged` is called when its request has come."""

        def take(frame: bytes) -> None:
            connection.receive_with(_too_much)
            request = decode_request(frame)
            on_judged()
            tasks.create_task(self._answer(connection, request), name="join")

        connection.limit_frames(MAX_REQUEST_BYTES)
        connection.receive_with(take)
        connection.write_frame(self._authority_pem().encode())

    async def _answer(self, connection: FrameConnection, request: JoinRequest) -> None:
        source = str((connection.transport.get_extra_info("peername") or ("?",))[0])
        answer = await self._judged(request, source)
        member = request.member
        if isinstance(answer, Admitted):
            self._limit.forgive(source)
            logger.info("node admitted name=%s id=%s source=%s", member.name, member.node_id, source)
        else:
            logger.warning("join refused name=%s source=%s reason=%s", member.name, source, answer.message)
        connection.write_frame(encode_answer(answer))
        connection.close()

    async def _judged(self, request: JoinRequest, source: str) -> Admitted | Rejected:
        try:
            self._limit.take(source, now=self._clock())
        except TooMany as many:
            return Rejected(many.code, many.message, many.hint, is_passing=True)
        if self._answering >= MAX_ANSWERING:
            return Rejected("busy", "too many nodes want to join at once", "", is_passing=True)
        self._answering += 1
        try:
            return await self._judge(request)
        finally:
            self._answering -= 1


def _too_much(frame: bytes) -> None:
    raise MalformedFrame("a second join request on one connection")
