"""Answers of the REST door that are streams: bytes, and Server-Sent Events (HTML standard, 9.2).

An item of a subscription is one event, ``data: JSON``; what goes wrong after the first one is
``event: error`` with the body of an error, and what goes wrong before it is an error as any other.
An empty comment now and then keeps proxies from hanging up.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, DeferredLock

from wit.errors import RateLimited
from wit.operations.registry import EVENTS
from wit.operations.tracked import Tracked
from wit.runtime import Runtime
from wit.streams import ByteSource, StreamClosed
from wit.trpc.sse import HEADERS, frame
from wit.web.answers import error_body
from wit.web.streaming import Request

MAX_STREAMS = 32
"""Of events, open at once by one user, or one address that is not signed in."""

PING_SECONDS = 15.0
PING = b": \n\n"


async def send(request: Request, content_type: str, source: ByteSource) -> None:
    """All of ``source``, as fast as the client takes it. What goes wrong after the first bytes
    cuts the connection."""
    data = await source.read()
    if not data or request.method == b"HEAD":
        request.answer(200, content_type, data)
        return
    request.prepare(200, content_type)
    sink = request.sink()
    while data:
        await sink.write(data)
        data = await source.read()


def plain_json(value: Any) -> str:
    """``value`` as JSON; dates are ISO texts."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        text = value.astimezone(UTC).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no form in JSON")


class EventStreams:
    """The streams of events that are open."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._open: dict[Deferred[None], str] = {}
        """And whose they are."""

    def finish_up(self) -> None:
        """Break all off: to their clients it is as if the connection was lost."""
        for stream in list(self._open):
            stream.cancel()

    async def serve(self, request: Request, owner: str, items: AsyncIterator[Any]) -> None:
        """Send all ``items`` and close them. Raises RateLimited, and what the first one raises."""
        if Counter(self._open.values())[owner] >= MAX_STREAMS:
            raise RateLimited("too many open streams of events; close some of them", 10)
        work = Deferred.fromCoroutine(self._send(request, items))
        self._open[work] = owner
        try:
            await work
        finally:
            del self._open[work]

    async def _send(self, request: Request, items: AsyncIterator[Any]) -> None:
        lock = DeferredLock()
        pings: Deferred[None] | None = None

        async def write(text: bytes) -> None:
            async with lock:
                await request.sink().write(text)

        async def ping() -> None:
            try:
                while True:
                    await self._runtime.sleep(PING_SECONDS)
                    await write(PING)
            except (CancelledError, StreamClosed):
                return  # the stream itself learns that its client is gone

        try:
            async for item in items:
                if pings is None:
                    request.prepare(200, EVENTS)
                    for name, value in HEADERS:
                        request.setHeader(name, value)
                    pings = Deferred.fromCoroutine(ping())
                event_id, data = item if isinstance(item, Tracked) else (None, item)
                await write(frame(data=plain_json(data), event_id=event_id).encode())
        except (CancelledError, StreamClosed):
            raise
        except Exception as error:
            if pings is None:
                raise
            message, code = request.refuse(error)
            body = error_body(message, code, request.request_id)
            await write(frame("error", body.decode()).encode())
        finally:
            if pings is not None:
                pings.cancel()
            await cast(Any, items).aclose()  # an async generator: the registry takes nothing else
