from __future__ import annotations

import pytest

from wit.web.routes.npm.negotiation import (
    Part,
    RangeNotSatisfiable,
    best_encoding,
    has_already,
    wanted_part,
    wants_abbreviated,
)

NPM = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*"


@pytest.mark.parametrize(
    ("accept", "abbreviated"),
    [
        (NPM, True),
        ("application/vnd.npm.install-v1+json", True),
        ("application/json; q=1.0, application/vnd.npm.install-v1+json; q=0.8, */*", False),
        ("APPLICATION/VND.NPM.INSTALL-V1+JSON", True),
        ("application/vnd.npm.install-v1+json;q=0", False),
        ("application/vnd.npm.install-v1+json;q=much", False),
        ("application/json", False),
        ("*/*", False),
        ("", False),
        (None, False),
    ],
)
def test_the_short_form_is_for_who_likes_it_best(accept: str | None, abbreviated: bool) -> None:
    assert wants_abbreviated(accept) is abbreviated


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip,deflate,br", "br"),
        ("gzip, deflate", "gzip"),
        ("x-gzip", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("*", "br"),
        ("*;q=0", None),
        ("gzip;q=0", None),
        ("identity", None),
        ("deflate", None),
        ("", None),
        (None, None),
    ],
)
def test_the_smallest_encoding_that_is_taken(accepted: str | None, encoding: str | None) -> None:
    assert best_encoding(accepted) == encoding


@pytest.mark.parametrize(
    ("header", "already"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ('"b","a"', True),
        ("*", True),
        ('"b"', False),
        ('"aa"', False),
        ("", False),
        (None, False),
    ],
)
def test_what_the_client_has_already(header: str | None, already: bool) -> None:
    assert has_already(header, '"a"') is already


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-3", Part(0, 4)),
        ("bytes=4-", Part(4, 10)),
        ("bytes=-3", Part(7, 10)),
        ("bytes=-99", Part(0, 10)),
        ("bytes=8-99", Part(8, 10)),
        ("Bytes = 0-0", Part(0, 1)),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("lines=0-3", None),
        ("bytes=a-b", None),
        (None, None),
    ],
)
def test_the_part_that_is_wanted(header: str | None, part: Part | None) -> None:
    assert wanted_part(header, None, '"a"', 10) == part


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_part_behind_the_end(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        wanted_part(header, None, '"a"', 10)


def test_a_part_of_something_else_is_no_part() -> None:
    assert wanted_part("bytes=0-3", '"a"', '"a"', 10) == Part(0, 4)
    assert wanted_part("bytes=0-3", '"b"', '"a"', 10) is None
    assert wanted_part("bytes=99-", '"b"', '"a"', 10) is None
