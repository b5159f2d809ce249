"""The subprotocol wit.term.v1, by a real client, over programs on real PTYs."""

from __future__ import annotations

import json

from tests.websocket.conftest import SANDBOX, Stage
from wit.sandboxes.terminals.attachment import HIGH_WATER

MARK = b"$((6*7))"


def test_a_shell(stage: Stage) -> None:
    client = stage.term(f"/ws/{SANDBOX}?cols=100&rows=30")
    assert client.subprotocol == "wit.term.v1"
    hello = client.until_message(t="hello")
    assert (hello["cols"], hello["rows"], hello["sandbox"]) == (100, 30, SANDBOX)
    assert (hello["offset"], hello["readonly"]) == (0, False)
    client.until_message(t="replayed")
    client.type(b"stty size; echo got-" + MARK + b"\r")
    client.until_seen(b"30 100\r\ngot-42")
    client.send(t="resize", cols=90, rows=20)
    size = client.until_message(t="size")
    assert (size["cols"], size["rows"]) == (90, 20)
    client.type(b"stty size\r")
    client.until_seen(b"20 90")
    client.type(b"printf '\\033]0;my title\\007'\r")
    client.until_message(t="title", title="my title")
    client.send(t="ping", id="p1")
    client.until_message(t="pong", id="p1")
    client.type(b"exit 7\r")
    exit = client.until_message(t="exit")
    assert exit["code"] == 7
    assert client.until_closed()[0] == 1000


def test_coming_back_after_the_connection_was_lost(stage: Stage) -> None:
    client = stage.term()
    hello = client.until_message(t="hello")
    client.type(b"echo one-" + MARK + b"\r")
    client.until_seen(b"one-42")
    client.drop()
    known = hello["offset"] + len(client.seen)
    other = stage.term(f"/ws/{SANDBOX}?terminal={hello['id']}")
    other.until_seen(b"one-42")
    other.type(b"echo two-" + MARK + b"\r")
    other.until_seen(b"two-42")
    again = stage.term(f"/ws/{SANDBOX}?terminal={hello['id']}&from={known}")
    rest = again.until_message(t="hello")
    assert rest["id"] == hello["id"] and rest["offset"] == known and not rest["reset"]
    again.until_seen(b"two-42")
    assert b"one-42" not in again.seen
    whole = client.seen + again.seen
    both = min(len(whole), len(other.seen))
    assert b"two-42" in whole[:both] and whole[:both] == other.seen[:both]


def test_characters_are_bytes_however_they_are_split(stage: Stage) -> None:
    client = stage.term()
    client.until_message(t="hello")
    client.type(b"printf '\\303'; sleep 0.1; printf '\\251\\377end-%s\\n' " + MARK + b"\r")
    client.until_seen(b"\xc3\xa9\xffend-42")


def test_the_terminal_waits_for_acknowledgements(stage: Stage) -> None:
    client = stage.term()
    client.until_message(t="hello")
    client.type(b"yes | head -c 2000000; echo done-" + MARK + b"\r")
    client.until(lambda: len(client.seen) > HIGH_WATER)
    client.send(t="ping", id="now")
    client.until_message(t="pong", id="now")
    assert len(client.seen) < HIGH_WATER + 1_000_000 and b"done-42" not in client.seen
    taken = 0
    while b"done-42" not in client.seen:
        if len(client.seen) - taken >= 65536:
            taken = len(client.seen)
            client.send(t="ack", n=taken)
        assert client.step()
    assert len(client.seen) > 2_000_000


def test_acknowledging_what_was_never_read_gains_nothing(stage: Stage) -> None:
    """A client that says it has seen everything and reads nothing."""
    client = stage.term()
    hello = client.until_message(t="hello")
    client.type(b"yes\r")
    client.until_seen(b"y\r\ny\r\n")
    client.pause()
    client.send(t="ack", n=10**12)
    other = stage.term()
    other.until_message(t="hello")
    session = stage.core.terminals._sessions[hello["id"]]
    printed = -1
    while session.ring.end != printed:  # until nothing was printed for a while
        printed = session.ring.end
        assert printed < 16_000_000
        for number in range(50):
            other.send(t="ping", id=f"{printed}-{number}")
            other.until_message(t="pong", id=f"{printed}-{number}")
    client.go_on()


