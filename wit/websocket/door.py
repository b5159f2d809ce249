"""Where WebSockets come in: which paths are ones, who comes from where, and how many at once.

    /api/sandbox/ws/REPOSITORY-ID    a terminal in one's sandbox of a repository (contract, rest.md)
    /ws/SANDBOX-ID                   a terminal in a sandbox

Browsers let pages of any site open a WebSocket here, and send our cookies along (attack list, line
55). So what comes from a page must come from one of ours, whatever the credential.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Protocol

import attrs
from twisted.logger import Logger

from wit.access.rate_limits import RateLimits
from wit.config import Config
from wit.errors import Forbidden, Invalid, NotFound, Unauthorized, Unavailable, WitError
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.http1 import BadRequest
from wit.web.middleware.caller import Callers
from wit.web.middleware.limits import limited
from wit.web.origins import TrustedOrigins
from wit.web.streaming import Handler, Request
from wit.websocket.contract import ContractConversation
from wit.websocket.conversation import Conversation
from wit.websocket.socket import Socket, make_factory
from wit.websocket.term import SUBPROTOCOL, TermConversation
from wit.websocket.visit import SIGN_IN, Visit, asked, with_parameters
from wit.websocket.visit import Core as VisitCore

_REPOSITORY = re.compile(rb"/api/sandbox/ws/([A-Za-z0-9-]{1,64})")
_SANDBOX = re.compile(rb"/ws/([0-9a-f]{32}|[0-9a-f-]{36})")

_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_HANDED_ON = (b"Host", b"Upgrade", b"Connection", b"Sec-WebSocket-Key", b"Sec-WebSocket-Version",
              b"Sec-WebSocket-Protocol")  # fmt: skip
"""What Autobahn needs of a request's headers; it never sees a credential."""


class Core(VisitCore, Protocol):
    """wit.core.Core, as far as it is used here."""

    config: Config
    limits: RateLimits
    metrics: Metrics
    runtime: Runtime


