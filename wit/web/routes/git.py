"""Git's smart HTTP protocol: gitprotocol-http(5). Everything that is about HTTP and nothing that
is about git: the session does the rest.

Who may do what is decided by ``GitTraffic.open`` before a byte of the body is read.
"""

from __future__ import annotations

import re
from typing import Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

from twisted.internet.defer import CancelledError

from wit import config
from wit.access.actor import ANONYMOUS, Actor
from wit.errors import (
    Forbidden,
    Invalid,
    MethodNotSupported,
    TooLarge,
    Unauthorized,
    UnsupportedMediaType,
)
from wit.git import pktline
from wit.git.advertise import service_header
from wit.git.names import RESERVED_OWNERS
from wit.metrics import Metrics
from wit.repositories.traffic import GitSession, RequestInfo, Service
from wit.streams import StreamClosed
from wit.web.answers import TEXT
from wit.web.middleware.bodies import decoded
from wit.web.middleware.credentials import Checker, actor_of
from wit.web.streaming import Handler, Request

DOOR = "http"

CHALLENGE = b'Basic realm="wit", charset="UTF-8"'

ONLY_SMART = "this server speaks only the smart HTTP protocol; use git 1.6.6 or newer"

PUSH_MARGIN = 16 * 1024 * 1024
"""Bytes of a push besides its pack: the commands, one line for each ref."""

_PATH = re.compile(
    rb"/([^/]+)/([^/]+)/(info/refs|git-upload-pack|git-receive-pack|git-upload-archive"
    rb"|HEAD|objects/.+)"
)
_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_VERSION = re.compile(r"version=([0-9])")

_SERVICES = {
    "git-upload-pack": Service.UPLOAD_PACK,
    "git-receive-pack": Service.RECEIVE_PACK,
}

_NEVER_CACHE = (
    (b"Expires", b"Fri, 01 Jan 1980 00:00:00 GMT"),
    (b"Pragma", b"no-cache"),
    (b"Cache-Control", b"no-cache, max-age=0, must-revalidate"),
)


class Traffic(Protocol):
    """wit.repositories.traffic.GitTraffic, as far as it is used here."""

    async def open(
        self, actor: Actor, path: str, service: Service, request: RequestInfo
    ) -> GitSession: ...


class GitDoor:
    def __init__(
        self, traffic: Traffic, credentials: Checker, settings: config.Config, metrics: Metrics
    ) -> None:
        self._traffic = traffic
        self._credentials = credentials
        self._limits = {
            Service.UPLOAD_PACK: settings.git.negotiation_bytes,
            Service.RECEIVE_PACK: settings.repositories.max_push_bytes + PUSH_MARGIN,
        }
        self._sent = metrics.bytes_sent.labels(DOOR)
        self._received = metrics.bytes_received.labels(DOOR)

    def route(self, request: Request) -> Handler | None:
        match = _PATH.fullmatch(request.path)
        if match is None:
            return None
        owner, repo, what = match.groups()
        if owner.decode("ascii").lower() in RESERVED_OWNERS:
            return None
        path = f"{decode_segment(owner)}/{decode_segment(repo)}"
        name = what.decode("ascii")

        async def handler(request: Request) -> None:
            answer = _Answer(request)
            try:
                if name == "info/refs":
                    await self._advertise(request, path, answer)
                elif name in _SERVICES:
                    await self._serve(request, path, name, answer)
                elif name == "git-upload-archive":
                    raise Forbidden("git archive is not served; clone with --depth 1 instead")
                else:
                    raise Forbidden(ONLY_SMART)
            except (CancelledError, StreamClosed):
                raise
            except Exception as error:
                await answer.fail(error)
            finally:
                self._sent.inc(request.sentLength)
                self._received.inc(request.body.received)

        return handler

    async def _advertise(self, request: Request, path: str, answer: _Answer) -> None:
        if request.method != b"GET":
            request.setHeader(b"Allow", b"GET")
            raise MethodNotSupported("use GET here")
        name = requested_service(request.query)
        service = _SERVICES[name]
        session = await self._open(request, path, service)
        protocol = protocol_version(request.header(b"Git-Protocol"), service)
        answer.prepare(f"application/x-{name}-advertisement")
        if protocol != 2:
            answer.prefix = service_header(name)
        await session.advertise(protocol, answer)

    async def _serve(self, request: Request, path: str, name: str, answer: _Answer) -> None:
        if request.method != b"POST":
            request.setHeader(b"Allow", b"POST")
            raise MethodNotSupported("use POST here")
        content_type = (request.header(b"Content-Type") or "").partition(";")[0].strip()
        if content_type != f"application/x-{name}-request":
            raise UnsupportedMediaType(f"the Content-Type must be application/x-{name}-request")
        service = _SERVICES[name]
        session = await self._open(request, path, service)
        limit = self._limits[service]
        if request.body.length is not None and request.body.length > limit:
            raise TooLarge(f"the request body is larger than {limit} bytes")
        source = decoded(request.body, request.header(b"Content-Encoding"), limit)
        protocol = protocol_version(request.header(b"Git-Protocol"), service)
        answer.prepare(f"application/x-{name}-result")
        await session.serve_request(protocol, source, answer)

    async def _open(self, request: Request, path: str, service: Service) -> GitSession:
        """Decide. A path that can name no repository is refused by ``open`` like a missing one,
        so that nothing can be learned about what there is (attack list, line 28)."""
        actor = ANONYMOUS
        authorization = request.requestHeaders.getRawHeaders(b"Authorization")
        if authorization:
            actor = await actor_of(authorization, self._credentials, request.address)
        request.actor_name = actor.username
        info = RequestInfo(request_id=request.request_id, address=request.address, door=DOOR)
        return await self._traffic.open(actor, path, service, info)


