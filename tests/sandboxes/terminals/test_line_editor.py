"""Editing a line, and what is shown of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.sandboxes.terminals.line_editor import MAX_LINE, Echo, Event, Key, Line, LineEditor

KEYS = st.sampled_from(["a", "é", "漢", "\x7f", "\x15", "\r", "\x03", "\x04", "\x1b[A", "\t", "\0"])


def typed(*pieces: bytes) -> tuple[str, list[Event]]:
    """What was echoed, and all else."""
    editor = LineEditor()
    events = [event for piece in pieces for event in editor.feed(piece)]
    shown = "".join(event.text for event in events if isinstance(event, Echo))
    return shown, [event for event in events if not isinstance(event, Echo)]


@pytest.mark.parametrize(
    ("text", "shown", "events"),
    [
        (b"ls -l\r", "ls -l\r\n", [Line("ls -l")]),
        (b"one\ntwo\r", "one\r\ntwo\r\n", [Line("one"), Line("two")]),
        (b"lx\x7fs\r", "lx\b \bs\r\n", [Line("ls")]),
        (b"\x7f\x08\r", "\r\n", [Line("")]),
        ("漢\x7f".encode(), "漢\b \b\b \b", []),
        ("e\u0301\x7f\x7f".encode(), "e\u0301\b \b", []),
        (b"rm\x15ls\r", "rm\b \b\b \bls\r\n", [Line("ls")]),
        (b"rm\x03\r", "rm^C\r\n\r\n", [Key.INTERRUPT, Line("")]),
        (b"\x1c", "^\\\r\n", [Key.QUIT]),
        (b"a\x04\x7f\x04", "a\b \b", [Key.END]),
        (b"a\tb\0\x01\r", "a b\r\n", [Line("a b")]),
        (b"a\x1b[1;5Cb\x1bOAc\x1bxd\r", "abcd\r\n", [Line("abcd")]),
        (b"\xff\r", "\ufffd\r\n", [Line("\ufffd")]),
    ],
)
def test_keys(text: bytes, shown: str, events: list[Event]) -> None:
    assert typed(text) == (shown, events)


def test_a_line_has_an_end() -> None:
    shown, events = typed(b"x" * (MAX_LINE + 2), b"\r")
    assert events == [Line("x" * MAX_LINE)]
    assert shown.endswith("x\a\a\r\n")


@given(st.lists(KEYS), st.integers(1, 5))
def test_however_it_is_split(keys: list[str], size: int) -> None:
    text = "".join(keys).encode()
    assert typed(text) == typed(*(text[at : at + size] for at in range(0, len(text), size)))
