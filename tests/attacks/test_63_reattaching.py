"""Coming back: later, from another tab, with another size, to watch only, and being sent away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.site import Site
from tests.support.terminals import Desk, desk_of

pytestmark = pytest.mark.attack(63)


@pytest.fixture
def desk(terminal_site: Site) -> Iterator[Desk]:
    desk = desk_of(terminal_site)
    yield desk
    desk.close()


def test_coming_back_with_what_was_missed(desk: Desk) -> None:
    client, terminal = desk.terminal("cols=100&rows=40")
    client.type(b"echo one-$((6*7)); sleep 0.3; echo two-$((6*7))\r")
    client.until_seen(b"one-42")
    client.drop()
    known = len(client.seen)
    again = desk.open(f"terminal={terminal}&from={known}&cols=100&rows=40")
    assert not again.until_message(t="hello")["reset"]
    again.until_seen(b"two-42")
    assert b"one-42" not in again.seen, "nothing is shown twice"
    fresh = desk.open(f"terminal={terminal}&cols=100&rows=40")
    assert fresh.until_message(t="hello")["offset"] == 0
    fresh.until_seen(b"two-42")
    assert (client.seen + again.seen).startswith(fresh.seen) or fresh.seen.startswith(
        client.seen + again.seen
    )


def test_two_tabs_of_different_sizes(desk: Desk) -> None:
    first, terminal = desk.terminal("cols=100&rows=40")
    second, _ = desk.terminal(f"terminal={terminal}&cols=80&rows=50")
    second.type(b"stty size\r")
    first.until_seen(b"40 80")
    second.until_seen(b"40 80")
    watcher, _ = desk.terminal(f"terminal={terminal}&cols=10&rows=5&view=1")
    watcher.type(b"echo typed-$((6*7))\r")
    second.drop()
    first.until_message(t="size", cols=100, rows=40)
    first.type(b"stty size\r")
    watcher.until_seen(b"40 100")
    assert b"typed-42" not in watcher.seen


def test_sending_the_others_away(desk: Desk) -> None:
    first, terminal = desk.terminal()
    second, _ = desk.terminal(f"terminal={terminal}")
    second.send(t="kick")
    assert first.until_message(t="exit")["reason"] == "kicked"
    assert first.until_closed()[0] == 4409
    second.type(b"echo mine-$((6*7))\r")
    second.until_seen(b"mine-42")


def test_a_terminal_that_is_over_says_how(desk: Desk) -> None:
    client, terminal = desk.terminal()
    client.type(b"exit 9\r")
    assert client.until_message(t="exit")["code"] == 9
    late = desk.open(f"terminal={terminal}")
    assert late.until_message(t="exit")["code"] == 9
    missing = desk.open(f"terminal={'0' * 32}")
    assert missing.until_message(t="error")["code"] == "not_found"
    assert missing.until_closed()[0] == 4404


def test_the_terminals_of_others(desk: Desk) -> None:
    _, terminal = desk.terminal()
    stranger = desk_of(desk.site, "bob")
    stranger.repo_id = desk.repo_id
    told = []
    for wanted in (terminal, "0" * 32):
        client = stranger.open(f"terminal={wanted}")
        told.append((client.until_message(t="error"), client.until_closed()))
    assert told[0] == told[1] and told[0][1][0] == 4404
    client = stranger.open()
    assert client.until_message(t="error")["code"] == "not_found"


def test_a_session_that_is_revoked_is_over(desk: Desk) -> None:
    client, terminal = desk.terminal()
    desk.site.do(lambda core: _revoke(core, desk.session))
    late = desk.open(f"terminal={terminal}")
    assert late.until_message(t="error")["code"] == "unauthorized"
    assert client.until_message(t="exit")["reason"] == "revoked"
    assert client.until_closed()[0] == 4403


async def _revoke(core, secret: str) -> None:  # type: ignore[no-untyped-def]
    session = await core.identity.sessions.find(secret)
    await core.identity.sessions.revoke(session.user_id, session.id)
