"""git's words without the server's paths, however they are cut; everything else as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.git.pktline import DELIM, FLUSH, encode, sideband
from wit.git.public_text import TAIL_BYTES, PublicText, ServerPaths

ROOT = "/srv/data/repos"
PATHS = ServerPaths(Path(ROOT))
WORDS = f"error: object file {ROOT}/alice/r.git/objects/12/34 is empty\n".encode()
PACK = sideband(1, b"PACK" + os.urandom(200_000) + ROOT.encode() + b"/in/a/pack")


def through(data: bytes, size: int = 1 << 30, paths: ServerPaths = PATHS) -> bytes:
    text = PublicText(paths)
    out = [text.feed(data[start : start + size]) for start in range(0, len(data), size)]
    return b"".join(out) + text.end()


def words(data: bytes) -> bytes:
    """What is said on band 2 in ``data``."""
    said, position = b"", 0
    while position < len(data):
        length = max(4, int(data[position : position + 4], 16))
        if length > 4 and data[position + 4] == 2:
            said += data[position + 5 : position + length]
        position += length
    return said


def test_names_stay_and_paths_go() -> None:
    answer = encode(b"packfile\n") + sideband(2, WORDS) + PACK + FLUSH
    edited = through(answer)
    assert len(edited) == len(answer)
    assert words(edited).split() == b"error: object file alice/r.git/objects/12/34 is empty".split()
    assert edited.endswith(PACK + FLUSH), "the pack is not touched"


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 20, 128])
def test_a_path_in_several_packets(cut: int) -> None:
    """upload-pack reads 128 bytes of what pack-objects says, and makes a packet of them."""
    packets = b"".join(sideband(2, WORDS[at : at + cut]) for at in range(0, len(WORDS), cut))
    for between in (b"", sideband(1, b"x" * 1000)):
        first = sideband(2, WORDS[:30])
        rest = b"".join(sideband(2, WORDS[at : at + cut]) for at in range(30, len(WORDS), cut))
        for answer in (packets, first + between + rest + FLUSH):
            edited = through(answer)
            assert len(edited) == len(answer)
            assert ROOT.encode() not in words(edited)
            assert words(edited).split() == through(sideband(2, WORDS))[5:].split()


@given(st.integers(1, 40), st.integers(1, 70))
def test_any_way_of_arriving(size: int, cut: int) -> None:
    said = WORDS + b"warning: /srv/dat is none " + WORDS
    answer = encode(b"packfile\n") + DELIM + encode(b"NAK\n") + b"0004"
    for at in range(0, len(said), cut):
        answer += sideband(2, said[at : at + cut]) + sideband(1, b"data")
    answer += sideband(3, WORDS) + FLUSH
    edited = through(answer, size)
    assert len(edited) == len(answer)
    assert ROOT.encode() not in words(edited)
    assert words(edited).replace(b" ", b"") == said.replace(f"{ROOT}/".encode(), b"").replace(
        b" ", b""
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=200))), st.integers(1, 100))
def test_what_names_no_path_goes_through_as_it_is(
    packets: list[tuple[int, bytes]], size: int
) -> None:
    answer = b"".join(
        sideband(band, data) if band else encode(data[:1].replace(b"\x02", b"x") + data)
        for band, data in packets
    )
    for end in (b"", FLUSH):
        edited = through(answer + end, size)
        assert sorted(edited) == sorted(answer + end)
        assert len(edited) == len(answer + end)


def test_a_pack_without_bands_goes_through() -> None:
    answer = encode(b"NAK\n") + b"PACK" + f"0020\x02 {ROOT}/x".encode() * 100
    for size in (1, 5, 1000, len(answer)):
        assert through(answer, size) == answer


def test_a_chunk_of_a_pack_is_not_even_copied() -> None:
    text = PublicText(PATHS)
    assert text.feed(PACK) is PACK
    assert text.end() == b"" and not text.edited


def test_nothing_waits_for_ever() -> None:
    """What might have become a path is sent before the end, and at the end."""
    for tail in (b"", FLUSH):
        answer = sideband(2, b"see /srv/da") + sideband(1, b"x") + tail
        text = PublicText(PATHS)
        assert text.feed(answer).count(b"/srv/da") == bool(tail)
        assert len(through(answer)) == len(answer)
        assert b"see /srv/da" in through(answer)
    cut_off = sideband(2, WORDS)[:20]
    assert through(cut_off) == cut_off


def test_the_log_has_the_words_as_they_were() -> None:
    text = PublicText(PATHS)
    text.feed(sideband(2, b"x" * 2 * TAIL_BYTES))
    assert not text.edited
    text.feed(sideband(2, WORDS))
    assert text.edited
    assert text.said.endswith(WORDS.decode()) and len(text.said) == TAIL_BYTES


def test_a_folder_behind_a_link_has_two_spellings(tmp_path: Path) -> None:
    real = tmp_path / "disk" / "repos"
    real.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(real)
    paths = ServerPaths(link)
    for root in (real, link):
        said = f"fatal: {root}/a/b.git/config: bad config line 3"
        assert paths.hide(said) == "fatal: a/b.git/config: bad config line 3"
        edited = words(through(sideband(2, said.encode()), paths=paths))
        assert str(tmp_path).encode() not in edited and len(edited) == len(said)
