"""A program that prints without end, before a browser that is slow or does not read at all."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.support.site import Site
from tests.support.terminals import Desk, desk_of
from tests.support.websocket import Client

pytestmark = pytest.mark.attack(62)

MIB = 1024 * 1024


@pytest.fixture
def desk(terminal_site: Site) -> Iterator[Desk]:
    desk = desk_of(terminal_site)
    yield desk
    desk.close()


def rss(site: Site) -> int:
    assert site.daemon.process is not None
    memory: int = psutil.Process(site.daemon.process.pid).memory_info().rss
    return memory


def echoes(client: Client, count: int) -> None:
    """Type and see it come back, so many times."""
    for number in range(count):
        client.type(f"echo echo-{number}-$((6*7))\r".encode())
        client.until_seen(f"echo-{number}-42".encode())


def test_nobody_else_notices_and_memory_stays(desk: Desk) -> None:
    quiet, _ = desk.terminal()
    echoes(quiet, 3)
    before = rss(desk.site)
    for form in ("wit.term.v1", "wit.term.v1", ""):
        flooder = desk.open(form=form)
        if form:
            flooder.until_message(t="replayed")
            flooder.type(b"yes\r")
        else:
            flooder.send(type="init")
            flooder.send(type="input", data="yes\r")
        flooder.until_seen(b"y\r\ny\r\n")
        flooder.pause()
        if form:
            flooder.send(t="ack", n=2**50)  # it lies
    for _ in range(10):
        echoes(quiet, 5)
    assert rss(desk.site) - before < 24 * MIB
    for flooder in desk.clients:
        flooder.go_on()


def test_a_program_that_nobody_looks_at(desk: Desk) -> None:
    """It goes on, is cut to what is kept, and can be ended by whoever comes back."""
    client, terminal = desk.terminal()
    client.type(b"yes\r")
    client.until_seen(b"y\r\ny\r\n")
    client.drop()
    other, _ = desk.terminal()
    echoes(other, 20)
    again = desk.open(f"terminal={terminal}")
    hello = again.until_message(t="hello")
    assert hello["replay"] <= (256 + 64) * 1024, "what is kept, and what an engine gives at once"
    again.type(b"\x03")
    again.type(b"echo after-$((6*7))\r")
    taken = 0
    while b"after-42" not in again.seen:
        if len(again.seen) > taken:
            taken = len(again.seen)
            again.send(t="ack", n=taken)
        assert again.step()


def test_lines_without_end_and_messages_without_end(desk: Desk) -> None:
    client, _ = desk.terminal()
    client.type(b"head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end-$((6*7))\r")
    taken = 0
    while b"end-42" not in client.seen:
        if len(client.seen) - taken > 65536:
            taken = len(client.seen)
            client.send(t="ack", n=taken)
        assert client.step()
    client.type(b"x" * (1024 * 1024))
    assert client.until_closed()[0] == 1009
