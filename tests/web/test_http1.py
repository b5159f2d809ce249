from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.web.http1 import (
    MAX_CHUNK_LINE,
    MAX_HEADERS,
    MAX_TRAILERS,
    BadRequest,
    ChunkedDecoder,
    LengthDecoder,
    parse_head,
)


def head(*lines: str) -> bytes:
    return "\r\n".join(lines).encode("latin-1")


def test_a_plain_request() -> None:
    parsed = parse_head(head("GET /a%20b?x=1 HTTP/1.1", "Host: h", "X-Two:  two words \t"))
    assert (parsed.method, parsed.target, parsed.version) == (b"GET", b"/a%20b?x=1", b"HTTP/1.1")
    assert parsed.headers == [(b"Host", b"h"), (b"X-Two", b"two words")]
    assert parsed.length == 0
    assert parsed.keep_alive
    assert not parsed.expects_continue


@pytest.mark.parametrize(
    ("target", "path"),
    [("http://h:80/a?b", b"/a?b"), ("HTTPS://h", b"/"), ("http://h?q", b"/?q"), ("/", b"/")],
)
def test_absolute_targets_lose_their_host(target: str, path: bytes) -> None:
    assert parse_head(head(f"GET {target} HTTP/1.1", "Host: h")).target == path


@pytest.mark.parametrize(
    ("line", "keep_alive"),
    [
        ("Connection: keep-alive", True),
        ("Connection: close", False),
        ("Connection: TE,Close", False),
        ("X: close", True),
    ],
)
def test_persistence(line: str, keep_alive: bool) -> None:
    assert parse_head(head("GET / HTTP/1.1", "Host: h", line)).keep_alive is keep_alive


def test_http_1_0_closes_and_needs_no_host() -> None:
    assert not parse_head(head("GET / HTTP/1.0", "Connection: keep-alive")).keep_alive


def test_body_lengths() -> None:
    start = ("POST / HTTP/1.1", "Host: h")
    assert parse_head(head(*start, "Content-Length: 12")).length == 12
    assert parse_head(head(*start, "Transfer-Encoding: Chunked")).length is None
    assert parse_head(head(*start, "Content-Length: 1", "Expect: 100-Continue")).expects_continue


