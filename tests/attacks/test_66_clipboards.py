"""What a program prints to reach beyond its terminal: clipboards, titles, the log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.site import Site
from tests.support.terminals import Desk, desk_of

pytestmark = pytest.mark.attack(66)

ATTACKS = (
    r"\033]52;c;c3RvbGVu\007",
    r"\033]52;c;c3RvbGVu\033\\",
    r"\302\23552;c;c3RvbGVu\302\234",
    r"\033\000]0\00052;c;c3RvbGVu\007",
    r"\033]1337;Copy=:c3RvbGVu\007",
    r"\033Ptmux;\033\033]52;c;c3RvbGVu\007\033\\",
)


@pytest.fixture
def desk(terminal_site: Site) -> Iterator[Desk]:
    desk = desk_of(terminal_site)
    yield desk
    desk.close()


def test_no_clipboard_is_written(desk: Desk) -> None:
    client, terminal = desk.terminal()
    old = desk.open(f"terminal={terminal}", form="")
    old.send(type="init")
    for number, attack in enumerate(ATTACKS):
        client.type(f"printf '{attack}'; echo after-{number}-$((6*7))\r".encode())
        client.until_seen(f"after-{number}-42".encode())
        old.until_seen(f"after-{number}-42".encode())
    late, _ = desk.terminal(f"terminal={terminal}")
    late.until_seen(f"after-{len(ATTACKS) - 1}-42".encode())
    for viewer in (client, old, late):
        shown = viewer.seen.replace(b"\r\n", b"")
        for forbidden in (b"\x1b]52", b"\x1b]1337", b"\xc2\x9d", b"\x1b]0\x0052"):
            assert forbidden not in shown


def test_titles_are_clean(desk: Desk) -> None:
    client, terminal = desk.terminal()
    client.type(rb"printf '\033]2;a\001b\342\200\256c\033\\'; printf '\033]0;<b>\007'" + b"\r")
    first = client.until_message(t="title")["title"]
    assert first in ("abc", "<b>")
    if first == "abc":
        client.until_message(t="title", title="<b>")
    again = desk.open(f"terminal={terminal}")
    hello = again.until_message(t="hello")
    assert hello["title"].isprintable()


def test_nothing_of_a_terminal_is_in_the_log(desk: Desk) -> None:
    client, _ = desk.terminal()
    client.type(b"printf 'can%s\\033[31m\\n' ary-output; : canary-typed\r")
    client.until_seen(b"canary-output")
    client.close()
    log = desk.site.daemon.log()
    assert "canary-output" not in log and "canary-typed" not in log
    assert "\x1b" not in log
