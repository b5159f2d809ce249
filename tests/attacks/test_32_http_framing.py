"""HTTP that two parsers could read in two ways, and bodies that are not what they seem."""

from __future__ import annotations

import gzip

import pytest

from tests.support.quarry import Quarry
from tests.support.site import Site, new_name, refs
from tests.support.wire import (
    ZERO,
    Http,
    ask,
    commands,
    history,
    ls_refs,
    push_history,
    read_report,
    request,
    service_headers,
    shared_repository,
    sign_in,
)

pytestmark = pytest.mark.attack(32)

HOST = b"Host: wit\r\n"


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/x-git-upload-pack-request", "application/x-git-receive-pack-result",
     "application/x-git-receive-pack-request-x", "APPLICATION/X-GIT-RECEIVE-PACK"],
)  # fmt: skip
def test_a_push_with_another_content_type(site: Site, content_type: str) -> None:
    """What a web page can send without asking (a form, text) is never taken for a push."""
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    body = commands([(made.commit, ZERO, "refs/heads/main")])
    headers = {**sign_in(site.alice), "Content-Type": content_type}
    answer = ask(site.daemon, "POST", f"/{name}/git-receive-pack", headers, body)
    assert answer.status == 415, answer
    assert set(refs(site.disk(name))) == {"refs/heads/main"}


def test_methods(site: Site) -> None:
    name = new_name()
    push_history(site.daemon, site.alice, name)
    for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "BREW"):
        for service in ("git-upload-pack", "git-receive-pack"):
            headers = service_headers(site.alice, service)
            answer = ask(site.daemon, method, f"/{name}/{service}", headers)
            assert answer.status == 405, (method, answer)
            assert site.alice.token not in answer.text


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length: 4\r\nContent-Length: 4\r\n",
        b"Content-Length: 4, 4\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x4\r\n",
        b"Content-Length: 4 \x0b\r\n",
        b"Content-Length: \r\n",
        b"Content-Length : 4\r\n",
        b"Content-Length: " + b"9" * 30 + b"\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Transfer-Encoding: chunked\r\n x: y\r\n",
        b" Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"X: y\nTransfer-Encoding: chunked\r\n",
        b"X: y\rTransfer-Encoding: chunked\r\n",
        b"X: \0\r\n",
        b"X\r\n",
        b": x\r\n",
        b"Host: other\r\n",
    ],
)
def test_unclear_framing(site: Site, framing: bytes) -> None:
    """400, the connection ends, and what follows is not taken for a second request."""
    smuggled = b"GET /livez HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    with Http(site.daemon.http_port) as http:
        http.send(b"POST /livez HTTP/1.1\r\n" + HOST + framing + b"\r\n" + b"0\r\n\r\n" + smuggled)
        answer = http.answer()
        assert answer.status == 400, answer
        assert http.remainder() == b""


@pytest.mark.parametrize(
    "line",
    [b"GET  /livez HTTP/1.1", b"GET /livez", b"GET /livez HTTP/1.1 x", b"GET /li vez HTTP/1.1",
     b"GET livez HTTP/1.1", b"GET\t/livez\tHTTP/1.1", b"GET /livez HTTP/2.0", b"GET /livez HTTP/1.10",
     b"GET /livez http/1.1", b"GET /li\0vez HTTP/1.1", b"GET /\xff HTTP/1.1", b"G(T /livez HTTP/1.1",
     b"GET ftp://x/livez HTTP/1.1", b"CONNECT x:80 HTTP/1.1", b"PRI * HTTP/2.0", b"\x16\x03\x01\x02"],
)  # fmt: skip
def test_malformed_request_lines(site: Site, line: bytes) -> None:
    with Http(site.daemon.http_port) as http:
        answer = http.send(line + b"\r\n" + HOST + b"\r\n").answer()
        assert answer.status in (400, 505), answer
        assert http.remainder() == b""


@pytest.mark.parametrize(
    "chunks",
    [b"g\r\n", b"-4\r\n0000\r\n", b"+4\r\n0000\r\n", b"0x4\r\n0000\r\n", b"4 \n0000\r\n",
     b"4\r\n0000x\r\n", b"4\n0000\n0\n\n", b"f" * 17 + b"\r\n", b"4;" + b"x" * 2000 + b"\r\n",
     b"\r\n4\r\n0000", b"4\r\n0000\r\n0\r\n" + b"x: y\r\n" * 3000],
    ids=lambda chunks: repr(chunks)[:24],
)  # fmt: skip
def test_malformed_chunks(site: Site, chunks: bytes) -> None:
    name, _ = shared_repository(site)
    headers = service_headers(site.alice, "git-receive-pack", 0)
    headers["Transfer-Encoding"] = "chunked"
    with Http(site.daemon.http_port) as http:
        http.send(request("POST", f"/{name}/git-receive-pack", headers) + chunks)
        http.send(b"GET /livez HTTP/1.1\r\nHost: smuggled\r\n\r\n")
        said = http.remainder()
    assert b"smuggled" not in said and said.count(b"HTTP/1.1 ") == 1, said
    assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431", b"HTTP/1.1 200")), said


def test_pipelined_requests_are_answered_in_their_order(site: Site) -> None:
    """CVE-2024-41671: answers must not change places, whoever is faster."""
    name, _ = shared_repository(site)
    slow = request(
        "POST",
        f"/{name}/git-upload-pack",
        service_headers(site.alice, "git-upload-pack"),
        ls_refs(),
    )
    fast = request("GET", "/livez")
    missing = request("GET", "/alice/no-such/info/refs?service=git-upload-pack", sign_in(site.bob))
    with Http(site.daemon.http_port) as http:
        http.send((slow + fast + missing) * 20)
        for _ in range(20):
            first, second, third = http.answer(), http.answer(), http.answer()
            assert first.status == 200 and b"refs/heads/main" in first.body
            assert second.status == 200 and b"refs" not in second.body
            assert third.status == 404


