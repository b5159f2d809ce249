"""The publish request: the tarball comes out whole wherever the network cuts the body."""

from __future__ import annotations

import base64
import itertools
import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.errors import Invalid, TooLarge
from wit.packages.publish_body import BodyReader

TARBALL = os.urandom(1001)
MIB = 1024 * 1024


def body(data: bytes = TARBALL, **more: Any) -> dict[str, Any]:
    return {
        "name": "a",
        "readme": 'with "quotes", \\ {braces} [and, colons:] \u00e9 \n',
        "nested": {"_attachments": {"x.tgz": {"data": "not this"}}, "list": [{"data": "nor"}, 1]},
        **more,
        "_attachments": {
            "a-1.0.0.tgz": {
                "content_type": "application/octet-stream",
                "data": base64.b64encode(data).decode(),
                "length": len(data),
            },
            "a-1.0.0.sigstore": {"data": '{"a":1}'},
        },
        "last": [None, True, 1.5, "x"],
    }


def without_data(document: dict[str, Any]) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    copy["_attachments"]["a-1.0.0.tgz"]["data"] = ""
    return copy


def read(*pieces: bytes, rest: int = MIB, tarball: int = MIB) -> tuple[bytes, BodyReader]:
    reader = BodyReader(rest, tarball)
    return b"".join([reader.feed(piece) for piece in pieces]), reader


def check(*pieces: bytes) -> None:
    tarball, reader = read(*pieces)
    assert tarball == TARBALL
    assert reader.file == "a-1.0.0.tgz"
    assert reader.document() == without_data(body())


@pytest.mark.parametrize("indent", [None, 2])
def test_cut_in_two_anywhere(indent: int | None) -> None:
    text = json.dumps(body(), indent=indent).encode()
    for at in range(len(text) + 1):
        check(text[:at], text[at:])


def test_byte_by_byte() -> None:
    text = json.dumps(body(), ensure_ascii=False).encode()
    check(*(text[at : at + 1] for at in range(len(text))))


def test_slashes_may_be_escaped() -> None:
    text = json.dumps(body()).replace("/", "\\/").encode()
    assert b"\\/" in text
    for size in (1, 2, 3, 5, 7, 64):
        check(*(text[at : at + size] for at in range(0, len(text), size)))


def test_keys_may_be_escaped() -> None:
    text = json.dumps(body()).replace('"_attachments": {"a-1', '"\\u005fattachments": {"\\u0061-1')
    check(text.encode())


@given(st.lists(st.integers(0, 3000), max_size=20), st.binary(max_size=300))
def test_cut_into_many(cuts: list[int], data: bytes) -> None:
    text = json.dumps(body(data)).encode()
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[begin:end] for begin, end in itertools.pairwise(edges)]
    tarball, reader = read(*pieces)
    assert tarball == data
    assert reader.document() == without_data(body(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        _, reader = read(data)
        found = reader.document()
    except Invalid:
        return
    assert found == json.loads(data)


def test_a_request_without_a_tarball() -> None:
    document = {"_id": "a", "users": {"ada": True}}
    tarball, reader = read(json.dumps(document).encode())
    assert (tarball, reader.file, reader.document()) == (b"", None, document)


def test_limits_are_kept_while_it_comes() -> None:
    text = json.dumps(body(b"x" * 5000)).encode()
    with pytest.raises(TooLarge, match="max_tarball_bytes"):
        read(text, tarball=4999)
    assert read(text, tarball=5000)[0] == b"x" * 5000
    with pytest.raises(TooLarge, match="max_manifest_bytes"):
        read(text, rest=100)
    reader = BodyReader(MIB, MIB)
    reader.feed(b'{"_attachments":{"a.tgz":{"data":"')
    with pytest.raises(TooLarge):
        for _ in range(100):
            reader.feed(b"AAAA" * 8192)


@pytest.mark.parametrize(
    "text",
    [
        b'{"_attachments":{"a.tgz":{"data":"A"}}}',
        b'{"_attachments":{"a.tgz":{"data":"AAA"}}}',
        b'{"_attachments":{"a.tgz":{"data":"AA=A"}}}',
        b'{"_attachments":{"a.tgz":{"data":"AA==AAAA"}}}',
        b'{"_attachments":{"a.tgz":{"data":"AA AA"}}}',
        b'{"_attachments":{"a.tgz":{"data":"AA\\nAA"}}}',
        b'{"_attachments":{"a.tgz":{"data":"AAA_"}}}',
        b'{"_attachments":{"a.tgz":{"data":"AAA\\"}}}',
        b'{"_attachments":{"a.tgz":{"data":"AAAA',
        b'{"_attachments":{"a.tgz":{"data":"AAAA"},"b.tgz":{"data":"AAAA"}}}',
        b'{"_attachments":{"a.tgz":{"data":"AAAA","data":"AAAA"}}}',
        b'{"a":1,"a":2}',
        b'{"versions":{"1.0.0":{"__proto__":{"x":1}}}}',
        b'{"versions":{"1.0.0":{"\\u005f_proto__":1}}}',
        b'{"constructor":{"prototype":{"x":1}}}',
        b"[" * 100 + b"]" * 100,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"a":NaN}',
        b'{"a":1e999}',
        b"",
        b"[]",
        b"1",
        b"{}{}",
        b'{"a":1',
        b"{]",
        b"}",
        b'{"' + b"k" * 5000 + b'":1}',
        b'{"a":"\xff"}',
        b'{"\\q":1}',
    ],
)
def test_refused(text: bytes) -> None:
    for size in (1, 7, len(text) or 1):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        with pytest.raises(Invalid):
            read(*pieces)[1].document()
