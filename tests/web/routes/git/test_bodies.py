"""The body of a request and of its answer: compressed, too large, cut by an error."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from tests.web.harness import Online
from tests.web.routes.git.support import UPLOAD, body_of, get, request, rpc, status
from tests.web.routes.standin import Session, Traffic
from wit.errors import Conflict, RateLimited, Unavailable
from wit.git import pktline
from wit.metrics import Metrics
from wit.web.routes.git import ONLY_SMART


@pytest.mark.attack(32)
def test_content_types(site: Online, traffic: Traffic) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = site.exchange(rpc("git-upload-pack", b"0000", kind=kind))
        assert status(answer) == 415
    assert status(site.exchange(request(b"POST", UPLOAD, body=b"0000"))) == 415
    assert traffic.opened == []


@pytest.mark.attack(33)
def test_a_refused_push_is_not_asked_for_its_body(site: Online) -> None:
    answer = site.exchange(
        rpc("git-receive-pack", b"", b"Content-Length: 1000000000", b"Expect: 100-continue")
    )
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"Connection: close" in answer


def test_too_large_a_request_is_refused_before_it_is_read(site: Online) -> None:
    answer = site.exchange(rpc("git-upload-pack", b"", b"Content-Length: 100000000"))
    assert status(answer) == 413


class Scripted(Session):
    """Writes, then raises."""

    def __init__(self, *script: bytes | Exception) -> None:
        self.script = script

    async def advertise(self, protocol: int, sink: Any) -> None:
        for step in self.script:
            if isinstance(step, Exception):
                raise step
            await sink.write(step)

    async def serve_request(self, protocol: int, source: Any, sink: Any) -> None:
        self.received = b""
        while data := await source.read():
            self.received += data
        await self.advertise(protocol, sink)


def scripted(traffic: Traffic, *script: bytes | Exception) -> Scripted:
    session = Scripted(*script)

    async def open_it(*arguments: Any) -> Any:
        return session

    traffic.open = open_it  # type: ignore[method-assign, assignment]
    return session


def test_gzip_bodies(site: Online, traffic: Traffic) -> None:
    session = scripted(traffic, b"0000")
    body = b"want something " * 10_000
    packed = gzip.compress(body)
    answer = site.exchange(rpc("git-upload-pack", packed, b"Content-Encoding: gzip"))
    assert status(answer) == 200
    assert session.received == body
    answer = site.exchange(rpc("git-upload-pack", packed, b"Content-Encoding: deflate"))
    assert status(answer) == 415
    answer = site.exchange(rpc("git-upload-pack", packed[:-9], b"Content-Encoding: gzip"))
    assert status(answer) == 400
    answer = site.exchange(rpc("git-upload-pack", b"not gzip", b"Content-Encoding: gzip"))
    assert status(answer) == 400


@pytest.mark.attack(17, 32)
def test_gzip_bombs(site: Online, traffic: Traffic) -> None:
    session = scripted(traffic, b"0000")
    bomb = gzip.compress(b"\0" * (64 * 1024 * 1024))
    for service in ("git-upload-pack", "git-receive-pack"):
        answer = site.exchange(rpc(service, bomb, b"Content-Encoding: gzip"))
        assert status(answer) == 413
        assert len(session.received) < 8 * 1024 * 1024


def test_errors_before_the_first_byte_are_http_errors(site: Online, traffic: Traffic) -> None:
    for error, expected, words in (
        (Conflict("somebody was faster"), 409, b"somebody was faster\n"),
        (RateLimited("too often", retry_after=9), 429, b"too often\n"),
        (Unavailable("full", retry_after=3), 503, b"full\n"),
        (RuntimeError("secret"), 500, b"internal error, request id "),
    ):
        scripted(traffic, error)
        answer = site.exchange(rpc("git-upload-pack", b"0000"))
        assert status(answer) == expected
        assert body_of(answer).startswith(words)
        assert b"secret" not in answer
        assert b"Content-Type: text/plain; charset=utf-8" in answer
        retry = getattr(error, "retry_after", None)
        assert (b"Retry-After: %d\r\n" % retry in answer) if retry else b"Retry-After" not in answer


def test_errors_after_the_first_byte_are_told_in_gits_protocol(
    site: Online, traffic: Traffic
) -> None:
    nak = pktline.encode(b"NAK\n")
    progress = pktline.sideband(2, b"Counting\n")
    scripted(traffic, nak, Conflict("changed"))
    assert body_of(site.exchange(rpc("git-upload-pack", b"0000"))) == nak + pktline.error("changed")
    scripted(traffic, nak + progress, Conflict("changed"))
    assert body_of(
        site.exchange(rpc("git-upload-pack", b"0000"))
    ) == nak + progress + pktline.sideband(3, b"changed\n")
    scripted(traffic, nak + progress[:-3], Conflict("changed"))
    cut = site.exchange(rpc("git-upload-pack", b"0000"))
    assert not cut.endswith(b"0\r\n\r\n")
    assert b"changed" not in cut


def test_bytes_and_outcomes_are_counted(site: Online, metrics: Metrics, traffic: Traffic) -> None:
    scripted(traffic, b"0000")
    site.exchange(rpc("git-upload-pack", b"0009done\n"))
    site.exchange(get(b"/public/tools/HEAD"))
    value = metrics.registry.get_sample_value
    assert value("wit_received_bytes_total", {"door": "http"}) == 9
    assert value("wit_requests_total", {"door": "http", "outcome": "ok"}) == 1
    assert value("wit_requests_total", {"door": "http", "outcome": "refused"}) == 1
    assert value("wit_sent_bytes_total", {"door": "http"}) == 4 + len(ONLY_SMART) + 1