def test_a_large_paste_into_a_program_that_repeats_it(stage: Stage) -> None:
    """Its output waits for acknowledgements that come behind the input."""
    client = stage.term()
    client.until_message(t="hello")
    client.type(b"stty raw -echo; echo ready-" + MARK + b"; head -c 1500000 | cat\r")
    client.until_seen(b"ready-42\n")
    start = len(client.seen)
    for _ in range(1500000 // 50000):
        client.type(b"p" * 50000)
    taken = 0
    while client.seen.count(b"p", start) < 1500000:
        if len(client.seen) - taken >= 65536:
            taken = len(client.seen)
            client.send(t="ack", n=taken)
        assert client.step()


def test_two_viewers_share_one_size(stage: Stage) -> None:
    first = stage.term(f"/ws/{SANDBOX}?cols=100&rows=40")
    terminal = first.until_message(t="hello")["id"]
    second = stage.term(f"/ws/{SANDBOX}?terminal={terminal}&cols=80&rows=50")
    hello = second.until_message(t="hello")
    assert (hello["cols"], hello["rows"]) == (80, 40)
    first.until_message(t="size", cols=80, rows=40)
    second.type(b"echo both-" + MARK + b"\r")
    first.until_seen(b"both-42")
    second.close()
    first.until_message(t="size", cols=100, rows=40)


def test_watching(stage: Stage) -> None:
    first = stage.term(f"/ws/{SANDBOX}?cols=100&rows=40")
    terminal = first.until_message(t="hello")["id"]
    ticket = stage.ticket(terminal, view_only=True)
    watcher = stage.term(f"/ws/{SANDBOX}?ticket={ticket}&cols=20&rows=5", who="")
    hello = watcher.until_message(t="hello")
    assert hello["id"] == terminal and hello["readonly"] and hello["cols"] == 100
    watcher.type(b"echo typed-" + MARK + b"\r")
    watcher.send(t="resize", cols=10, rows=5)
    watcher.send(t="ping", id="x")
    watcher.until_message(t="pong", id="x")
    first.type(b"echo real-" + MARK + b"\r")
    watcher.until_seen(b"real-42")
    assert b"typed-42" not in watcher.seen + first.seen
    watcher.send(t="kick")
    assert watcher.until_message(t="error")["code"] == "forbidden"
    assert watcher.until_closed()[0] == 4403


def test_an_administrator_watches_and_opens_nothing(stage: Stage) -> None:
    refused = stage.term(who="carol")
    assert refused.until_message(t="error")["code"] == "forbidden"
    nothing = stage.term(f"/ws/{SANDBOX}?view=1", who="carol")
    assert nothing.until_message(t="error")["code"] == "not_found"
    first = stage.term()
    terminal = first.until_message(t="hello")["id"]
    for path in (f"/ws/{SANDBOX}?view=1", f"/ws/{SANDBOX}?terminal={terminal}"):
        hello = stage.term(path, who="carol").until_message(t="hello")
        assert hello["id"] == terminal and hello["readonly"]


def test_kicking(stage: Stage) -> None:
    first = stage.term()
    terminal = first.until_message(t="hello")["id"]
    second = stage.term(f"/ws/{SANDBOX}?terminal={terminal}")
    second.until_message(t="hello")
    second.send(t="kick")
    assert first.until_message(t="exit")["reason"] == "kicked"
    assert first.until_closed()[0] == 4409
    second.type(b"echo alone-" + MARK + b"\r")
    second.until_seen(b"alone-42")


def test_malformed_messages(stage: Stage) -> None:
    for text in (b"no json", b"[]", b'{"t":"resize","cols":"a","rows":1}', b'{"t":"ack","n":-1}',
                 b'{"t":"resize"}', b"[" * 60000):  # fmt: skip
        client = stage.term()
        client.until_message(t="hello")
        client.send_raw(text)
        assert client.until_message(t="error")["code"] == "invalid", text
        assert client.until_closed()[0] == 4400
    client = stage.term()
    client.until_message(t="hello")
    client.send_raw(json.dumps({"t": "unknown"}).encode())
    client.send(t="ping", id="still there")
    client.until_message(t="pong", id="still there")
    client.type(b"x" * 65 * 1024)
    assert client.until_closed()[0] == 1009


def test_malformed_parameters(stage: Stage) -> None:
    for query in ("from=-1", "from=x", "cols=1e3&rows=2", "cols=&rows=", "from=" + "9" * 30):
        client = stage.term(f"/ws/{SANDBOX}?{query}")
        assert client.until_message(t="error")["code"] == "invalid", query
        assert client.until_closed()[0] == 4400
