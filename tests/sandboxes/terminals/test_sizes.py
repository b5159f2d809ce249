from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wit.sandboxes.provider import TerminalSize
from wit.sandboxes.terminals.sizes import clamp, smallest, wiggle

sizes = st.builds(clamp, st.integers(0, 10_000), st.integers(0, 10_000))


@given(st.lists(sizes))
def test_everybody_sees_all_of_it(windows: list[TerminalSize]) -> None:
    size = smallest(windows)
    if not windows:
        assert size is None
        return
    assert size is not None
    assert size.columns in [window.columns for window in windows]
    assert size.rows in [window.rows for window in windows]
    assert all(size.columns <= window.columns for window in windows)
    assert all(size.rows <= window.rows for window in windows)


@given(sizes)
def test_a_wiggle_is_another_allowed_size(size: TerminalSize) -> None:
    other = wiggle(size)
    assert other != size and clamp(other.columns, other.rows) == other


def test_sizes_have_bounds() -> None:
    assert clamp(0, 0) == TerminalSize(2, 1)
    assert clamp(10**9, 10**9) == TerminalSize(500, 200)
