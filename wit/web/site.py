"""The web site: the factory of HTTP connections, and which handler a request goes to."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.web.http import datetimeToString
from zope.interface import implementer

from wit import config
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.channel import Channel
from wit.web.middleware.cors import Cors, is_preflight
from wit.web.middleware.peers import Peers
from wit.web.streaming import Handler, Request

Route = Callable[[Request], Handler | None]
"""Knows the handlers of some paths; None for all others."""

TICK_SECONDS = 0.125
"""How often the site's time goes on."""

CHECK_SECONDS = 1.0
"""How often each connection is looked at: a share of them at each tick, so that a tick is short."""

MAX_TICK = 5.0
"""What a tick counts at most: after a jump of the wall clock nobody is suddenly overdue."""

SECURITY_HEADERS = (
    b"X-Content-Type-Options: nosniff\r\n"
    b"Referrer-Policy: no-referrer\r\n"
    b"Cross-Origin-Resource-Policy: same-origin\r\n"
)
"""Of every answer; those that are no pages also have :data:`wit.web.streaming.NO_PAGE`."""

HTTPS_ONLY = b"Strict-Transport-Security: max-age=31536000\r\n"
"""RFC 6797: browsers come by https from now on. Said when that is our public address."""


@implementer(IProtocolNegotiationFactory)
class WebSite(Factory):
    """All connections of one site, on however many endpoints.

    ``now`` is the site's own time in seconds, for the limits of :mod:`wit.web.pace`: it goes on
    with every tick and never jumps.
    """

    log = Logger()
    noisy = False

    def __init__(
        self,
        routes: list[Route],
        limits: config.Server,
        runtime: Runtime,
        metrics: Metrics,
    ) -> None:
        self.limits = limits
        self.now = 0.0
        self.stopping = False
        self.connections: set[Channel] = set()
        self.static_headers = b""
        self._routes = routes
        self._runtime = runtime
        self._ticked = 0.0
        self._timer: IDelayedCall | None = None
        self._unchecked: list[Channel] = []
        self._share = 0
        self._open = metrics.open_connections.labels("http")
        self._outcomes = {
            outcome: metrics.requests.labels("http", outcome)
            for outcome in ("ok", "refused", "failed", "aborted")
        }
        self._full_since: float | None = None
        self._tick_headers()

    @property
    def limits(self) -> config.Server:
        """The settings, which may be replaced while the site runs; open connections keep their
        time limits. Raises ConfigError, and then the old ones stay."""
        return self._limits

    @limits.setter
    def limits(self, limits: config.Server) -> None:
        self.peers = Peers(limits.trusted_proxies)
        self.cors = Cors(limits.cors_origins)
        self._limits = limits

    # connections

    def buildProtocol(self, addr: IAddress | None) -> Channel | None:
        if self.stopping or len(self.connections) >= self.limits.max_connections:
            if self._full_since is None or self.now - self._full_since >= 60:
                self._full_since = self.now
                self.log.warn("too many connections: new ones are closed at once")
            return None
        return Channel(self)

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]

    def connected(self, channel: Channel) -> None:
        self.connections.add(channel)
        self._open.inc()

    def disconnected(self, channel: Channel) -> None:
        self.connections.discard(channel)
        self._open.dec()

    def startFactory(self) -> None:
        self._ticked = self.seconds()
        self._timer = self._runtime.reactor.callLater(TICK_SECONDS, self._tick)

    def stopFactory(self) -> None:
        """Nobody listens any more. The connections that are left still need their limits."""
        if not self.connections:
            self._stop_ticking()

    def _tick(self) -> None:
        self._timer = self._runtime.reactor.callLater(TICK_SECONDS, self._tick)
        seconds = self.seconds()
        self.now += min(max(seconds - self._ticked, 0.0), MAX_TICK)
        self._ticked = seconds
        self._tick_headers()
        if not self._unchecked:
            self._unchecked = list(self.connections)
            self._share = ceil(len(self._unchecked) * TICK_SECONDS / CHECK_SECONDS)
        share, self._unchecked = (
            self._unchecked[: self._share],
            self._unchecked[self._share :],
        )
        for channel in share:
            channel.check()
        if not self.numPorts and not self.connections:
            self._stop_ticking()

    def _tick_headers(self) -> None:
        date = datetimeToString(self._runtime.now().timestamp())
        https = HTTPS_ONLY if self._limits.public_url.startswith("https:") else b""
        self.static_headers = b"Date: %b\r\n%b%b" % (date, SECURITY_HEADERS, https)

    def _stop_ticking(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def finish_up(self) -> None:
        """Take no further requests; idle connections are closed now."""
        self.stopping = True
        for channel in list(self.connections):
            channel.finish_up()

    def abort_all(self) -> None:
        """Cancel all handlers and cut all connections."""
        for channel in list(self.connections):
            channel.abort()

    # requests

    def route(self, request: Request) -> Handler:
        if is_preflight(request.method, request.requestHeaders):
            return self._preflight
        for route in self._routes:
            handler = route(request)
            if handler is not None:
                return handler
        return not_found

    def seconds(self) -> float:
        return float(self._runtime.reactor.seconds())

    def new_request_id(self) -> str:
        return self._runtime.random_bytes(8).hex()

    def request_ended(self, request: Request, seconds: float) -> None:
        """Count and log: once for each request, when its answer is written or broken off."""
        if not request.finished:
            outcome = "aborted"
        elif request.code < 400:
            outcome = "ok"
        else:
            outcome = "refused" if request.code < 500 else "failed"
        self._outcomes[outcome].inc()
        self.log.info(
            "{method} {path} {status} {outcome}",
            method=request.method.decode("ascii"),
            path=request.path.decode("ascii"),
            status=request.code,
            outcome=outcome,
            address=request.address,
            actor=request.actor_name,
            received=request.body.received,
            sent=request.sentLength,
            seconds=round(seconds, 4),
            request_id=request.request_id,
            **({} if request.trace_id == request.request_id else {"trace_id": request.trace_id}),
        )

    async def _preflight(self, request: Request) -> None:
        request.setResponseCode(204)
        for name, value in self.cors.preflight(request.requestHeaders, request.path):
            request.setHeader(name, value)


async def not_found(request: Request) -> None:
    request.answer(404, "application/json", b'{"error":"Not found"}')


def exactly(handlers: dict[bytes, dict[bytes, Handler]]) -> Route:
    """A route of fixed paths: path -> method -> handler. GET answers HEAD too."""

    def route(request: Request) -> Handler | None:
        methods = handlers.get(request.path)
        if methods is None:
            return None
        method = b"GET" if request.method == b"HEAD" else request.method
        return methods.get(method) or method_not_allowed(*methods)

    return route


def method_not_allowed(*allowed: bytes) -> Handler:
    async def handler(request: Request) -> None:
        request.setHeader(b"Allow", b", ".join(allowed))
        request.answer(405, "application/json", b'{"error":"Method not allowed"}')

    return handler
