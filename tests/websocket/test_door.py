"""Who comes in, from where, and how many."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from tests.conftest import Run
from tests.support.daemon import wait_until
from tests.support.websocket import Refused
from tests.websocket.conftest import ALICE, BOB, CAROL, OTHER, REPO, SANDBOX, Stage
from wit.config import Terminals as Settings
from wit.errors import NotFound
from wit.websocket.flow import Flow

COOKIE = {"Cookie": "better-auth.session_token=alice"}
PATH = f"/ws/{SANDBOX}"

HANDSHAKE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Authorization": "Bearer alice",
}


def ask(stage: Stage, path: str = PATH, method: str = "GET", rest: bytes = b"",
        **changed: str | None) -> bytes:  # fmt: skip
    """The answer's head to a handshake that is changed in some headers."""
    headers: dict[str, str | None] = dict(HANDSHAKE)
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    with socket.create_connection(("127.0.0.1", stage.port), 20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + rest)
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = connection.recv(65536)
            if not data:
                break
            answer += data
        return answer


def status(answer: bytes) -> int:
    return int(answer.split()[1])


@pytest.mark.parametrize("origin", ("https://evil.example", "null", "http://127.0.0.1", "x", ""))
def test_foreign_pages_get_nowhere(stage: Stage, origin: str) -> None:
    """Whatever credential they have."""
    ticket = stage.ticket()
    for headers, query in ((COOKIE, ""), ({"Authorization": "Bearer alice"}, ""),
                           ({}, f"?ticket={ticket}")):  # fmt: skip
        with pytest.raises(Refused, match="403"):
            stage.term(PATH + query, who="", headers={**headers, "Origin": origin})
    client = stage.term(f"{PATH}?ticket={ticket}", who="")
    client.until_message(t="hello")


def test_our_own_pages(stage: Stage) -> None:
    for headers in (COOKIE, {"Authorization": "Bearer alice"}):
        client = stage.term(who="", headers={**headers, "Origin": stage.origin})
        client.until_message(t="hello")


def test_cookies_without_an_origin(stage: Stage) -> None:
    client = stage.term(who="", headers=COOKIE)
    client.until_message(t="hello")
    client = stage.term(who="", headers={**COOKIE, "Sec-Fetch-Site": "cross-site"})
    assert client.until_message(t="error")["code"] == "forbidden"


def test_tickets(stage: Stage) -> None:
    for target, path in ((SANDBOX, PATH), (SANDBOX, f"/api/sandbox/ws/{REPO}")):
        ticket = stage.ticket(target)
        client = stage.term(f"{path}?ticket={ticket}", who="")
        terminal = client.until_message(t="hello")["id"]
        again = stage.term(f"{path}?ticket={ticket}", who="")
        assert again.until_message(t="error")["code"] == "unauthorized"
        assert again.until_closed()[0] == 4401
        ticket = stage.ticket(terminal)
        client = stage.term(f"{path}?ticket={ticket}", who="")
        assert client.until_message(t="hello")["id"] == terminal


def test_a_ticket_for_something_else(stage: Stage) -> None:
    for path in (f"/ws/{OTHER}", "/api/sandbox/ws/22222222-2222-4333-8444-555555555555"):
        client = stage.term(f"{path}?ticket={stage.ticket()}", who="")
        assert client.until_message(t="error")["code"] == "not_found"
    mine = stage.term().until_message(t="hello")["id"]
    others = stage.term(f"/ws/{OTHER}", who="carol").until_message(t="hello")["id"]
    client = stage.term(f"{PATH}?ticket={stage.ticket()}&terminal={others}", who="")
    assert client.until_message(t="error")["code"] == "not_found"
    client = stage.term(f"{PATH}?ticket={stage.ticket(mine)}&terminal={others}", who="")
    assert client.until_message(t="hello")["id"] == mine, "the ticket decides"


def test_a_ticket_to_watch_opens_nothing(stage: Stage) -> None:
    client = stage.term(f"{PATH}?ticket={stage.ticket(view_only=True)}", who="")
    assert client.until_message(t="error")["code"] == "not_found"
    for made in (f"{PATH}?ticket={stage.ticket(view_only=True)}",
                 f"{PATH}?ticket={stage.ticket(of=CAROL)}&view=0"):  # fmt: skip
        client = stage.open(made, who="")
        client.send(type="init")
        assert client.until_closed()[0] == 1008
    assert not stage.core.terminals._sessions


def test_who_gets_a_ticket(stage: Stage) -> None:
    for actor, target in ((BOB, SANDBOX), (ALICE, OTHER), (ALICE, "f" * 32)):
        with pytest.raises(NotFound):
            stage.ticket(target, of=actor)


def test_terminals_of_others_are_missing_ones(stage: Stage) -> None:
    terminal = stage.term().until_message(t="hello")["id"]
    told = []
    for wanted in (terminal, "f" * 32):
        client = stage.term(f"/ws/{OTHER}?terminal={wanted}", who="bob")
        told.append(client.until_message(t="error"))
    assert told[0] == told[1] and told[0]["code"] == "not_found"


