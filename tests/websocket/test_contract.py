"""The contract's JSON messages (rest.md, "Terminal WebSocket")."""

from __future__ import annotations

import pytest

from tests.sandboxes.terminals.pty import FakeSandboxes
from tests.websocket.conftest import OTHER, REPO, SANDBOX, Stage

REPO_PATH = f"/api/sandbox/ws/{REPO}"
MARK = "$((6*7))"


def test_a_shell(stage: Stage) -> None:
    client = stage.open(REPO_PATH)
    assert client.subprotocol is None
    client.until_message(type="ready")
    client.send(type="init", cols=100, rows=30, branch="main")
    session = client.until_message(type="session")
    assert session["sessionId"]
    client.send(type="input", data=f"stty size; echo é-{MARK}\r")
    client.until_seen(b"30 100\r\n\xc3\xa9-42")
    client.send(type="resize", cols=90, rows=20)
    client.send(type="input", data="stty size\r")
    client.until_seen(b"20 90")
    client.send(type="input", data="exit 7\r")
    assert client.until_message(type="exit")["code"] == 7
    assert client.until_closed()[0] == 1000


def test_the_page_of_a_sandbox(stage: Stage) -> None:
    client = stage.open(f"/ws/{SANDBOX}")
    client.until_message(type="ready")
    client.send(type="init")
    client.until_message(type="session")
    client.send(type="input", data="stty size\r")
    client.until_seen(b"30 120")


def test_what_comes_before_ready_is_kept(stage: Stage) -> None:
    client = stage.open(REPO_PATH)
    client.send(type="init", cols=100, rows=30)
    client.send(type="input", data="stty size\r")
    client.until_seen(b"30 100")
    assert [message["type"] for message in client.messages[:2]] == ["ready", "session"]


def test_what_comes_before_init_is_ignored(stage: Stage) -> None:
    client = stage.open(REPO_PATH)
    client.until_message(type="ready")
    client.send(type="input", data="echo early-$((6*7))\r")
    client.send(type="resize", cols=50, rows=10)
    client.send(type="init", cols=100, rows=30)
    client.send(type="input", data="stty size\r")
    client.until_seen(b"30 100")
    assert b"early-42" not in client.seen


def test_text_is_whole_whatever_the_pieces(stage: Stage) -> None:
    client = stage.open(REPO_PATH)
    client.send(type="init")
    client.send(
        type="input", data=f"printf '\\303'; sleep 0.1; printf '\\251\\377end-%s\\n' {MARK}\r"
    )
    client.until_seen("é\ufffdend-42".encode())


def test_much_text(stage: Stage) -> None:
    client = stage.open(REPO_PATH)
    client.send(type="init")
    client.send(type="input", data=f"yes | head -c 600000; echo done-{MARK}\r")
    client.until_seen(b"done-42")
    assert client.seen.count(b"y\r\n") >= 300_000 - 10


def test_coming_back(stage: Stage) -> None:
    client = stage.open(REPO_PATH)
    client.send(type="init")
    first = client.until_message(type="session")["sessionId"]
    client.send(type="input", data=f"echo one-{MARK}\r")
    client.until_seen(b"one-42")
    other = stage.open(REPO_PATH)
    other.send(type="init")
    assert other.until_message(type="session")["sessionId"] != first, "somebody looks at the first"
    client.close()  # answered by the server, which knows by then
    again = stage.open(REPO_PATH)
    again.send(type="init")
    assert again.until_message(type="session")["sessionId"] == first
    again.until_seen(b"one-42")


@pytest.mark.parametrize(
    ("path", "who", "message"),
    (
        (REPO_PATH, "", "Not authenticated"),
        (REPO_PATH, "nobody", "Not authenticated"),
        (REPO_PATH, "bob", "repository not found"),
        ("/api/sandbox/ws/nothing", "alice", "repository not found"),
        (f"/ws/{'c' * 32}", "alice", "sandbox not found"),
        (f"/ws/{OTHER}", "alice", "sandbox not found"),
        (f"/ws/{SANDBOX}", "limited", "this token lacks the scope sandbox"),
        (f"/ws/{SANDBOX}?ticket=wrong", "alice", "this ticket is wrong, used or too old; "
         "ask for a new one"),
    ),
)  # fmt: skip
def test_refusals(stage: Stage, path: str, who: str, message: str) -> None:
    client = stage.open(path, who)
    client.send(type="init")
    assert client.until_closed() == (1008, message)
    assert client.messages == [{"type": "error", "message": message}]


def test_a_failure_of_ours(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr(FakeSandboxes, "execute", broken)
    client = stage.open(REPO_PATH)
    client.send(type="init")
    error = client.until_message(type="error")["message"]
    assert error.startswith("internal error, request id ")
    assert client.until_closed() == (1011, error)


def test_malformed(stage: Stage) -> None:
    for text in (b"nothing", b'"text"', b'{"type":"input","data":3}', b'{"type":"init","cols":[]}'):
        client = stage.open(REPO_PATH)
        client.until_message(type="ready")
        client.send_raw(text)
        assert client.until_message(type="error")
        assert client.until_closed()[0] == 1008
