"""The way to the daemons in the sandboxes, and how anything is answered."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.server import Request
from zope.interface import implementer

from tests.sandboxes.e2b.records import Box, Record
from wit.runtime import Runtime
from wit.sandboxes.e2b.bodies import BytesBody


async def ask_daemon(runtime: Runtime, box: Box, record: Record, target: str) -> Any:
    """The daemon's answer to a request of its own or a client's."""

    @implementer(IAgentEndpointFactory)
    class ToSocket:
        def endpointForURI(_self, uri: Any) -> UNIXClientEndpoint:
            return UNIXClientEndpoint(runtime.reactor, str(box.walls.socket))

    agent = Agent.usingEndpointFactory(runtime.reactor, ToSocket())
    headers = Headers(
        {
            name: [value]
            for name, value in record.headers.items()
            if name not in ("host", "connection", "transfer-encoding", "content-length")
        }
    )
    body = BytesBody(record.body) if record.method == "POST" else None
    url = f"http://sandbox{target}".encode()
    return await agent.request(record.method.encode(), url, headers, body)


async def forward(
    runtime: Runtime, box: Box | None, record: Record, target: str, request: Request
) -> None:
    """Hand a request to the daemon, and its answer back as it comes."""
    if box is None:
        sandbox_id = record.headers.get("e2b-sandbox-id")
        message = {"sandboxId": sandbox_id, "message": "The sandbox was not found", "code": 502}
        send(request, 502, message)
        return
    box.streams.add(request)
    try:
        response = await ask_daemon(runtime, box, record, target)
        request.setResponseCode(response.code)
        for name, values in response.headers.getAllRawHeaders():
            if name.lower() not in (b"connection", b"transfer-encoding", b"content-length"):
                request.responseHeaders.setRawHeaders(name, values)
        if response.code == 204 or request._disconnected:
            response._transport.stopProducing()
        else:
            copying = _Copying(request)
            response.deliverBody(copying)
            await copying.done
    finally:
        box.streams.discard(request)
    if not request._disconnected:
        request.finish()


class _Copying(Protocol):
    """An answer's body, on to a client; a slow client slows the daemon."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self._request.registerProducer(self, True)
        self._request.notifyFinish().addErrback(lambda _: self.stopProducing())

    def dataReceived(self, data: bytes) -> None:
        if not self._request._disconnected:
            self._request.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._request._disconnected:
            self._request.unregisterProducer()
        if not self.done.called:
            self.done.callback(None)

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()  # type: ignore[union-attr]

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()  # type: ignore[union-attr]

    def stopProducing(self) -> None:
        self.transport.loseConnection()  # type: ignore[union-attr]


def abort(request: Request) -> None:
    transport: Any = request.transport
    if transport is not None:
        transport.abortConnection()


def send(request: Request, status: int, answer: Any) -> None:
    if request._disconnected:
        return
    request.setResponseCode(status)
    if answer is not None:
        request.setHeader("Content-Type", "application/json")
        request.write(json.dumps(answer).encode())
    request.finish()