@pytest.mark.attack(32)
@pytest.mark.parametrize(
    "lines",
    [
        ("GET / HTTP/1.1",),
        ("GET / HTTP/1.1", "Host: a", "Host: b"),
        ("GET  / HTTP/1.1", "Host: h"),
        ("GET / HTTP/1.1 ", "Host: h"),
        ("GET /\x80 HTTP/1.1", "Host: h"),
        ("G(T / HTTP/1.1", "Host: h"),
        ("GET nothing HTTP/1.1", "Host: h"),
        ("GET * HTTP/1.1", "Host: h"),
        ("GET / HTTP/1.1", "Host: h", "no colon"),
        ("GET / HTTP/1.1", "Host: h", "Space : x"),
        ("GET / HTTP/1.1", "Host: h", " folded"),
        ("GET / HTTP/1.1", "Host: h", "X: a\nY: b"),
        ("GET / HTTP/1.1", "Host: h", "X: a\rb"),
        ("GET / HTTP/1.1", "Host: h", "X: \0"),
        ("GET / HTTP/1.1", "Host: h", ": empty"),
        ("POST / HTTP/1.1", "Host: h", "Content-Length: 1", "Transfer-Encoding: chunked"),
        ("POST / HTTP/1.1", "Host: h", "Content-Length: 1", "Content-Length: 1"),
        ("POST / HTTP/1.1", "Host: h", "Content-Length: 1, 1"),
        ("POST / HTTP/1.1", "Host: h", "Content-Length: -1"),
        ("POST / HTTP/1.1", "Host: h", "Content-Length: +1"),
        ("POST / HTTP/1.1", "Host: h", "Content-Length: 1_0"),
        ("POST / HTTP/1.1", "Host: h", "Content-Length: 0x10"),
        ("POST / HTTP/1.1", "Host: h", "Content-Length: \xb2"),
        ("POST / HTTP/1.1", "Host: h", "Content-Length:"),
        ("POST / HTTP/1.1", "Host: h", "Content-Length: " + "9" * 400),
        ("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: identity"),
        ("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: gzip, chunked"),
        ("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: xchunked"),
        ("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("POST / HTTP/1.0", "Transfer-Encoding: chunked"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_head(head(*lines))
    assert refusal.value.status == 400


def test_versions_and_counts() -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_head(head("GET / HTTP/2.0", "Host: h"))
    assert refusal.value.status == 505
    with pytest.raises(BadRequest) as refusal:
        parse_head(head("GET / HTTP/1.1", *["Host: h"] * (MAX_HEADERS + 1)))
    assert refusal.value.status == 431


@given(st.binary(max_size=300))
def test_arbitrary_bytes_parse_or_are_refused(data: bytes) -> None:
    try:
        parsed = parse_head(data)
    except BadRequest:
        return
    assert parsed.target.startswith(b"/") or parsed.target == b"*"


def feed_in_pieces(decoder: ChunkedDecoder | LengthDecoder, data: bytes, cuts: list[int]) -> bytes:
    """As a channel does: what comes behind the body's end is not the decoder's."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    out = []
    rest = b""
    for start, end in itertools.pairwise(edges):
        if decoder.complete:
            rest += data[start:end]
        else:
            out += decoder.feed(data[start:end])
            rest += decoder.rest
    return b"".join(out) + b"|" + rest


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.binary(max_size=30),
    st.lists(st.integers(0, 10_000), max_size=30),
    st.sampled_from([b"", b";a", b' ;n="v"']),
    st.sampled_from([b"", b"Trailer: x\r\n"]),
)
def test_chunks_come_through_however_they_are_cut(
    chunks: list[bytes], behind: bytes, cuts: list[int], extension: bytes, trailer: bytes
) -> None:
    wire = b"".join(b"%X%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    wire += b"000" + extension + b"\r\n" + trailer + b"\r\n" + behind
    decoder = ChunkedDecoder()
    assert feed_in_pieces(decoder, wire, cuts) == b"".join(chunks) + b"|" + behind
    assert decoder.complete


@given(st.binary(max_size=60), st.binary(max_size=30), st.lists(st.integers(0, 10_000)))
def test_a_body_of_known_length(body: bytes, behind: bytes, cuts: list[int]) -> None:
    decoder = LengthDecoder(len(body))
    assert feed_in_pieces(decoder, body + behind, cuts) == body + b"|" + behind
    assert decoder.complete


@pytest.mark.attack(32)
@pytest.mark.parametrize(
    "wire",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1 \r\n",
        b"1_0\r\n",
        b"1\nA",
        b"1;\x00\r\n",
        b"1;a\rb\r\n",
        b"1\r\nAB",
        b"1\r\nA\n",
        b"F" * 16 + b"\r\n",
        b"1" + b"0" * MAX_CHUNK_LINE,
        b"0\r\nno colon\r\n",
        b"0\r\nX: \0\r\n",
        b"0\r\nX: y\n",
        b"0\r\n" + b"X: y\r\n" * (MAX_TRAILERS // 6 + 1),
        b"0\r\nX: " + b"y" * MAX_TRAILERS,
    ],
)
def test_malformed_chunks_are_refused(wire: bytes) -> None:
    for step in (len(wire), 1):
        decoder = ChunkedDecoder()
        with pytest.raises(BadRequest):
            for start in range(0, len(wire), step):
                decoder.feed(wire[start : start + step])


@given(st.binary(max_size=200))
def test_arbitrary_bytes_as_chunks(data: bytes) -> None:
    decoder = ChunkedDecoder()
    try:
        out = b"".join(decoder.feed(data))
    except BadRequest:
        return
    assert len(out) + len(decoder.rest) <= len(data)