class _Answer:
    """The ByteSink of one answer. Nothing is committed before its first byte, so that until then
    an error can be a proper HTTP answer; after it, an error is told inside git's protocol."""

    def __init__(self, request: Request) -> None:
        self.prefix = b""
        self._request = request
        self._watch = PacketWatch()
        self._sized = False

    def announce(self, size: int) -> None:
        """The answer is a file of known size. From then on no error can be told inside it: the
        client sees that bytes are missing."""
        self._sized = True
        self._request.setHeader(b"Content-Length", b"%d" % size)

    def prepare(self, content_type: str) -> None:
        self._request.prepare(200, content_type)
        for name, value in _NEVER_CACHE:
            self._request.setHeader(name, value)

    async def write(self, data: bytes) -> None:
        if self.prefix:
            data, self.prefix = self.prefix + data, b""
        if not self._sized:
            self._watch.feed(data)
        await self._request.sink().write(data)

    async def fail(self, error: Exception) -> None:
        """git shows a text/plain body, an ERR packet and side-band 3 to its user."""
        request = self._request
        message, _ = request.refuse(error)
        if not request.startedWriting:
            if isinstance(error, Unauthorized):
                request.setHeader(b"WWW-Authenticate", CHALLENGE)
            request.answer(request.code, TEXT, message.encode() + b"\n")
        elif self._sized or not self._watch.between_packets:
            request.break_off()
        elif self._watch.sideband:
            await request.sink().write(pktline.sideband(3, message.encode() + b"\n"))
        else:
            await request.sink().write(pktline.error(message))


class PacketWatch:
    """Whether a stream of pkt-lines stands between two packets, and whether the last of them was
    one of a side-band: that is what an error message at this point must look like."""

    def __init__(self) -> None:
        self.between_packets = True
        self.sideband = False
        self._left = 0
        self._header = b""

    def feed(self, data: bytes) -> None:
        position = 0
        end = len(data)
        while position < end and self._left >= 0:
            if self._left:
                if len(self._header) == 4:
                    # In v2, everything behind the line "packfile" is side-band.
                    start = data.startswith(b"packfile\n", position)
                    self.sideband = start or data[position] in (1, 2)
                    self._header = b""
                step = min(self._left, end - position)
                self._left -= step
                position += step
                continue
            take = 4 - len(self._header)
            self._header += data[position : position + take]
            position += take
            if len(self._header) == 4:
                self._open_packet()
        self.between_packets = not self._left and not self._header

    def _open_packet(self) -> None:
        try:
            length = int(self._header, 16)
        except ValueError:
            self._left = -1  # a raw pack: no packets from here on
            return
        self._left = max(0, length - 4)
        if not self._left:
            self._header = b""


def requested_service(query: bytes) -> str:
    """The service that ``GET info/refs`` asks for. Raises Invalid."""
    if query.startswith(b"service=") and query[8:].decode("ascii") in _SERVICES:
        return query[8:].decode("ascii")
    values = [value for key, value in parse_qsl(query.decode("ascii")) if key == "service"]
    if not values:
        raise Invalid(ONLY_SMART)
    if len(values) > 1 or values[0] not in _SERVICES:
        raise Invalid("the service must be git-upload-pack or git-receive-pack")
    return values[0]


def protocol_version(header: str | None, service: Service) -> int:
    """The version that a Git-Protocol header asks for: the highest that we speak, as in git.

    There is no version 2 of pushing: version 0 it is then.
    """
    if not header:
        return 0
    version = 0
    for key in header.split(":"):
        match = _VERSION.fullmatch(key)
        if match and int(match[1]) <= 2:
            version = max(version, int(match[1]))
    return 0 if version == 2 and service is Service.RECEIVE_PACK else version


def decode_segment(raw: bytes) -> str:
    """One path segment, percent-decoded once.

    What does not decode to a plain segment of UTF-8 stays as it was sent. No name contains a
    percent sign or a backslash, so the one normaliser then refuses it like any missing name.
    """
    if b"%" not in raw:
        return raw.decode("ascii")
    decoded = unquote_to_bytes(raw)
    try:
        text = decoded.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("ascii")
    if _ESCAPE.search(raw) or "/" in text or "\0" in text:
        return raw.decode("ascii")
    return text