def test_one_signed_in_request_lends_nothing_to_the_next(site: Site) -> None:
    name, _ = shared_repository(site)
    target = f"/{name}/info/refs?service=git-upload-pack"
    with Http(site.daemon.http_port) as http:
        for person, status in ((site.alice, 200), (None, 401), (site.bob, 404), (site.alice, 200)):
            assert http.send(request("GET", target, sign_in(person))).answer().status == status


def test_a_pipeline_that_is_never_read_is_not_collected(site: Site) -> None:
    quarry = Quarry(site.daemon)
    before = quarry.rss()
    block = request("GET", "/livez") * 2000
    sent = 0
    with Http(site.daemon.http_port) as http:
        http.socket.settimeout(0.5)
        try:
            while sent < 400:
                http.socket.sendall(block)
                sent += 1
        except TimeoutError:
            pass
        assert sent < 400
        assert quarry.rss() - before < 8 * 1024 * 1024


def test_a_request_behind_an_unread_body_is_not_lost_nor_mistaken(site: Site) -> None:
    """The answer to a refused push comes first; its body is no request."""
    name, _ = shared_repository(site)
    made = history()
    inner = request("GET", "/livez", {"Host": "smuggled"})
    body = commands([(ZERO, made.commit, "refs/heads/x")]) + inner
    push = request(
        "POST", f"/{name}/git-receive-pack", service_headers(site.bob, "git-receive-pack"), body
    )
    with Http(site.daemon.http_port) as http:
        http.send(push + request("GET", "/readyz"))
        assert http.answer().status == 404
        assert http.answer().status == 200
        http.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            http.socket.recv(1)


def test_gzip_bodies(site: Site) -> None:
    name, _ = shared_repository(site)
    good = gzip.compress(ls_refs("peel"))
    headers = service_headers(site.alice, "git-upload-pack")
    target = f"/{name}/git-upload-pack"
    cases = [
        ("gzip", good, 200), ("x-gzip", good, 200), ("GZIP", good, 200), ("identity", ls_refs(), 200),
        ("gzip", good[:20], 400), ("gzip", ls_refs(), 400), ("gzip", b"", 400),
        ("deflate", good, 415), ("br", good, 415), ("gzip, gzip", good, 415),
        ("gzip", gzip.compress(b"\0" * 50_000_000), 413),
    ]  # fmt: skip
    for encoding, body, status in cases:
        answer = ask(site.daemon, "POST", target, headers | {"Content-Encoding": encoding}, body)
        refused = answer.status == 200 and b"ERR " in answer.body[:8]
        assert answer.status == status or (status in (400, 413) and refused), (encoding, answer)
        assert (b"refs/heads/main" in answer.body) == (status == 200)


def test_heads_that_are_too_long(site: Site) -> None:
    for head in (b"X: " + b"x" * 70_000 + b"\r\n", b"X: y\r\n" * 200, b"X" * 70_000):
        with Http(site.daemon.http_port) as http:
            try:
                http.send(b"GET /livez HTTP/1.1\r\n" + HOST + head + b"\r\n")
            except OSError:
                pass
            said = http.remainder()
        assert said.startswith(b"HTTP/1.1 431") or not said, said[:100]


def test_an_answer_repeats_nothing_of_the_request(site: Site) -> None:
    """No header can be written into an answer from a path, a query or a header."""
    evil = "%0d%0aX-Evil:%20yes"
    for target in (f"/{evil}/{evil}/info/refs?service=git-upload-pack", f"/livez?{evil}",
                   f"/alice/x/info/refs?service={evil}", f"/{evil}"):  # fmt: skip
        answer = ask(
            site.daemon, "GET", target, {"X-Trace-Id": "a\tb", "Git-Protocol": "version=9"}
        )
        assert "x-evil" not in answer.headers
        assert "<" not in answer.text or answer.headers["content-type"].startswith("text/plain")
    trace = ask(site.daemon, "GET", "/livez", {"X-Trace-Id": "<script>"}).headers["x-trace-id"]
    assert "<" not in trace


def test_the_dumb_protocol_is_answered_clearly(site: Site) -> None:
    name, _ = shared_repository(site)
    for path in ("info/refs", "HEAD", "objects/info/packs", "objects/info/alternates",
                 "objects/00/" + "0" * 38, "config"):  # fmt: skip
        answer = ask(site.daemon, "GET", f"/{name}/{path}", sign_in(site.alice))
        assert answer.status in (400, 403, 404), answer
        assert "refs/heads" not in answer.text and "repositoryformatversion" not in answer.text


def test_a_push_in_chunks_goes_in(site: Site) -> None:
    """What the refusals above are measured against."""
    name = new_name()
    made = history()
    body = commands([(ZERO, made.commit, "refs/heads/main")]) + made.pack
    headers = service_headers(site.alice, "git-receive-pack", 0)
    headers |= {"Transfer-Encoding": "Chunked", "Content-Encoding": "gzip"}
    packed = gzip.compress(body)
    with Http(site.daemon.http_port) as http:
        http.send(request("POST", f"/{name}/git-receive-pack", headers))
        for start in range(0, len(packed), 7):
            piece = packed[start : start + 7]
            http.send(b"%X;x=y\r\n%b\r\n" % (len(piece), piece))
        answer = http.send(b"0\r\nTrailer: x\r\n\r\n").answer()
    assert read_report(answer.body).refs == {"refs/heads/main": "ok"}
