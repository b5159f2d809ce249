"""Packs that are more than they seem, or less."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib

import pytest

from tests.support.chains import delta
from tests.support.quarry import Quarry
from tests.support.site import Site, refs
from tests.support.wire import (
    BLOB,
    COMMIT,
    OFS_DELTA,
    REF_DELTA,
    TREE,
    ZERO,
    Http,
    commands,
    commit,
    entry,
    history,
    oid,
    pack,
    post,
    push,
    push_history,
    read_report,
    request,
    service_headers,
    tree,
)

pytestmark = pytest.mark.attack(17)

MIB = 1024 * 1024


def refused(site: Site, name: str, packed: bytes, new: str = "1" * 40) -> str:
    """Push ``packed``; it must be refused and leave nothing."""
    before = refs(site.disk(name))
    ref = "refs/heads/bomb"
    answer = post(
        site.daemon, site.alice, name, "git-receive-pack",
        commands([(ZERO, new, ref)]) + packed, version=0,
    )  # fmt: skip
    report = read_report(answer.body) if answer.status == 200 else None
    assert report is None or report.refs.get(ref, "refused") != "ok", report
    assert answer.status in (200, 400, 413), answer
    assert b"internal error" not in answer.body, answer
    assert refs(site.disk(name)) == before
    Quarry(site.daemon).check()
    return answer.text


def test_packs_that_do_not_add_up(site: Site, new_name: str) -> None:
    made = push_history(site.daemon, site.alice, new_name)
    good = history(b"other\n")
    base = entry(BLOB, b"base" * 10)
    attacks = {
        "no pack": b"",
        "wrong signature": b"KCAP" + good.pack[4:],
        "version 9": good.pack[:4] + struct.pack(">L", 9) + good.pack[8:],
        "more objects announced": pack([base], count=2**32 - 1),
        "fewer objects announced": pack([base, base], count=1),
        "wrong checksum": good.pack[:-1] + bytes([good.pack[-1] ^ 1]),
        "cut off": good.pack[: len(good.pack) // 2],
        "bytes behind it": good.pack + b"x" * 1000,
        "offset 0": pack([base, entry(OFS_DELTA, delta(40, 40, b"\x90\x28"), prefix=b"\x00")]),
        "offset before the pack": pack(
            [base, entry(OFS_DELTA, delta(40, 40, b"\x90\x28"), prefix=b"\xff\xff\x7f")]
        ),
        "offset overflow": pack(
            [base, entry(OFS_DELTA, delta(40, 40, b"\x90\x28"), prefix=b"\xff" * 12 + b"\x7f")]
        ),
        "delta of itself": pack([entry(REF_DELTA, b"", prefix=b"\x11" * 20)]),
        "unknown base": pack([entry(REF_DELTA, delta(4, 4, b"\x90\x04"), prefix=b"\x22" * 20)]),
        "copy beyond the base": pack(
            [base, entry(REF_DELTA, delta(40, 255, b"\xb0\xff\xff"), prefix=hashed(b"base" * 10))]
        ),
        "insert of nothing": pack(
            [base, entry(REF_DELTA, delta(40, 9, b"\x00"), prefix=hashed(b"base" * 10))]
        ),
        "type 0": pack([entry(0, b"x")]),
        "type 5": pack([entry(5, b"x")]),
        "size too large": pack([entry(BLOB, b"x", size=10)]),
        "size too small": pack([entry(BLOB, b"x" * 10, size=1)]),
        "size of an exabyte": pack([entry(BLOB, b"x", size=2**60)]),
        "size beyond 64 bits": pack([entry(BLOB, b"x", size=2**70)]),
        "not compressed": pack([b"\x3a" + b"plain text"]),
    }
    for name, packed in attacks.items():
        refused(site, new_name, packed)
        assert refs(site.disk(new_name)) == {"refs/heads/main": made.commit}, name


def hashed(data: bytes) -> bytes:
    return bytes.fromhex(oid(BLOB, data))


def test_a_gzip_bomb_around_a_push(site: Site, new_name: str) -> None:
    push_history(site.daemon, site.alice, new_name)
    quarry = Quarry(site.daemon)
    before = quarry.rss()
    bomb = gzip.compress(b"\0" * (64 * MIB), 9)
    for service in ("git-receive-pack", "git-upload-pack"):
        for body in (bomb, gzip.compress(commands([(ZERO, "1" * 40, "refs/heads/x")])) + bomb):
            headers = {"Content-Encoding": "gzip"}
            answer = post(site.daemon, site.alice, new_name, service, body, version=0, **headers)
            assert answer.status in (200, 400, 413) and b"unpack ok" not in answer.body, answer
    assert quarry.rss() - before < 16 * MIB


def test_an_object_that_inflates_to_more_than_allowed(strict: Site, new_name: str) -> None:
    """150 MB of zeros are 150 kB on the wire: within the push limit, beyond that of a file."""
    push_history(strict.daemon, strict.alice, new_name)
    quarry = Quarry(strict.daemon)
    before = quarry.rss()
    zeros = b"\0" * (150 * MIB)
    blob = oid(BLOB, zeros)
    head = bytearray()
    size = len(zeros)
    byte, size = (BLOB << 4) | (size & 15), size >> 4
    while size:
        head.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    head.append(byte)
    bomb = bytes(head) + zlib.compress(zeros, 9)
    root = tree((b"100644", b"bomb", blob))
    top = commit(oid(TREE, root))
    packed = pack([bomb, entry(TREE, root), entry(COMMIT, top)])
    assert len(packed) < 1_000_000
    said = refused(strict, new_name, packed, oid(COMMIT, top))
    assert "200000" in said
    assert quarry.rss() - before < 8 * MIB


def test_a_file_larger_than_allowed(strict: Site, new_name: str) -> None:
    push_history(strict.daemon, strict.alice, new_name)
    made = history(bytes(range(256)) * 800)
    assert "may have 200000 here" in refused(strict, new_name, made.pack, made.commit)


def test_a_push_larger_than_allowed(strict: Site, new_name: str) -> None:
    """git stops at the pack's limit; the door stops what announces more, before it is sent."""
    import os

    push_history(strict.daemon, strict.alice, new_name)
    noise = [entry(BLOB, os.urandom(150_000)) for _ in range(10)]
    said = refused(strict, new_name, pack(noise))
    assert "exceeds maximum allowed size" in said
    headers = service_headers(strict.alice, "git-receive-pack", 0)
    headers |= {"Content-Length": str(100 * MIB), "Expect": "100-continue"}
    with Http(strict.daemon.http_port) as http:
        http.send(request("POST", f"/{new_name}/git-receive-pack", headers))
        answer = http.answer()
        assert answer.status == 413


def test_many_small_objects_with_one_checksum(site: Site, new_name: str) -> None:
    """The same object a thousand times over."""
    made = push_history(site.daemon, site.alice, new_name)
    packed = pack([entry(BLOB, b"again")] * 1000)
    assert hashlib.sha1(packed[:-20]).digest() == packed[-20:]
    report = push(
        site.daemon, site.alice, new_name, [(ZERO, made.commit, "refs/heads/again")], packed
    )
    assert report.refs or report.messages
