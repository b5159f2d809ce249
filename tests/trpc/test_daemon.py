"""The door of a running daemon: the tokens router by the real client, and attacks (attack list,
lines 32 and 33 in the manner of this door)."""

from __future__ import annotations

import gzip
import json
from urllib.parse import quote

import pytest

from tests.support.daemon import PASSWORD
from tests.support.site import Site
from tests.support.wire import Http
from wit.access.actor import TOKEN_SCOPES
from wit.accounts.sessions import Device
from wit.core import Core

from .support import ask, get, post, run_client


@pytest.fixture
def token(site: Site) -> str:
    """A token of alice's with which she can read and delete her tokens."""

    async def create(core: Core) -> str:
        user = await core.users.by_username("alice")
        _, secret = await core.tokens.create(user["id"], "trpc", ["user:read", "user:write"], 1)
        return str(secret)

    return str(site.do(create))


def test_tokens_by_the_real_client(site: Site, token: str) -> None:
    listed, scopes, odd, missing, made, verified, deleted = run_client(
        site.daemon.url().rstrip("/"), "tokens", token
    )
    kind, tokens = listed["ok"]
    assert kind == "list" and tokens
    shown = dict(tokens[-1][1])
    assert shown["createdAt"][0] == shown["expiresAt"][0] == "Date"
    assert shown["name"] == ["plain", "trpc"] and "token" not in shown
    assert len(scopes["ok"][1]) == len(TOKEN_SCOPES)
    issues = json.loads(odd["error"]["message"])
    assert issues == [
        {"validation": "uuid", "code": "invalid_string", "message": "Invalid uuid", "path": ["id"]}
    ]
    assert missing["error"]["data"] == {
        "code": "NOT_FOUND", "httpStatus": 404, "path": "tokens.get",
    }  # fmt: skip
    assert made["error"]["data"]["code"] == "FORBIDDEN", "a token makes no tokens"
    assert dict(verified["ok"][1])["valid"] == ["plain", True]
    assert deleted["error"]["data"]["code"] == "NOT_FOUND"


def test_strangers_are_told_to_sign_in(site: Site) -> None:
    outcomes = run_client(site.daemon.url().rstrip("/"), "tokens")
    assert {one["error"]["data"]["code"] for one in outcomes} == {"UNAUTHORIZED"}
    assert {one["error"]["message"] for one in outcomes} == {"sign in to do this"}


def test_attacks_on_the_wire(site: Site, token: str) -> None:
    """Each is refused with its own status, and the daemon goes on as if nothing had been."""
    port, signed_in = site.daemon.http_port, {"Authorization": f"Bearer {token}"}
    logged_before = len(site.daemon.log())

    def send(body: bytes, target: str = "tokens.delete", **headers: str) -> int:
        return ask(port, "POST", target, body, **signed_in, **headers).status

    deep = b'{"json":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    polluting = {
        "json": {"id": "x", "__proto__": {"admin": True}},
        "meta": {"values": {"__proto__.admin": ["undefined"], "constructor.prototype": ["Date"]}},
    }
    bomb = gzip.compress(b" " * 100_000_000)
    assert ask(port, "GET", f"{','.join(['tokens.list'] * 51)}?batch=1", **signed_in).status == 400
    assert ask(port, "GET", f"{'tokens.list,' * 1000}?batch=1", **signed_in).status == 400
    assert send(deep) == 400
    assert send(json.dumps(polluting).encode()) == 400
    assert send(bomb, Content_Encoding="gzip") == 413
    assert send(b"{}" * 1_000_000) == 413
    assert send(b"{}", Content_Type="text/plain") == 415
    assert send(b"json=%7B%7D", Content_Type="application/x-www-form-urlencoded") == 415
    assert send(b"--x", Content_Type="multipart/form-data; boundary=x") == 415
    assert get(port, f"tokens.get?token={token}").status == 401, "not in the address"
    params = quote(json.dumps({"token": token, "Authorization": token}))
    assert get(port, f"tokens.list?connectionParams={params}").status == 401
    with Http(port) as http:
        http.send(
            b"POST /trpc/tokens.delete HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert http.answer().status == 400
    with Http(port) as http:  # pipelined: answered in their order
        line = b"GET /trpc/%b HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %b\r\n\r\n"
        key = token.encode()
        http.send(line % (b"tokens.list", key) + line % (b"tokens.nothing", key))
        assert [http.answer().status, http.answer().status] == [200, 404]
    assert get(port, "tokens.list", **signed_in).status == 200
    assert "Traceback" not in site.daemon.log()[logged_before:]


def test_a_browsers_session(site: Site) -> None:
    """By its cookie, from our own pages; over at once when the user is suspended."""

    async def sign_in(core: Core) -> tuple[str, str]:
        name = f"browser{core.runtime.random_bytes(4).hex()}"
        user = await core.users.create(name, f"{name}@example.org", PASSWORD)
        session = await core.identity.sessions.create(user["id"], Device())
        return user["id"], core.signer.sign(session.token)

    user_id, value = site.do(sign_in)
    port = site.daemon.http_port
    cookie = {"Cookie": f"better-auth.session_token={quote(value, safe='')}"}
    made = {"name": "by cookie", "scopes": ["repo:read"]}
    assert get(port, "tokens.list", **cookie).json == {"result": {"data": {"json": []}}}
    forged = {"Cookie": cookie["Cookie"][:-4] + "AA%3D"}
    assert get(port, "tokens.list", **forged).status == 401
    evil = post(port, "tokens.create", made, Origin="https://evil.example", **cookie)
    assert (evil.status, evil.shape["data"]["code"]) == (403, "FORBIDDEN")
    own = post(port, "tokens.create", made, Origin="http://wit.example", **cookie)
    assert own.json["result"]["data"]["meta"]["values"] == {"createdAt": ["Date"]}
    token = {"Authorization": f"Bearer {own.json['result']['data']['json']['token']}"}
    assert get(port, "tokens.list", **token).status == 403, "it lacks the scope"

    site.do(lambda core: core.users.suspend(user_id, "spam"))
    assert get(port, "tokens.list", **cookie).status == 401, "the session has ended"
    refused = get(port, "tokens.list", **token)
    assert refused.status == 403
    assert refused.shape["message"] == "this account is suspended: spam"
