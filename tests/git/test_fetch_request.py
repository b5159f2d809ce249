"""Fetch requests: understood, bounded, and put into one normal form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.errors import Invalid, TooLarge, Unavailable
from wit.git.advertise import Command, parse_command
from wit.git.fetch_request import Budget, Requests, from_v0, from_v2
from wit.git.pktline import Marker, Packet, Parser, ProtocolError, encode
from wit.git.repository import BareRepository
from wit.streams import BytesSource

A, B, C = (digit * 40 for digit in "abc")

OIDS = st.sampled_from([A, B, C]).map(str.encode)
ARGUMENTS = st.one_of(
    OIDS.map(lambda oid: b"want " + oid),
    OIDS.map(lambda oid: b"have " + oid),
    OIDS.map(lambda oid: b"shallow " + oid),
    st.sampled_from([b"done", b"thin-pack", b"deepen 3", b"filter blob:none"]),
)


def v2(arguments: list[bytes], capabilities: tuple[bytes, ...] = ()) -> Any:
    return from_v2(Command("fetch", capabilities, tuple(arguments)), "sha1")


@given(st.lists(ARGUMENTS, max_size=8))
def test_the_normal_form_of_v2_is_a_request_and_its_own_normal_form(arguments: list[bytes]) -> None:
    request = v2(arguments)
    packets = Parser(v2=True).feed(request.data)
    again = from_v2(parse_command(packets, "sha1"), "sha1")
    assert again == request
    wants = {line[5:].decode() for line in arguments if line.startswith(b"want ")}
    haves = [line for line in arguments if line.startswith(b"have ")]
    assert request.wants == tuple(sorted(wants))
    assert request.is_clone == bool(wants and not haves)


def test_what_says_who_asks_makes_no_difference_and_the_rest_does() -> None:
    wants = [b"want " + A.encode(), b"want " + B.encode(), b"done"]
    request = v2(wants)
    assert v2([*wants[::-1][1:], b"done"], (b"agent=x", b"session-id=1")).data == request.data
    assert v2([*wants, b"deepen 1"]).data != request.data
    repo, other = BareRepository("1", "/r"), BareRepository("2", "/r")
    assert request.cache_key(repo, "v") == request.cache_key(repo, "v")
    assert len({request.cache_key(*each) for each in [(repo, "v"), (other, "v"), (repo, "w")]}) == 3


def packets_of(*lines: str | None) -> list[Packet]:
    return [Marker.FLUSH if line is None else line.encode() + b"\n" for line in lines]


def test_v0() -> None:
    request = from_v0(
        packets_of(
            f"want {B} ofs-delta agent=git/1 side-band-64k", f"want {A}", "deepen 1", None, "done"
        ),
        "sha1",
    )
    assert request.wants == (A, B)
    assert request.is_clone
    other = from_v0(
        packets_of(
            f"want {A} side-band-64k ofs-delta agent=git/2", f"want {B}", "deepen 1", None, "done"
        ),
        "sha1",
    )
    assert other.data == request.data
    assert Parser().feed(request.data) == packets_of(
        f"want {A} ofs-delta side-band-64k", f"want {B}", "deepen 1", None, "done"
    )


@pytest.mark.parametrize(
    "lines",
    [
        (f"want {A} x", "deepen 1", None),
        (f"want {A} x", None, f"have {B}", None, f"have {C}", "done"),
        (None,),
        (),
    ],
)
def test_v0_requests_that_are_no_clones_are_passed_on_whole(lines: Any) -> None:
    request = from_v0(packets_of(*lines), "sha1")
    assert not request.is_clone
    assert Parser().feed(request.data) == packets_of(*lines or (None,))


@pytest.mark.parametrize("oid", ["", "main", A.upper(), A[:-1], A + "a", A * 2, "é" * 40, f"{A} x"])
def test_what_is_no_object_id(oid: str) -> None:
    for arguments in ([f"want {oid}".encode()], [f"have {oid}".encode()]):
        with pytest.raises(Invalid):
            v2(arguments)
    with pytest.raises(Invalid):
        from_v0(packets_of(f"want {A}", f"want {oid}", None, "done"), "sha1")


def test_the_object_format_is_that_of_the_repository() -> None:
    want = (b"want " + A.encode() + b"a" * 24,)
    with pytest.raises(ProtocolError, match="sha256"):
        from_v2(Command("fetch", (), want), "sha256")
    request = from_v2(Command("fetch", (b"object-format=sha256",), want), "sha256")
    assert b"object-format=sha256" in request.data


@given(st.lists(st.integers(1, 20), max_size=20))
def test_requests_in_a_stream_however_it_is_cut(cuts: list[int]) -> None:
    stream = encode(b"one") + b"0000" + b"0000" + encode(b"two") + b"0001" + encode(b"x") + b"0000"
    pieces = []
    rest = stream
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    budget = Budget(1000)
    with Requests(BytesSource(*pieces, rest), 100, budget) as requests:
        assert finished(requests.next()) == [b"one", Marker.FLUSH]
        assert finished(requests.next()) == [Marker.FLUSH]
        assert finished(requests.next()) == [b"two", Marker.DELIM, b"x", Marker.FLUSH]
        assert finished(requests.next()) == []
    assert budget.left == 1000


@pytest.mark.attack(16)
def test_one_request_and_all_together_are_bounded() -> None:
    many = encode(b"have " + A.encode()) * 100
    budget = Budget(10_000)
    with Requests(BytesSource(many), 1000, budget) as requests, pytest.raises(TooLarge):
        finished(requests.next())
    with Requests(BytesSource(many), 1000, budget) as requests, pytest.raises(TooLarge):
        finished(requests.everything())
    with (
        Requests(BytesSource(many), 10_000, budget) as one,
        Requests(BytesSource(many), 10_000, budget) as two,
    ):
        assert len(finished(one.everything())) == 100
        assert budget.left < 10_000
        with pytest.raises(ProtocolError, match="breaks off"):
            finished(two.next())
        third = Requests(BytesSource(many), 10_000, budget)
        with third, pytest.raises(Unavailable):
            finished(third.everything())
    assert budget.left == 10_000


def finished(coroutine: Any) -> Any:
    """The result of a coroutine that never really waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")
