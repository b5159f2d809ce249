"""An engine's HTTP interface: versions, calls, streams, and its errors in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import treq
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as Overdue
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.web.client import URI, Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from wit.errors import Unavailable
from wit.sandboxes.docker.address import Address
from wit.sandboxes.docker.hijack import Answered, ExecStream

T = TypeVar("T")

NEWEST = (1, 52)
"""The newest version of the interface whose documentation this was written by."""
OLDEST = (1, 41)
"""Docker Engine 20.10, Podman 4: before it there was no private cgroup namespace."""

CALL_SECONDS = 60.0
"""An engine on a busy machine takes long to start a container; longer means that it hangs."""
MAX_ANSWER = 32 * 1024 * 1024


class Refused(Unavailable):
    """The engine answered with an error; ``status`` is that of HTTP, ``reason`` its own words."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(f"the container engine says: {reason.splitlines()[0][:300]}")


class Engine:
    """One engine at one address. Every request has a connection of its own, so that nothing is
    left over from before the engine was restarted."""

    def __init__(self, address: Address, reactor: Any) -> None:
        self.address = address
        self._reactor = reactor
        self._version: str | None = None
        self._podman = False
        pool = HTTPConnectionPool(reactor, persistent=False)
        self._agent = Agent.usingEndpointFactory(reactor, _Endpoints(self._endpoint), pool)

    async def version(self) -> str:
        """The version that both sides know, like ``1.41``. It is agreed upon once, and again after
        the engine did not answer: it may be another one then.

        Raises Unavailable.
        """
        if self._version is None:
            found = await self._exchange("GET", "/version", None, CALL_SECONDS)
            found = found if isinstance(found, dict) else {}
            self._podman = "Podman" in str(found.get("Components"))
            self._version = agree(found)
        return self._version

    async def is_podman(self) -> bool:
        """It differs from Docker where the interface leaves something open. Raises Unavailable."""
        await self.version()
        return self._podman

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | bytes | None = None,
        seconds: float = CALL_SECONDS,
    ) -> Any:
        """Ask, and return the answer's JSON; None if it has none. A body of bytes is a tar archive.

        Raises Refused for an error, Unavailable when there is no answer.
        """
        return await self._exchange(method, await self._path(path, query), body, seconds)

    async def follow(
        self, method: str, path: str, query: Mapping[str, str], item: Callable[[Any], None]
    ) -> None:
        """Ask for what is told line by line, each JSON, until its end; ``item`` gets each.

        Raises Refused, Unavailable. There is no time limit: cancel it.
        """
        rest = bytearray()

        def collect(data: bytes) -> None:
            rest.extend(data)
            *lines, last = bytes(rest).split(b"\n")
            rest[:] = last
            for line in lines:
                if line.strip():
                    item(json.loads(line))

        where = await self._path(path, query)
        await self._said(self._send(method, where, None, collect))
        if rest.strip():
            item(json.loads(bytes(rest)))

    async def hijack(self, path: str, body: Mapping[str, Any], terminal: bool) -> ExecStream:
        """Ask for a stream of a command's input and output.

        Raises Refused, Unavailable.
        """
        content = json.dumps(body).encode()
        head = (
            f"POST {await self._path(path, None)} HTTP/1.1\r\nHost: engine\r\n"
            "Content-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        ).encode()
        stream = ExecStream(head + content, terminal, self.address.tls)

        async def open_it() -> None:
            await self._endpoint().connect(Factory.forProtocol(lambda: stream))
            try:
                await stream.opened
            except Answered as answered:
                raise Refused(answered.status, _reason(answered.body)) from None
            except BaseException:
                stream.abort()
                raise

        await self._said(self._limited(open_it(), CALL_SECONDS))
        return stream

    # the rest is HTTP

    def _endpoint(self) -> IStreamClientEndpoint:
        return self.address.endpoint(self._reactor)

    async def _path(self, path: str, query: Mapping[str, str] | None) -> str:
        return f"/v{await self.version()}{path}" + (f"?{urlencode(query)}" if query else "")

    async def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | bytes | None, seconds: float
    ) -> Any:
        answer = bytearray()

        def collect(data: bytes) -> None:
            if len(answer) + len(data) > MAX_ANSWER:
                raise Unavailable("the container engine's answer is too long")
            answer.extend(data)

        sending = self._send(method, path, body, collect)
        await self._said(self._limited(sending, seconds))
        try:
            return json.loads(bytes(answer)) if answer.strip() else None
        except ValueError:
            return None

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None,
        collect: Callable[[bytes], None],
    ) -> None:
        content, kind = body, "application/x-tar"
        if isinstance(content, Mapping):
            content, kind = json.dumps(content).encode(), "application/json"
        response = await HTTPClient(self._agent).request(
            method,
            f"http://engine{path}",
            headers=Headers({"Content-Type": [kind]} if content else {}),
            data=content,
            allow_redirects=False,
            unbuffered=True,
        )
        if response.code >= 400:
            text = bytearray()
            await treq.collect(response, lambda data: text.extend(data[: 64 * 1024 - len(text)]))
            raise Refused(response.code, _reason(bytes(text)))
        await treq.collect(response, collect)

    async def _limited(self, work: Any, seconds: float) -> Any:
        deferred = Deferred.fromCoroutine(work)
        deferred.addTimeout(seconds, self._reactor)
        return await deferred

    async def _said(self, work: Any) -> Any:
        """Await ``work``; what goes wrong on the way is Unavailable, with a sentence."""
        try:
            return await work
        except Overdue:
            problem = "does not answer in time"
        except ConnectError as error:
            problem = f"cannot be reached ({error}): is it running, and may wit use it?"
        except (ConnectionClosed, ResponseFailed) as error:
            problem = f"broke off: {_first_reason(error)}"
        self._version = None
        raise Unavailable(f"the container engine at {self.address.text} {problem}")


def agree(found: Mapping[str, Any]) -> str:
    """The version to speak with an engine that says so of itself (``GET /version``).

    Raises Unavailable if there is none that both know.
    """
    try:
        newest = _numbers(str(found["ApiVersion"]))
        oldest = _numbers(str(found.get("MinAPIVersion") or found["ApiVersion"]))
    except (KeyError, ValueError):
        raise Unavailable("what answers at the container engine's address is none") from None
    if newest < OLDEST:
        raise Unavailable(
            f"the container engine is too old: it knows version {_text(newest)} of the Engine API, "
            f"and {_text(OLDEST)} is needed (Docker 20.10 or Podman 4)"
        )
    if oldest > NEWEST:
        raise Unavailable(
            f"the container engine is too new for this wit: it wants version {_text(oldest)} of "
            f"the Engine API, and wit knows {_text(NEWEST)}"
        )
    return _text(min(newest, NEWEST))


def filters(**labels: str) -> dict[str, str]:
    """A query that selects by labels; the names are what follows ``dev.wit.``."""
    wanted = [f"dev.wit.{name}={value}" for name, value in labels.items()]
    return {"filters": json.dumps({"label": wanted})}


def escaped(name: str) -> str:
    """A name (of an image, of a network) as one part of a path."""
    return quote(name, safe="")


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _reason(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, dict):
        text = str(found.get("message") or found.get("cause") or text)
    return text or "nothing"


def _first_reason(error: Exception) -> str:
    """In words what Twisted says with a list of failures."""
    reasons = getattr(error, "reasons", None)
    return str(reasons[0].value) if reasons else str(error)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """For Twisted's Agent: all addresses are the engine's."""

    def __init__(self, make: Callable[[], IStreamClientEndpoint]) -> None:
        self._make = make

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self._make()
