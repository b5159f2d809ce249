"""The tRPC door: ``/trpc/*`` (contract, trpc-notes.md, part 1).

A request is planned (:mod:`wit.trpc.plan`), its caller found, and each call asked whether it is
let in at all; only if one is, the body is asked for. The calls of a batch run side by side, a few
at a time, and each succeeds or fails on its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, FirstError, gatherResults

from wit.errors import RateLimited, WitError
from wit.operations.registry import Registry
from wit.streams import StreamClosed
from wit.trpc import jsonl, sse
from wit.trpc.envelope import Failure, Reply, batch_status, failure, result_text
from wit.trpc.exchange import Exchange, Limit
from wit.trpc.plan import Planned, accepted, make_plan
from wit.web.answers import JSON
from wit.web.middleware.caller import Callers
from wit.web.streaming import Handler, Request

if TYPE_CHECKING:
    from wit.core import Core

PREFIX = b"/trpc/"

CONCURRENCY = 8
"""Calls of one batch that run at once."""

MAX_SUBSCRIPTIONS = 32
"""Open at once by one user, or one address that is not signed in."""

PING_SECONDS = 15.0
"""Between two signs of life of a subscription."""


class TrpcDoor:
    """A route (see :mod:`wit.web.site`) of all procedures."""

    def __init__(
        self, registry: Registry, core: Core, callers: Callers, limit: Limit | None = None
    ) -> None:
        self._registry = registry
        self._core = core
        self._callers = callers
        self._limit = limit
        self._subscriptions: dict[Deferred[None], str] = {}
        """Those that are open, and whose they are."""
        self._ended: set[Deferred[None]] = set()

    def route(self, request: Request) -> Handler | None:
        return self._serve if request.path.startswith(PREFIX) else None

    def finish_up(self) -> None:
        """The server stops: end all subscriptions; their clients connect again, elsewhere."""
        self._ended.update(self._subscriptions)
        for subscription in list(self._subscriptions):
            subscription.cancel()

    async def _serve(self, request: Request) -> None:
        if request.method == b"HEAD":
            request.setResponseCode(204)
            return
        request.setHeader(b"Vary", b"trpc-accept, accept")
        request.setHeader(b"Cache-Control", b"no-store")
        try:
            plan = make_plan(
                self._registry,
                request.method.decode("ascii"),
                request.path[len(PREFIX) :],
                request.query,
                content_type=request.header(b"Content-Type"),
                accept=accepted(request.header(b"trpc-accept"), request.header(b"Accept")),
                last_event_id=request.header(b"Last-Event-ID") or "",
            )
        except WitError as error:
            _send(request, [failure(error)], failure(error).text)
            return
        exchange = Exchange(self._core, request, plan, self._callers, self._limit)
        await exchange.prepare()
        if plan.subscription:
            await self._serve_events(exchange)
        elif plan.stream:
            await _serve_lines(exchange)
        elif plan.batch:
            works = [exchange.reply(call, result_text) for call in plan.calls]
            replies = await side_by_side(works, CONCURRENCY)
            _send(request, replies, f"[{','.join(reply.text for reply in replies)}]")
        else:
            reply = await exchange.reply(plan.calls[0], result_text)
            _send(request, [reply], reply.text)

    async def _serve_events(self, exchange: Exchange) -> None:
        """One subscription, from ``connected`` to its end, or to that of the connection."""
        request = exchange.request
        request.prepare(200, "text/event-stream")
        for name, value in sse.HEADERS:
            request.setHeader(name, value)
        stream = EventStream(request, exchange)
        owner = exchange.caller.actor.user_id or request.address
        busy = Counter(self._subscriptions.values())[owner] >= MAX_SUBSCRIPTIONS
        work = Deferred.fromCoroutine(stream.run(busy))
        self._subscriptions[work] = owner
        pings = Deferred.fromCoroutine(stream.ping(self._core.runtime.sleep))
        try:
            await work
        except CancelledError:
            if work not in self._ended:
                raise
        finally:
            pings.cancel()
            del self._subscriptions[work]
            self._ended.discard(work)


class EventStream:
    """The frames of one subscription on their way to the client."""

    def __init__(self, request: Request, exchange: Exchange) -> None:
        self._sink = request.sink()
        self._exchange = exchange
        self._lock = DeferredLock()
        """One writes at a time."""

    async def run(self, busy: bool) -> None:
        """Send all items. ``busy``: the caller has too many subscriptions already."""
        exchange = self._exchange
        call = exchange.plan.calls[0]
        events = sse.Events(exchange.plan.last_event_id)
        await self._write(sse.CONNECTED)
        try:
            if busy:
                raise RateLimited("too many open subscriptions; close some of them", 10)
            items = await exchange.subscribe(call)
            try:
                async for item in items:
                    await self._write(events.item(item))
            finally:
                await items.aclose()
        except (CancelledError, StreamClosed):
            raise
        except Exception as error:
            await self._write(sse.error_frame(exchange.failed(call, error)))
        else:
            await self._write(sse.RETURN)

    async def ping(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        try:
            while True:
                await sleep(PING_SECONDS)
                await self._write(sse.PING)
        except Exception:
            return  # the subscription itself learns that its client is gone

    async def _write(self, text: str) -> None:
        async with self._lock:
            await self._sink.write(text.encode())


async def _serve_lines(exchange: Exchange) -> None:
    """A batch whose answers are sent in the order in which they are there."""
    request, calls = exchange.request, exchange.plan.calls
    lock = DeferredLock()
    request.prepare(200, JSON)
    sink = request.sink()
    await sink.write(jsonl.head(len(calls)).encode())

    async def answer(call: Planned) -> None:
        reply = await exchange.reply(
            call, lambda data: jsonl.result_lines(call.index, len(calls), data)
        )
        text = jsonl.error_line(call.index, reply) if isinstance(reply, Failure) else reply.text
        async with lock:
            await sink.write(text.encode())

    await side_by_side([answer(call) for call in calls], CONCURRENCY)


async def side_by_side(works: list[Coroutine[Any, Any, Any]], limit: int) -> list[Any]:
    """The results of all ``works``, of which ``limit`` run at a time. Being cancelled, or one that
    raises, cancels all the others."""
    results: list[Any] = [None] * len(works)
    waiting = iter(enumerate(works))

    async def run() -> None:
        for index, work in waiting:
            results[index] = await work

    running = [Deferred.fromCoroutine(run()) for _ in range(min(limit, len(works)))]
    try:
        await gatherResults(running, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
    finally:
        for one in running:
            one.cancel()
        for _, work in waiting:
            work.close()
    return results


def _send(request: Request, replies: list[Reply], text: str) -> None:
    waits = [reply.retry_after or 0 for reply in replies if isinstance(reply, Failure)]
    if any(waits):
        request.setHeader(b"Retry-After", b"%d" % max(waits))
    request.answer(batch_status(replies), JSON, text.encode())
