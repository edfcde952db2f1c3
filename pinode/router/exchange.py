"""One request on its way: to one dyno after another until one takes it, and the answer back.

A request may be handed on again only while that cannot run it twice: as long as nothing of it was handed to
a dyno; or if its method is safe (GET, HEAD, OPTIONS), as long as no answer began. Therefore an unsafe request
never uses a kept connection (which the dyno may be closing at that moment), and another node's router gets
its head alone, says that it holds a connection to the dyno (199), and hands it on when told to go (one byte).
"""

import asyncio
import logging

from pinode.router.answers import broken_answer, nothing_up
from pinode.router.asking import Asking
from pinode.router.forwarding import answer_to_client, request_to_dyno, request_to_router
from pinode.router.framing import Body, EndlessBody, MalformedBody
from pinode.router.http_head import (
    AnswerHead,
    BadMessage,
    RequestHead,
    split_answer,
)
from pinode.router.route_table import Route
from pinode.router.routing import Routing
from pinode.router.upstream import Upstream

logger = logging.getLogger(__name__)

ACKNOWLEDGED = 199  # between routers alone: "I hold a connection to the dyno"
ACKNOWLEDGEMENT = b"HTTP/1.1 199 Ready\r\n\r\n"
GO = b"G"
MOST_ATTEMPTS = 20


