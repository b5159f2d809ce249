"""Frames of Server-Sent Events; whole streams are compared in test_side_by_side."""

from __future__ import annotations

import pytest

from wit.operations.tracked import Tracked
from wit.trpc.sse import CONNECTED, PING, RETURN, Events


def test_frames() -> None:
    assert CONNECTED == "event: connected\ndata: {}\n\n\n"
    assert PING == "event: ping\ndata: \n\n\n"
    assert RETURN == "event: return\ndata: \n\n\n"
    assert Events().item("a\nb") == 'data: {"json":"a\\nb"}\n\n\n'
    assert Events().item(Tracked("7", 1)) == 'data: {"json":1}\nid: 7\n\n\n'


@pytest.mark.parametrize("event_id", ["", "a\nb", "a\rb", "a\0b"])
def test_ids_that_cannot_be_sent(event_id: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        Events().item(Tracked(event_id, 1))
    assert Events(event_id).item(1) == 'data: {"json":1}\n\n\n', "a client's own is passed over"
