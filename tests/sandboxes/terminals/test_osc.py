from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.sandboxes.terminals.osc import OutputFilter, clean_title, without_queries

STOLEN = b"c;cm0gLXJmIH4K"
CLIPBOARD = (
    b"\x1b]52;" + STOLEN + b"\x07",
    b"\x1b]52;" + STOLEN + b"\x1b\\",
    b"\x1b]52;" + STOLEN + b"\xc2\x9c",
    b"\xc2\x9d52;" + STOLEN + b"\x07",
    b"\x1b]052;" + STOLEN + b"\x07",
    b"\x1b]5\x002;" + STOLEN + b"\x07",
    b"\x1b\x00\n]52;" + STOLEN + b"\x07",
    b"\x1b\x7f\x08" * 3 + b"]52;" + STOLEN + b"\x07",
    b"\x1b\x1b]52;" + STOLEN + b"\x07",
    b"\x1bPtmux;\x1b\x1b]52;" + STOLEN + b"\x07\x1b\\",
    b"\x1b]52;;" + STOLEN + b"\x07",
    b"\x1b]52;c;?\x07",
    b"\x1b]1337;Copy=:cm0gLXJmIH4K\x07",
    b"\x1b]5522;type=write\x1b\\",
    b"\x1b" + b"\x00" * 200 + b"]52;" + STOLEN + b"\x07",
)


def in_pieces(data: bytes, size: int, filter: OutputFilter | None = None) -> bytes:
    filter = filter or OutputFilter()
    shown = [filter.feed(data[start : start + size]) for start in range(0, len(data), size)]
    return b"".join(shown) + filter.end()


def acts_on(shown: bytes) -> list[bytes]:
    """The commands that a terminal would find in ``shown``: xterm's rules, a byte at a time."""
    found, state, command = [], "plain", b""
    for number, byte in enumerate(shown):
        if shown[number : number + 2] == b"\xc2\x9d":
            state, command = "osc", b""
        elif byte == 0x1B:
            if state == "osc":
                found.append(command)
            state = "escape"
        elif state == "escape":
            if byte == ord("]"):
                state, command = "osc", b""
            elif (byte >= 0x20 and byte != 0x7F) or byte in (0x18, 0x1A):
                state = "plain"
        elif state == "osc":
            if byte in (7, 0x18, 0x1A) or shown[number - 1 : number + 1] == b"\xc2\x9c":
                found.append(command)
                state = "plain"
            elif byte >= 0x20:
                command += bytes([byte])
    return [*found, command] if state == "osc" else found


@pytest.mark.parametrize("attack", CLIPBOARD)
@pytest.mark.parametrize("size", (1, 2, 3, 7, 1000))
def test_no_command_reaches_a_clipboard(attack: bytes, size: int) -> None:
    assert acts_on(b"before" + attack + b"after"), "the attack itself must be one"
    shown = in_pieces(b"before" + attack + b"after", size)
    assert shown.startswith(b"before") and shown.endswith(b"after")
    assert not any(re.match(rb"\x9d?0*(52|1337|5522)", command) for command in acts_on(shown)), (
        shown
    )


@given(
    st.lists(
        st.sampled_from(
            [*CLIPBOARD, b"\x1b", b"]", b"52;", b"\xc2", b"\x9d", b"\x00", b"\x07", b"\x18", b"text",
             b"\x1b[31m", b"\x1b\\", "é😀".encode(), b"\x1b]0;title\x07", b"5", b";", b"2"]
        ),
        max_size=8,
    ),
    st.integers(1, 9),
)  # fmt: skip
def test_however_it_is_split_and_mixed(parts: list[bytes], size: int) -> None:
    shown = in_pieces(b"".join(parts), size)
    for command in acts_on(shown):
        assert not re.match(rb"\x9d?0*(52|1337|5522);", command), shown


@given(st.binary(max_size=300), st.integers(1, 50))
def test_all_else_goes_through(data: bytes, size: int) -> None:
    data = data.replace(b"\x1b", b"").replace(b"\xc2\x9d", b"")
    if not data.endswith(b"\xc2"):
        assert in_pieces(data, size) == data


@pytest.mark.parametrize(
    "kept",
    (
        b"\x1b[2J\x1b[H\x1b[1;31mred\x1b[0m",
        b"\x1b]0;title\x07\x1b]2;title\x1b\\",
        b"\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\",
        b"\x1b]10;?\x07",
        b"\x1b]unknown\x07",
        b"\x1b];\x07",
        b'\x1bP$q"p\x1b\\',
        "Preis: 5 £, “quoted”".encode(),
    ),
)
@pytest.mark.parametrize("size", (1, 4, 1000))
def test_harmless_commands_stay(kept: bytes, size: int) -> None:
    assert in_pieces(kept, size) == kept


@pytest.mark.parametrize("size", (1, 3, 1000))
def test_writes_can_be_allowed_and_reads_cannot(size: int) -> None:
    write, read = b"\x1b]52;c;aGVsbG8=\x07", b"\x1b]52;c;?\x07"
    shown = in_pieces(write + b"-" + read + b"-", size, OutputFilter(clipboard=True))
    assert shown == write + b"--"


@pytest.mark.parametrize("size", (1, 2, 1000))
@pytest.mark.parametrize(
    ("printed", "title"),
    (
        (b"\x1b]0;bash: ~\x07", "bash: ~"),
        (b"\x1b]2;vim \xc3\xa9\x1b\\", "vim é"),
        (b"\x1b]2;first\x07\x1b]0;second\x07", "second"),
        (b"\x1b]1;icon\x07", ""),
        (b"\x1b]2;gone\x18", ""),
        (b"\x1b]0;\x07", ""),
        (b"\x1b]0;a\x1b[31mb\x07", "a"),
    ),
)
def test_titles(printed: bytes, title: str, size: int) -> None:
    filter = OutputFilter()
    in_pieces(printed, size, filter)
    assert filter.title == title


def test_titles_are_fit_to_be_shown() -> None:
    assert clean_title(b"a\nb\x00c\x7f\xc2\x85d") == "abcd"
    assert clean_title("evil\u202etxt.exe\u2066\ufeff".encode()) == "eviltxt.exe"
    assert clean_title(b"\xff") == "\ufffd"
    assert len(clean_title(b"x" * 5000)) == 200


def test_an_endless_command_is_not_kept() -> None:
    filter = OutputFilter()
    filter.feed(b"\x1b]2;")
    for _ in range(100):
        filter.feed(b"x" * 10_000)
    filter.feed(b"\x07")
    assert len(filter.title) == 200
    filter.feed(b"\x1b]")
    for _ in range(100):
        filter.feed(b"y" * 10_000)
    command = filter._command
    assert command is not None and len(command.head) <= 10_000 + 100


def test_a_replay_asks_nothing() -> None:
    asking = b"\x1b[6n\x1b[c\x1b[>c\x1b[?1$p\x1b]10;?\x07\x1bP+q544e\x1b\\\x1b[18t\x05"
    assert without_queries(b"a" + asking + b"b\x1b[31mc") == b"ab\x1b[31mc"