class Exchange:
    """Belongs to one client connection, and to at most one connection towards a dyno at a time."""

    def __init__(
        self,
        routing: Routing,
        client: Asking,
        request: RequestHead,
        lines: list[bytes],
        *,
        app: str,
        app_port: int | None = None,
        placement: int | None = None,
    ) -> None:
        """`app_port` is set for a request that came to an app's own port, `placement` for one that another
        router sends to one dyno of this node.
        """
        self.client = client
        self.request = request
        self._routing = routing
        self._lines = lines
        self._app = app
        self._app_port = app_port
        self._placement = placement
        self._body: Body = request.body()
        self._answer_body: Body | None = None
        self._answer_buffer = b""
        self._is_kept_answer = False
        self._upstream: Upstream | None = None
        self._route: Route | None = None
        self._is_ready = False  # body bytes may be passed on
        self._is_tunnel = False
        self._body_was_sent = False
        self._tried: set[int] = set()
        self._attempts = 0
        self._give_up_at = routing.now() + routing.patience_seconds
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    @property
    def only_answers(self) -> bool:
        """Whether nothing more is needed of the client."""
        return self._body.done and not self._is_tunnel

    # --- finding a dyno

    def start(self) -> None:
        """Go to the first dyno that takes it; called again when the routes changed."""
        self._cancel_timer()
        if self._ended or self._upstream is not None or self._connecting is not None:
            return
        if self._app_port is not None:  # it may have been renamed since
            self._app = self._routing.app_of_port(self._app_port) or self._app
        route = self._routing.choose(self._app, self._placement, self._tried)
        if route is None or self._attempts >= MOST_ATTEMPTS:
            self._wait()
            return
        self._route = route
        kept = self._routing.pool.kept(route) if self._may_be_kept(route) else None
        if kept is not None:
            self._attach(kept)
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(route))

    def _may_be_kept(self, route: Route) -> bool:
        is_repeatable = self.request.is_safe and not self.request.has_body
        return is_repeatable or not route.local_port  # a router acknowledges before it hands on

    async def _connect(self, route: Route) -> None:
        self._attempts += 1
        try:
            upstream = await self._routing.pool.connect(route)
        except (OSError, TimeoutError) as error:
            self._connecting = None
            logger.debug("no connection app=%s placement=%d reason=%s", self._app, route.placement, error)
            self._router_failed()
            return
        self._connecting = None
        if self._ended:
            upstream.close()
        else:
            self._attach(upstream)

    def _try_next(self) -> None:
        """The dyno at hand did not take it."""
        if self._route is not None:
            self._tried.add(self._route.placement)
        self._release_upstream()
        self.start()

    def _router_failed(self) -> None:
        """No connection or no word in time: if it was another node's router, others go first for a while."""
        if self._route is not None and not self._route.local_port:
            self._routing.avoid(self._route.node_id)
        self._try_next()

    def _wait(self) -> None:
        """No dyno is left to ask: one may be starting."""
        now = self._routing.now()
        # A router that asks for one dyno has others to ask; an app without any dyno will not get one soon.
        if (
            now >= self._give_up_at
            or self._placement is not None
            or not self._routing.expects_dynos(self._app)
        ):
            self._fail(503, nothing_up(self._app))
            return
        self._tried.clear()
        self._attempts = 0
        self._routing.waiting.add(self)
        delay = min(self._routing.timings.look_again_seconds, self._give_up_at - now)
        self._timer = asyncio.get_running_loop().call_later(delay, self.start)

    # --- handing it on

    def _attach(self, upstream: Upstream) -> None:
        assert self._route is not None
        self._upstream = upstream
        upstream.exchange = self
        self._routing.waiting.discard(self)
        if self._placement is not None:
            self.client.write(ACKNOWLEDGEMENT)
            if self.client.awaits_go:
                return
        if self._route.local_port:
            self._hand_on()
            return
        head = request_to_router(self.request, self._lines, app=self._app, route=self._route)
        upstream.write(head)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._routing.timings.acknowledge_seconds, self._router_failed)

    def go(self) -> None:
        """The router that sent this request wants it handed on."""
        if self._upstream is not None:
            self._hand_on()

    def _hand_on(self) -> None:
        assert self._upstream is not None
        self._upstream.write(request_to_dyno(self.request, self._lines, keep=self.request.is_safe))
        self._pass_body()

    def _acknowledged(self) -> None:
        """The other router holds a connection to the dyno: from here on only safe requests are repeated."""
        assert self._upstream is not None
        self._cancel_timer()
        if not self.request.is_safe or self.request.has_body:
            self._upstream.write(GO)
        self._pass_body()

    def _pass_body(self) -> None:
        self._is_ready = True
        self.touch()
        self.client.body_wanted()

    def body_received(self, data: bytes) -> bytes:
        """Pass on what of `data` belongs to the request; the rest is given back. Raises `MalformedBody`."""
        if not self._is_ready or self._upstream is None:
            return data
        taken = len(data) if self._is_tunnel else self._body.take(data)
        if taken:
            self._body_was_sent = True
            self._upstream.write(data[:taken] if taken < len(data) else data)
            self.touch()
        return data[taken:]

    # --- the answer

    def answer_received(self, data: bytes) -> None:
        """Pass on what a dyno or router says."""
        if self._is_tunnel:
            self.touch()
            self.client.write(data)
            return
        try:
            if self._answer_body is None:
                data = self._read_heads(data)
            if self._answer_body is not None and not self._ended:
                self._pass_answer(data)
        except (BadMessage, MalformedBody) as error:
            self._broken(f"the app's answer is not HTTP ({error})")

    def _read_heads(self, data: bytes) -> bytes:
        """Read heads until the final one; what follows it is given back."""
        data = self._answer_buffer + data
        self._answer_buffer = b""
        while self._answer_body is None and not self._ended and self._upstream is not None:
            answer, data = split_answer(data)
            if answer is None:
                self._answer_buffer = data
                return b""
            if self._is_tunnel_begun_by(answer):
                self.client.write(data)
                return b""
            if answer.status < 200:
                self._interim(answer)
            elif not self._is_ready:
                self._try_next()  # another router refused: the dyno is not there
                return b""
            else:
                return self._begin_answer(answer, data)
        return data

    def _interim(self, answer: AnswerHead) -> None:
        if answer.status == ACKNOWLEDGED and self._route is not None and not self._route.local_port:
            if not self._is_ready:
                self._acknowledged()
        elif answer.status == 101:
            raise BadMessage("it switches protocols unasked")
        elif self.request.version == "1.1":
            self.client.write(answer_to_client(answer, keep=True))

    def _begin_answer(self, answer: AnswerHead, data: bytes) -> bytes:
        """Send the final head together with what came of the body."""
        body = answer.body(self.request)
        if isinstance(body, EndlessBody):
            self.client.keep_alive = False
        if not self._body.done:
            self.client.keep_alive = False  # what is left of the request would be taken for the next one
        head = answer_to_client(answer, keep=self.client.keep_alive)
        self._is_kept_answer = answer.keep_alive and not isinstance(body, EndlessBody)
        taken = body.take(data)
        self.client.write(head + data[:taken] if taken else head)
        self._answer_body = body
        return data[taken:]

    def _pass_answer(self, data: bytes) -> None:
        assert self._answer_body is not None
        if data and not self._answer_body.done:
            taken = self._answer_body.take(data)
            self.client.write(data[:taken] if taken < len(data) else data)
            data = data[taken:]
        self.touch()
        if self._answer_body.done:
            self._finish(is_clean=not data)

    def _is_tunnel_begun_by(self, answer: AnswerHead) -> bool:
        if answer.status != 101 or not self.request.upgrade or not self._is_ready:
            return False
        self._is_tunnel = True
        self.client.write(answer_to_client(answer, keep=True, upgrade=self.request.upgrade))
        self.touch()
        self.client.body_wanted()
        return True

    # --- the end

    def upstream_lost(self, error: Exception | None) -> None:
        """The connection ended, at whichever point."""
        was_used = self._upstream is not None and self._upstream.was_used
        self._upstream = None
        if self._is_tunnel:
            self._end()
            self.client.close()
        elif self._answer_body is not None:
            is_whole = isinstance(self._answer_body, EndlessBody) and error is None
            self._end()
            # Half an answer must not look whole to the client.
            self.client.close() if is_whole else self.client.abort()
        elif not self._is_ready or (self.request.is_safe and not self._body_was_sent):
            self._again(was_used)
        else:
            self._broken("the dyno ended the connection before it answered")

    def _again(self, was_used: bool) -> None:
        self._is_ready = False
        self._answer_buffer = b""
        if was_used:
            self.start()  # a kept connection that was just closed says nothing about the dyno
        else:
            self._try_next()

    def client_lost(self) -> None:
        """Nobody waits for the answer any more."""
        upstream = self._upstream
        self._end()
        if upstream is not None:
            upstream.close() if self._is_tunnel else upstream.abort()

    def expired(self) -> None:
        """No progress in time."""
        if self._is_tunnel or self._answer_body is not None:
            self.client.abort()
        elif self._body.done:
            self._fail(504, broken_answer(self._app, "the dyno did not answer in time"))
        else:
            self._fail(408, broken_answer(self._app, "the request did not arrive in time"))

    def touch(self) -> None:
        """There was progress."""
        timings = self._routing.timings
        if self._is_tunnel:
            seconds = timings.tunnel_seconds
        elif self._answer_body is None and self._body.done:
            seconds = timings.answer_seconds
        else:
            seconds = timings.body_seconds
        self.client.expires_at = self._routing.now() + seconds

    def pause_request(self) -> None:
        """The dyno does not keep up."""
        self.client.pause_reading()

    def resume_request(self) -> None:
        """The dyno keeps up again."""
        self.client.resume_reading()

    def pause_answer(self) -> None:
        """The client does not keep up."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume_answer(self) -> None:
        """The client keeps up again."""
        if self._upstream is not None:
            self._upstream.resume_reading()

    def _finish(self, *, is_clean: bool) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.resume_reading()
            if is_clean and self._is_kept_answer and self._body.done:
                self._routing.pool.keep(upstream, now=self._routing.now())
            else:
                upstream.close()
        self._end()
        self.client.answered(request_is_whole=self._body.done)

    def _broken(self, what: str) -> None:
        if self._answer_body is not None:
            self._release_upstream()
            self._end()
            self.client.abort()
        else:
            self._fail(502, broken_answer(self._app, what))

    def _fail(self, status: int, text: str) -> None:
        self._release_upstream()
        self._end()
        self.client.refuse(status, text, is_head=self.request.method == b"HEAD")

    def _release_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        self._cancel_timer()
        self._is_ready = False
        self._answer_buffer = b""
        if upstream is not None:
            upstream.abort()

    def _end(self) -> None:
        self._ended = True
        self._upstream = None
        self._cancel_timer()
        self._routing.waiting.discard(self)
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
