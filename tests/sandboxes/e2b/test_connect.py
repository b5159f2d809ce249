"""The Connect protocol: envelopes, however they arrive, and what is refused."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.sandboxes.e2b.connect import (
    MAX_MESSAGE,
    Frame,
    Frames,
    ProtocolError,
    envelope,
    parse,
    unary_error,
)

END = struct.pack(">BI", 2, 2) + b"{}"


def test_an_envelope() -> None:
    assert envelope({"a": "ü"}) == b"\x00\x00\x00\x00\x0f" + b'{"a": "\\u00fc"}'


@given(st.lists(st.dictionaries(st.text(), st.text(), max_size=4), max_size=6), st.data())
def test_messages_that_are_cut_anywhere(
    messages: list[dict[str, str]], data: st.DataObject
) -> None:
    stream = b"".join(map(envelope, messages)) + END
    frames, seen = Frames(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        seen += frames.feed(stream[:size])
        stream = stream[size:]
    assert seen == [*map(Frame, messages), Frame({}, last=True)]


def test_an_error_at_the_end() -> None:
    message = {"error": {"code": "not_found", "message": "no\x1b[31m such\nthing" + "x" * 500}}
    payload = json.dumps(message).encode()
    (frame,) = Frames().feed(struct.pack(">BI", 2, len(payload)) + payload)
    assert frame.error is not None and frame.error.rpc_code == "not_found"
    assert frame.error.detail.startswith("no [31m such thing") and len(frame.error.detail) == 200


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">BI", 0, MAX_MESSAGE + 1),
        struct.pack(">BI", 1, 2) + b"{}",
        struct.pack(">BI", 0, 2) + b"[]",
        struct.pack(">BI", 0, 3) + b"{,}",
        struct.pack(">BI", 0, 100_000) + b"[" * 100_000,
    ],
)
def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Frames().feed(data)


@pytest.mark.parametrize(
    "status,body,code",
    [
        (404, b'{"code": "not_found", "message": "x"}', "not_found"),
        (404, b"<html>", "unimplemented"),
        (503, b"", "unavailable"),
        (418, b"[]", "unknown"),
        (500, b'{"code": 5}', "unknown"),
    ],
)
def test_errors_of_unary_calls(status: int, body: bytes, code: str) -> None:
    assert unary_error(status, body).rpc_code == code


def test_only_objects_are_messages() -> None:
    for text in (b"[]", b"1", b"null", b"", b"\xff"):
        with pytest.raises(ProtocolError):
            parse(text)