class TerminalDoor:
    """A route (see :mod:`wit.web.site`)."""

    log = Logger()

    def __init__(self, core: Core, callers: Callers) -> None:
        self._core = core
        self._callers = callers
        self._origins = TrustedOrigins(core.config)
        self._cors = frozenset(core.config.server.cors_origins) - {"*"}
        self._factory = make_factory(core.runtime)
        self._open: Counter[str] = Counter()
        self._gauge = core.metrics.open_connections.labels("websocket")

    def route(self, request: Request) -> Handler | None:
        if _REPOSITORY.fullmatch(request.path):
            return self._serve
        if _SANDBOX.fullmatch(request.path) and wants_upgrade(request):
            return self._serve
        return None

    async def _serve(self, request: Request) -> None:
        check_handshake(request)
        self._check_origin(request)
        visit = await self._visit(request)
        await limited(request, self._core, "standard", visit.actor)
        owner = visit.actor.user_id or request.address
        most = self._core.config.terminals.max_viewers_per_user
        if self._open[owner] >= most:
            raise Unavailable(f"you look at {most} terminals already; close one of them first")
        self._upgrade(request, visit, owner)

    def _upgrade(self, request: Request, visit: Visit, owner: str) -> None:
        offered = (request.header(b"Sec-WebSocket-Protocol") or "").split(",")
        conversation: Conversation
        subprotocol: str | None = None
        if SUBPROTOCOL in (name.strip() for name in offered):
            subprotocol = SUBPROTOCOL
            conversation = TermConversation(self._core, visit)
        else:
            conversation = ContractConversation(self._core, visit)
        began = self._core.runtime.reactor.seconds()
        path = request.path.decode("ascii")

        def finished() -> None:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]
            self._gauge.dec()
            self.log.info(
                "WebSocket {path} closed {code}",
                path=path,
                code=socket.close_code,
                actor=visit.actor.username,
                seconds=round(self._core.runtime.reactor.seconds() - began, 3),
                request_id=visit.request_id,
            )

        headers = {"X-Request-Id": request.request_id, "Cache-Control": "no-store"}
        socket = Socket(conversation, subprotocol, headers, finished)
        socket.factory = self._factory
        self._open[owner] += 1
        self._gauge.inc()
        request.upgrade(socket, handshake(request))

    async def _visit(self, request: Request) -> Visit:
        """Who wants what. What is wrong with it is said later, over the WebSocket."""
        visit = Visit(request_id=request.request_id)
        try:
            if match := _REPOSITORY.fullmatch(request.path):
                visit = attrs.evolve(visit, repo_id=match[1].decode())
            elif match := _SANDBOX.fullmatch(request.path):
                visit = attrs.evolve(visit, sandbox_id=match[1].decode())
            parameters = asked(request.query)
            if ticket := parameters.get("ticket"):
                visit = await self._by_ticket(visit, ticket)
            else:
                actor = (await self._callers.of(request, acts=True)).actor
                visit = attrs.evolve(visit, actor=actor)
            request.actor_name = visit.actor.username
            if visit.actor.anonymous:
                raise Unauthorized(SIGN_IN)
            return with_parameters(visit, parameters)
        except WitError as error:
            return attrs.evolve(visit, refused=error)

    async def _by_ticket(self, visit: Visit, secret: str) -> Visit:
        """Raises Unauthorized, NotFound (it is a ticket to something else)."""
        ticket = await self._core.terminals.redeem(secret)
        sandbox = await self._core.sandboxes.get(ticket.actor, ticket.sandbox_id)
        if visit.repo_id not in (None, sandbox.repo_id) or visit.sandbox_id not in (
            None,
            ticket.sandbox_id,
        ):
            raise NotFound("this ticket is for another sandbox")
        return attrs.evolve(
            visit,
            actor=ticket.actor,
            repo_id=None,
            sandbox_id=ticket.sandbox_id,
            terminal_id=ticket.terminal_id,
            view_only=ticket.view_only,
        )

    def _check_origin(self, request: Request) -> None:
        """Raises Forbidden for a page of another site. Programs that are no browsers tell no
        Origin; what brings a cookie without one is looked at by Callers."""
        origin = request.header(b"Origin")
        if origin is None or origin in self._cors or self._origins.ours(origin, request):
            return
        raise Forbidden(
            "this WebSocket was opened by a page of another site; if that site is yours, "
            "add its origin to accounts.trusted_origins"
        )


def wants_upgrade(request: Request) -> bool:
    return (request.header(b"Upgrade") or "").strip().lower() == "websocket"


def check_handshake(request: Request) -> None:
    """Whether this is an opening handshake (RFC 6455, section 4.2.1).

    Raises Invalid, BadRequest.
    """
    if request.method != b"GET" or not wants_upgrade(request):
        request.setHeader(b"Upgrade", b"websocket")
        raise BadRequest(426, "this address is a WebSocket: ask for an upgrade")
    options = (request.header(b"Connection") or "").lower().split(",")
    if "upgrade" not in (option.strip() for option in options):
        raise Invalid("a WebSocket's request needs the header Connection: Upgrade")
    if request.header(b"Sec-WebSocket-Version") != "13":
        request.setHeader(b"Sec-WebSocket-Version", b"13")
        raise BadRequest(426, "only version 13 of the WebSocket protocol is spoken here")
    headers = request.requestHeaders
    if len(headers.getRawHeaders(b"Sec-WebSocket-Key", [])) != 1 or not _KEY.fullmatch(
        request.header(b"Sec-WebSocket-Key") or ""
    ):
        raise Invalid("the header Sec-WebSocket-Key must be 16 bytes in base64")
    offered = (request.header(b"Sec-WebSocket-Protocol") or "").split(",")
    if len({name.strip() for name in offered}) != len(offered):
        raise Invalid("a subprotocol is offered twice")


def handshake(request: Request) -> bytes:
    """The request again, as far as Autobahn needs it."""
    lines = [b"GET %b HTTP/1.1" % request.path]
    for name in _HANDED_ON:
        if values := request.requestHeaders.getRawHeaders(name):
            lines.append(b"%b: %b" % (name, b",".join(values)))
    return b"\r\n".join(lines) + b"\r\n\r\n"
