from __future__ import annotations

import gzip
import itertools
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.harness import Online, online
from tests.web.routes.standin import PASSWORD, Credentials, Session, Traffic
from wit.config import Config
from wit.errors import Conflict, Invalid, RateLimited, Unavailable
from wit.git import pktline
from wit.metrics import Metrics
from wit.repositories.traffic import Service
from wit.runtime import Runtime
from wit.web.routes.git import (
    ONLY_SMART,
    GitDoor,
    PacketWatch,
    decode_segment,
    protocol_version,
    requested_service,
)

UPLOAD = b"/public/tools/git-upload-pack"
BASIC = b"Authorization: Basic " + b64encode(f"alice:{PASSWORD}".encode())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A bare repository with one commit."""
    work, bare = tmp_path / "work", tmp_path / "tools.git"
    git("init", "--quiet", "-b", "main", str(work))
    (work / "file").write_text("content\n" * 1000)
    git("-C", str(work), "add", ".")
    git("-C", str(work), "commit", "--quiet", "-m", "first")
    git("clone", "--quiet", "--bare", str(work), str(bare))
    return bare


def git(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments], check=check, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def traffic(runtime: Runtime, repository: Path) -> Traffic:
    return Traffic(runtime, repository)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def site(
    run: Callable[[Any], Any],
    runtime: Runtime,
    traffic: Traffic,
    metrics: Metrics,
    tmp_path: Path,
) -> Iterator[Online]:
    door = GitDoor(traffic, Credentials(), Config(tmp_path), metrics)
    with online(run, runtime, [door.route], metrics=metrics) as served:
        yield served


def get(path: bytes, *headers: bytes) -> bytes:
    return request(b"GET", path, *headers)


def request(method: bytes, path: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: h", b"Connection: close", *headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def rpc(
    service: str, body: bytes, *headers: bytes, path: bytes = b"/public/tools", kind: str = ""
) -> bytes:
    content_type = kind or f"application/x-{service}-request"
    return request(
        b"POST",
        path + b"/" + service.encode(),
        b"Content-Type: " + content_type.encode(),
        *headers,
        body=body,
    )


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"Transfer-Encoding: chunked" not in head:
        return body
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        parts.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(parts)


@pytest.mark.parametrize("protocol", ["0", "1", "2"])
def test_git_clones_and_pushes(site: Online, protocol: str, tmp_path: Path) -> None:
    config = ("-c", f"protocol.version={protocol}")
    url = f"{site.url}/public/tools.git"
    git(*config, "clone", "--quiet", url, str(tmp_path / "clone"))
    assert (tmp_path / "clone" / "file").read_text() == "content\n" * 1000
    clone = ("-C", str(tmp_path / "clone"), *config)
    git(*clone, "commit", "--quiet", "--allow-empty", "-m", "second")
    refused = git(*clone, "push", "--quiet", url, "main", check=False)
    assert refused.returncode != 0
    assert "could not read Username" in refused.stderr
    password = PASSWORD.replace(" ", "%20").replace("ü", "%C3%BC").replace(":", "%3A")
    signed_in = url.replace("http://", f"http://alice:{password}@")
    git(*clone, "push", "--quiet", signed_in, "main")
    head = git(*clone, "rev-parse", "HEAD").stdout.split()[0]
    assert head in git(*config, "ls-remote", url, "refs/heads/main").stdout


def test_the_advertisement(site: Online, traffic: Traffic) -> None:
    answer = site.exchange(get(b"/public/tools/info/refs?service=git-upload-pack"))
    assert status(answer) == 200
    assert b"Content-Type: application/x-git-upload-pack-advertisement\r\n" in answer
    assert b"Cache-Control: no-cache, max-age=0, must-revalidate\r\n" in answer
    assert body_of(answer).startswith(b"001e# service=git-upload-pack\n0000")
    name, path, service, info = traffic.opened[-1]
    assert (name, path, service) == ("anonymous", "public/tools", Service.UPLOAD_PACK)
    assert info.address == "127.0.0.1"
    assert info.door == "http"
    assert f"X-Request-Id: {info.request_id}".encode() in answer

    v2 = site.exchange(
        get(b"/public/tools/info/refs?service=git-upload-pack", b"Git-Protocol: version=2")
    )
    assert body_of(v2).startswith(b"000eversion 2\n")


def test_pushing_has_no_version_2(site: Online) -> None:
    answer = site.exchange(
        get(
            b"/public/tools/info/refs?service=git-receive-pack",
            b"Git-Protocol: version=2",
            BASIC,
        )
    )
    assert body_of(answer).startswith(b"001f# service=git-receive-pack\n0000")


@pytest.mark.parametrize(
    ("header", "version"),
    [
        (None, 0),
        ("", 0),
        ("version=1", 1),
        ("version=2", 2),
        ("a=b:version=2:version=1", 2),
        ("version=3", 0),
        ("version=22", 0),
        (" version=2", 0),
        ("version=2,version=1", 0),
        ("VERSION=2", 0),
        ("version=\u0662", 0),
    ],
)
def test_protocol_versions(header: str | None, version: int) -> None:
    assert protocol_version(header, Service.UPLOAD_PACK) == version
    assert protocol_version(header, Service.RECEIVE_PACK) == (0 if version == 2 else version)


def test_services() -> None:
    assert requested_service(b"service=git-upload-pack") == "git-upload-pack"
    assert requested_service(b"a=b&service=git%2dreceive-pack") == "git-receive-pack"
    for query in (
        b"",
        b"service=",
        b"service=git-upload-archive",
        b"service=git-upload-pack&service=git-receive-pack",
    ):
        with pytest.raises(Invalid):
            requested_service(query)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/public/tools/info/refs", 400),
        (b"/public/tools/info/refs?service=git-upload-archive", 400),
        (b"/public/tools/HEAD", 403),
        (b"/public/tools/objects/info/packs", 403),
        (b"/public/tools/git-upload-pack", 405),
        (b"/api/tools/info/refs?service=git-upload-pack", 404),
        (b"/public/tools", 404),
        (b"/a/public/tools/info/refs", 404),
    ],
)
def test_other_paths(site: Online, path: bytes, expected: int) -> None:
    answer = site.exchange(get(path))
    assert status(answer) == expected
    if expected in (400, 403, 405):
        assert b"Content-Type: text/plain; charset=utf-8\r\n" in answer
    if expected != 404 and path.endswith((b"info/refs", b"HEAD", b"packs")):
        assert body_of(answer) == ONLY_SMART.encode() + b"\n"


def test_archives_are_refused_clearly(site: Online) -> None:
    answer = site.exchange(request(b"POST", b"/public/tools/git-upload-archive", body=b"0000"))
    assert status(answer) == 403
    assert b"git archive is not served" in answer


@pytest.mark.attack(28, 31)
@pytest.mark.parametrize(
    "path",
    [
        b"/public/missing",
        b"/nobody/tools",
        b"/public/..%2ftools",
        b"/public/%2e%2e",
        b"/public/..",
        b"/./tools",
        b"/public/tools%00",
        b"/public/tools%2f",
        b"/public/tools%5c..",
        b"/public/..\\tools",
        b"/public/%ff%fe",
        b"/public/%zz",
        b"/public/tools%252e",
        b"/public%2ftools/x",
        b"/public/" + b"x" * 5000,
    ],
)
def test_missing_and_malformed_look_the_same(site: Online, path: bytes) -> None:
    suffix = b"/info/refs?service=git-upload-pack"
    missing = site.exchange(get(b"/public/absent" + suffix))
    assert status(missing) == 401
    assert b'WWW-Authenticate: Basic realm="wit", charset="UTF-8"\r\n' in missing
    assert without_identifiers(site.exchange(get(path + suffix))) == without_identifiers(missing)
    missing = site.exchange(get(b"/public/absent" + suffix, BASIC))
    assert status(missing) == 404
    answer = site.exchange(get(path + suffix, BASIC))
    assert without_identifiers(answer) == without_identifiers(missing)


def without_identifiers(answer: bytes) -> list[bytes]:
    return [
        line
        for line in answer.split(b"\r\n")
        if not line.startswith((b"X-Request-Id", b"X-Trace-Id", b"Date"))
    ]


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        (b"tools", "tools"),
        (b"%74ools", "tools"),
        (b"t%C3%BCr", "tür"),
        (b"%2574ools", "%74ools"),
        (b"a%2Fb", "a%2Fb"),
        (b"a%00", "a%00"),
        (b"%ff", "%ff"),
        (b"%7", "%7"),
        (b"%5c", "\\"),
    ],
)
def test_segments_are_decoded_once(raw: bytes, decoded: str) -> None:
    assert decode_segment(raw) == decoded


@pytest.mark.attack(29)
def test_wrong_credentials(site: Online) -> None:
    path = b"/public/tools/info/refs?service=git-upload-pack"
    for header, expected in (
        (b"Authorization: Basic " + b64encode(b"alice:wrong"), 401),
        (b"Authorization: Basic " + b64encode(PASSWORD.encode()), 401),
        (b"Authorization: Basic !!!", 401),
        (b"Authorization: Negotiate YII=", 401),
        (b"Authorization: Bearer wit_nobody", 401),
        (b"Authorization: Bearer wit_mallory", 403),
        (b"Authorization: Bearer wit_alice", 200),
        (BASIC, 200),
    ):
        answer = site.exchange(get(path, header))
        assert status(answer) == expected, header
        assert (b"WWW-Authenticate: Basic" in answer) == (expected == 401)
    assert status(site.exchange(get(path, BASIC, BASIC))) == 401
    by_query = b"/public/tools/info/refs?service=git-receive-pack&access_token=wit_alice"
    assert status(site.exchange(get(by_query))) == 401


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


packets = st.lists(
    st.one_of(
        st.sampled_from([pktline.FLUSH, pktline.DELIM, pktline.RESPONSE_END]),
        st.binary(max_size=30).map(pktline.encode),
        st.binary(min_size=1, max_size=30).map(lambda data: pktline.sideband(1, data)),
    ),
    min_size=1,
    max_size=8,
)


@given(packets, st.lists(st.integers(0, 1000), max_size=20))
def test_the_watch_knows_where_packets_end(stream: list[bytes], cuts: list[int]) -> None:
    data = b"".join(stream)
    ends = set()
    position = 0
    for packet in stream:
        position += len(packet)
        ends.add(position)
    watch = PacketWatch()
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        watch.feed(data[start:end])
        assert watch.between_packets == (end in ends)
    with_payload = [packet for packet in stream if len(packet) > 4]
    assert watch.sideband == bool(with_payload and with_payload[-1][4] in (1, 2))


def test_the_watch_gives_up_in_a_raw_pack() -> None:
    watch = PacketWatch()
    watch.feed(pktline.encode(b"NAK\n") + b"PACK\0\0\0\2" + bytes(1000))
    assert not watch.between_packets