@pytest.mark.parametrize(
    ("changed", "code"),
    (
        ({"method": "POST"}, 426),
        ({"path": f"/api/sandbox/ws/{REPO}", "Upgrade": None}, 426),
        ({"Upgrade": None}, 404),
        ({"Upgrade": "h2c"}, 404),
        ({"Connection": "keep-alive"}, 400),
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Version": None}, 426),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Key": "short"}, 400),
        ({"Sec_WebSocket_Protocol": "wit.term.v1, wit.term.v1"}, 400),
        ({"path": "/ws/somebody"}, 404),
        ({"path": "/ws/" + "a" * 31}, 404),
        ({"path": f"/ws/{SANDBOX}/more"}, 404),
    ),
)
def test_what_is_no_handshake(stage: Stage, changed: dict[str, Any], code: int) -> None:
    answer = ask(stage, **changed)
    assert status(answer) == code, answer
    if code == 426:
        head = answer.lower()
        assert b"upgrade: websocket" in head or b"sec-websocket-version: 13" in head


def test_the_upgrade(stage: Stage) -> None:
    """Nothing of ours is told that need not be, and what comes with the handshake is not lost."""
    ping = bytes((0x89, 0x82, 0, 0, 0, 0)) + b"hi"
    answer = ask(stage, rest=ping, Sec_WebSocket_Protocol="other, wit.term.v1")
    head = answer.split(b"\r\n\r\n")[0]
    assert status(answer) == 101
    assert b"Sec-WebSocket-Protocol: wit.term.v1" in head and b"X-Request-Id: " in head
    assert b"Autobahn" not in head and b"Extensions" not in head


def test_compression_is_not_spoken(stage: Stage) -> None:
    answer = ask(stage, Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits")
    assert status(answer) == 101 and b"Extensions" not in answer


def test_one_user_has_so_many(stages: Any) -> None:
    stage = stages(Settings(max_viewers_per_user=2))
    first, second = stage.term(), stage.term()
    for client in (first, second):
        client.until_message(t="hello")
    with pytest.raises(Refused, match="503"):
        stage.term()
    stage.term(f"/ws/{OTHER}", who="carol").until_message(t="hello")
    first.close()
    stage.term().until_message(t="hello")


def test_a_sandbox_has_so_many_terminals(stages: Any) -> None:
    stage = stages(Settings(max_per_sandbox=2, max_per_user=3))
    clients = [stage.term() for _ in range(2)]
    for client in clients:
        client.until_message(t="hello")
    full = stage.term()
    assert full.until_message(t="error")["code"] == "conflict"
    assert full.until_closed()[0] == 4409
    clients[0].type(b"exit\r")
    clients[0].until_closed()
    stage.term().until_message(t="hello")


def test_whoever_loses_his_right_is_sent_away(stages: Any) -> None:
    stage = stages(Settings(check_seconds=0.05))
    client = stage.term()
    client.until_message(t="hello")
    box = stage.sandboxes.boxes[SANDBOX]
    box.user_id = "bob"
    assert client.until_message(t="exit")["reason"] == "revoked"
    assert client.until_closed() == (4403, "you may no longer use this terminal")


@pytest.mark.parametrize(
    ("setting", "reason"),
    (
        (Settings(idle_seconds=0.5), "idle"),
        (Settings(max_seconds=0.5), "expired"),
        (Settings(detached_seconds=0.1), "abandoned"),
    ),
)
def test_how_long_terminals_live(stages: Any, setting: Settings, reason: str) -> None:
    stage = stages(setting)
    client = stage.term()
    terminal = client.until_message(t="hello")["id"]
    if reason == "abandoned":
        client.drop()
        session = stage.core.terminals._sessions[terminal]
        wait_until(lambda: session.ended)
        client = stage.term(f"{PATH}?terminal={terminal}")
    assert client.until_message(t="exit")["reason"] == reason
    assert client.until_closed()[0] == 4408


def test_a_server_that_stops_says_so(stages: Any, run: Run) -> None:
    stage = stages()
    client = stage.term()
    client.until_message(t="hello")
    run(stage.service.stop(5))
    assert client.until_closed()[0] == 1001
    run(stage.core.terminals.stop())
    assert stage.sandboxes.executions[0]._process.pid is None


def test_no_secret_in_the_log(stage: Stage) -> None:
    lines: list[str] = []

    @implementer(ILogObserver)
    def note(event: Any) -> None:
        lines.append(json.dumps({key: str(value) for key, value in event.items()}))

    globalLogPublisher.addObserver(note)
    try:
        ticket = stage.ticket()
        client = stage.term(f"{PATH}?ticket={ticket}", who="")
        client.until_message(t="hello")
        client.type(b"echo typed-canary\r")
        client.until_seen(b"typed-canary")
        client.close()
        other = stage.term(f"{PATH}?ticket={ticket}")
        other.until_closed()
    finally:
        globalLogPublisher.removeObserver(note)
    text = "\n".join(lines)
    assert PATH in text
    assert ticket not in text and "typed-canary" not in text


def test_what_has_been_taken() -> None:
    plain, careful = Flow(acknowledges=False), Flow(acknowledges=True)
    for flow in (plain, careful):
        flow.sent(100)
    assert (plain.newly_taken(), careful.newly_taken()) == (100, 0)
    careful.acknowledged(60)
    assert (careful.newly_taken(), careful.newly_taken()) == (60, 0)
    careful.acknowledged(10**9)
    assert careful.newly_taken() == 40
    for flow in (plain, careful):
        flow.stuck()
        flow.sent(50)
        flow.acknowledged(150)
        assert flow.newly_taken() == 0
        flow.flowing()
        assert flow.newly_taken() == 50
    careful.sent(10)
    careful.acknowledge_all()
    assert careful.newly_taken() == 10
    careful.acknowledged(160)
    assert careful.newly_taken() == 0
