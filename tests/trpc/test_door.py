"""What only wit's door does: who is let in, limits, order, endings."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from tests.support.daemon import wait_until
from tests.support.wire import Http
from tests.web.harness import Online, online
from wit.access.actor import Actor
from wit.config import Accounts, Config, Server
from wit.errors import RateLimited
from wit.runtime import Runtime
from wit.trpc import door as door_module
from wit.trpc.door import CONCURRENCY, MAX_SUBSCRIPTIONS, TrpcDoor, side_by_side
from wit.web.streaming import Request

from .procedures import SECRET, Gate
from .support import Reply, ask, get, make_door, post, run_client

Run = Callable[[Any], Any]
COOKIE = "better-auth.session_token=good.signa%2Fture%3D"


# credentials


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer good"}, 200),
        ({"Authorization": "bearer good"}, 200),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Bearer good\r\nAuthorization: Bearer good"}, 401),
        ({"Authorization": "Bearer weak"}, 403),
        ({"Authorization": "Bearer suspended"}, 403),
        ({"Authorization": "Basic YWRhOmdvb2Q="}, 401),
        ({"Cookie": COOKIE}, 200),
        ({"Cookie": f"a=b; {COOKIE}; c"}, 200),
        ({"Cookie": "better-auth.session_token=good.forged"}, 401),
        ({"Cookie": "better-auth.session_token=suspended.signature"}, 403),
        ({"Cookie": f"__Secure-{COOKIE}"}, 401),
        ({"Cookie": COOKIE, "Authorization": "Bearer wrong"}, 401),
        ({"Cookie": COOKIE, "Authorization": "Bearer"}, 401),
        ({"Cookie": COOKIE, "Authorization": "Basic YWRhOmdvb2Q="}, 200),
    ],
)
def test_credentials(wit: Online, headers: dict[str, str], status: int) -> None:
    """A Bearer header switches the cookie off; a wrong credential is none."""
    assert get(wit.port, "plain.me", **headers).status == status


def test_a_suspended_user_may_not_even_what_everybody_may(wit: Online) -> None:
    reply = get(wit.port, "plain.date", Authorization="Bearer suspended")
    assert (reply.status, reply.shape["data"]["code"]) == (403, "FORBIDDEN")
    assert reply.shape["message"] == "this account is suspended: spam"


@pytest.fixture
def secure(run: Run, runtime: Runtime, tmp_path: Path, gate: Gate) -> Iterator[Online]:
    """A site that people reach by https."""
    config = Config(
        tmp_path,
        server=Server(public_url="https://wit.example", cors_origins=("https://app.example",)),
        accounts=Accounts(trusted_origins=("https://friend.example",)),
    )
    with online(run, runtime, [make_door(runtime, config, gate).route]) as served:
        yield served


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "https://wit.example"}, 200),
        ({"Origin": "https://friend.example"}, 200),
        ({"Origin": "https://app.example"}, 200),
        ({"Origin": "https://other.example:8443", "Host": "other.example:8443"}, 200),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://wit.example.evil.example"}, 403),
        ({"Origin": "https://wit.example:444"}, 403),
        ({"Origin": "http://wit.example"}, 403),
        ({"Origin": "https://evil.example", "Sec_Fetch_Site": "same-origin"}, 403),
    ],
)
def test_pages_of_other_sites_cannot_act_by_the_cookie(
    secure: Online, headers: dict[str, str], status: int
) -> None:
    cookie = {"Cookie": f"__Secure-{COOKIE}"}
    reply = post(secure.port, "plain.rename", {"name": "x"}, **cookie, **headers)
    assert reply.status == status
    subscription = ask(
        secure.port, "GET", "watch.mine?input=" + quote('{"json":{"n":1}}'), **cookie, **headers
    )
    assert ("serialized-error" in subscription.body) is (status == 403)
    assert get(secure.port, "plain.me", **cookie, **headers).status == 200, (
        "reading changes nothing"
    )
    token = {"Authorization": "Bearer good"}
    assert post(secure.port, "plain.rename", {"name": "x"}, **token, **headers).status == 200


# errors


@pytest.mark.parametrize("procedure", ["plain.crash", "plain.unsendable"])
def test_an_unexpected_failure_shows_the_request_id_only(wit: Online, procedure: str) -> None:
    reply = get(wit.port, procedure)
    request_id = reply.headers["x-request-id"]
    assert reply.status == 500
    assert reply.json == {
        "error": {
            "json": {
                "message": f"internal error, request id {request_id}",
                "code": -32603,
                "data": {"code": "INTERNAL_SERVER_ERROR", "httpStatus": 500, "path": procedure},
            }
        }
    }
    for headers in ({}, {"trpc_accept": "application/jsonl"}):
        body = ask(wit.port, "GET", f"{procedure},plain.none?batch=1", **headers).body
        assert SECRET not in body and "internal error" in body


def test_a_failure_while_looking_for_the_caller(wit: Online) -> None:
    for target in ("plain.none", "plain.none,plain.none?batch=1", "gate.forever"):
        reply = ask(wit.port, "GET", target, Authorization="Bearer breaks")
        assert SECRET not in reply.body
        assert '"code":"INTERNAL_SERVER_ERROR"' in reply.body
        assert f"request id {reply.headers['x-request-id']}" in reply.body


def test_retry_after(wit: Online) -> None:
    assert get(wit.port, "plain.fail", {"code": "TOO_MANY_REQUESTS"}).headers["retry-after"] == "7"
    inputs = {n: {"json": {"code": code}} for n, code in enumerate(["TOO_MANY_REQUESTS", "CONFLICT",
              "SERVICE_UNAVAILABLE"])}  # fmt: skip
    target = "plain.fail,plain.fail,plain.fail?batch=1&input=" + quote(json.dumps(inputs))
    reply = ask(wit.port, "GET", target)
    assert (reply.status, reply.headers["retry-after"]) == (207, "9")


def test_a_rule_of_the_inputs_own(wit: Online) -> None:
    issues = json.loads(get(wit.port, "plain.odd", {"word": "x"}).shape["message"])
    assert issues == [{"code": "custom", "message": "no such word", "path": ["word"]}]


def test_many_issues_are_cut_short(wit: Online) -> None:
    value = {
        "name": "abc",
        "size": 1,
        "kind": "k" * 5000,
        "tags": ["a"],
        "inner": {"deep": [{}] * 300},
    }
    shape = get(wit.port, "plain.buy", value).shape
    issues = json.loads(shape["message"])
    assert len(issues) == 100
    assert issues[0]["received"] == "k" * 200 + "..."
    assert len(shape["message"]) < 30_000


def test_aliases(wit: Online) -> None:
    assert get(wit.port, "alias.date").json == get(wit.port, "plain.date").json
    assert get(wit.port, "alias.me").shape["data"]["path"] == "alias.me"


def test_head_and_other_addresses(wit: Online) -> None:
    with Http(wit.port) as http:
        http.send(b"HEAD /trpc/plain.date HTTP/1.1\r\nHost: h\r\n\r\n")
        assert http.head()[0] == 204
        http.send(b"GET /trpcplain.date HTTP/1.1\r\nHost: h\r\n\r\n")
        assert http.answer().status == 404


# bodies


def test_the_body_is_asked_for_only_when_a_call_is_let_in(wit: Online) -> None:
    """A client that waits for 100 Continue is refused without having sent it."""
    head = (
        "POST /trpc/{} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        "Content-Length: 50\r\nExpect: 100-continue\r\n\r\n"
    )
    for target, status in [
        ("plain.rename", 401),
        ("plain.nowhere", 404),
        ("plain.date", 405),
        ("plain.rename,plain.nowhere?batch=1", 207),
        (",".join(["plain.add"] * 51) + "?batch=1", 400),
    ]:
        with Http(wit.port) as http:
            assert http.send(head.format(target).encode()).head()[0] == status, target
    with Http(wit.port) as http:
        assert http.send(head.format("plain.add").encode()).head()[0] == 100
        http.send(b'{"json":{"a":1,"b":2}}'.ljust(50))
        assert http.answer().status == 200


def test_bodies_have_a_limit(wit: Online) -> None:
    large = json.dumps({"json": {"a": 1, "b": 2, "c": "x" * 100_000}})
    for target in ("plain.add", "plain.add,plain.add?batch=1"):
        reply = ask(wit.port, "POST", target, large)
        assert reply.status == 413
    with Http(wit.port) as http:  # it is not even asked for
        http.send(
            b"POST /trpc/plain.add HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            b"Content-Length: 9999999999\r\n\r\n"
        )
        assert http.answer().status == 413
    packed = gzip.compress(b'{"json":{"a":1,"b":2}}')
    assert ask(wit.port, "POST", "plain.add", packed, Content_Encoding="gzip").status == 200
    bomb = gzip.compress(b" " * 50_000_000)
    assert ask(wit.port, "POST", "plain.add", bomb, Content_Encoding="gzip").status == 413
    assert ask(wit.port, "POST", "plain.add", b"x", Content_Encoding="br").status == 415


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b'{"json":{"a":1,"b":"\\ud800"}}',
        b'{"json":{"a":1,"b":"\\u0000"}}',
        b'{"json":' + b"[" * 40_000 + b"]" * 40_000 + b"}",
        b'{"json":' + b'{"a":' * 9_000 + b"1" + b"}" * 9_001,
        b'{"json":{"a":' + b"9" * 90_000 + b',"b":1}}',
        b'{"json":{"a":NaN,"b":1}}',
        b'{"json":{"a":1e999,"b":1}}',
        b'{"json":{"a":1,"b":2},"meta":{"values":{"a":["bigint"]},"v":1}} ',
        b'{"json":{"a":1,"b":2},"meta":{"values":{"__proto__.x":["undefined"]},"v":1}}',
        b'{"json":{"a":1,"b":2},"meta":{"values":' + b'["map",{"a":' * 200 + b"1" + b"}]" * 200 + b"}}",
    ],
)  # fmt: skip
def test_hostile_bodies(wit: Online, body: bytes) -> None:
    reply = ask(wit.port, "POST", "plain.add", body)
    assert (reply.status, reply.shape["data"]["code"]) == (400, "BAD_REQUEST")
    assert get(wit.port, "plain.date").status == 200


def test_chunks_that_are_none(wit: Online) -> None:
    with Http(wit.port) as http:
        http.send(
            b"POST /trpc/plain.add HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
        )
        answer = http.answer()
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["json"]["data"]["path"] == "plain.add"


# batches


def test_a_batch_runs_side_by_side_but_not_all_at_once(wit: Online, gate: Gate) -> None:
    with Http(wit.port) as http:
        http.send(
            f"GET /trpc/{','.join(['gate.wait'] * 20)}?batch=1 HTTP/1.1\r\nHost: h\r\n\r\n".encode()
        )
        opened = 0
        while opened < 20:
            wait_until(lambda: len(gate.waiting) == min(CONCURRENCY, 20 - opened))
            opened += post(wit.port, "gate.open", None).json["result"]["data"]["json"]
        answer = http.answer()
    assert gate.most == CONCURRENCY
    assert json.loads(answer.body) == [{"result": {"data": {"json": "let go"}}}] * 20


@pytest.mark.parametrize("accept", ["", "application/jsonl"])
def test_a_client_that_leaves_cancels_its_batch(wit: Online, gate: Gate, accept: str) -> None:
    with Http(wit.port) as http:
        lines = f"trpc-accept: {accept}\r\n" if accept else ""
        http.send(
            f"GET /trpc/{','.join(['gate.wait'] * 20)}?batch=1 HTTP/1.1\r\nHost: h\r\n{lines}\r\n".encode()
        )
        wait_until(lambda: gate.running == CONCURRENCY)
    wait_until(lambda: gate.running == 0)
    assert gate.most == CONCURRENCY


def test_answers_are_streamed_in_the_order_in_which_they_are_there(wit: Online) -> None:
    assert run_client(wit, "order") == ["fast", "slow"]


def test_one_that_raises_cancels_the_others(run: Run) -> None:
    async def fails() -> None:
        raise ValueError("no")

    async def waits() -> None:
        try:
            await Deferred()
        except CancelledError:
            ended.append("cancelled")
            raise

    ended: list[str] = []
    with pytest.raises(ValueError, match="no"):
        run(side_by_side([waits(), waits(), fails(), waits()], 3))
    assert ended == ["cancelled"] * 2


# subscriptions


def open_subscription(port: int, path: str = "gate.forever") -> Http:
    http = Http(port)
    http.send(f"GET /trpc/{path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    http.until(b'data: {"json":1}')
    return http


def test_a_client_that_leaves_ends_the_subscription(wit: Online, gate: Gate) -> None:
    assert run_client(wit, "leave") == 1
    wait_until(lambda: gate.left == 1)


def test_a_connection_that_breaks_ends_the_subscription(wit: Online, gate: Gate) -> None:
    open_subscription(wit.port).reset()
    wait_until(lambda: gate.left == 1)


def test_a_server_that_stops_ends_subscriptions_at_once(
    wit: Online, door: TrpcDoor, gate: Gate, run: Run
) -> None:
    """Whole, but without ``return``: so the client connects again."""
    with open_subscription(wit.port) as http:
        run(_do(door.finish_up))
        rest = http.until(b"0\r\n\r\n")
    wait_until(lambda: gate.left == 1)
    assert b"return" not in rest and b"error" not in rest


def test_subscriptions_send_signs_of_life(
    run: Run, tmp_path: Path, gate: Gate, runtime: Runtime
) -> None:
    clock = Clock()
    door = make_door(Runtime(clock), Config(tmp_path), gate)
    with online(run, runtime, [door.route]) as served, open_subscription(served.port) as http:
        for _ in range(3):
            run(_do(lambda: clock.advance(door_module.PING_SECONDS)))
            assert http.until(b"event: ping\ndata: \n\n\n")
    wait_until(lambda: gate.left == 1)
    assert not clock.getDelayedCalls()


def test_open_subscriptions_of_one_caller_are_limited(wit: Online, gate: Gate) -> None:
    opened = [open_subscription(wit.port) for _ in range(MAX_SUBSCRIPTIONS)]
    refused = ask(wit.port, "GET", "gate.forever")
    assert '"code":"TOO_MANY_REQUESTS"' in refused.body and "serialized-error" in refused.body
    mine = "watch.mine?input=" + quote('{"json":{"n":1}}')
    assert '"ada"' in ask(wit.port, "GET", mine, Authorization="Bearer good").body
    opened.pop().reset()
    wait_until(lambda: gate.left == 1)
    opened.append(open_subscription(wit.port))
    for http in opened:
        http.reset()
    wait_until(lambda: gate.left == MAX_SUBSCRIPTIONS + 1)


# rate limits


def test_every_call_is_counted(run: Run, runtime: Runtime, tmp_path: Path, gate: Gate) -> None:
    async def limit(request: Request, core: Any, preset: str, actor: Actor) -> None:
        counted.append((preset, actor.username))
        request.setHeader(b"X-RateLimit-Remaining", b"%d" % (3 - len(counted)))
        if len(counted) > 3:
            raise RateLimited("too many requests; try again in 5 s", 5)

    counted: list[tuple[str, str]] = []
    config = Config(tmp_path)
    door = make_door(runtime, config, gate)
    door._limit = limit
    with online(run, runtime, [door.route]) as served:
        target = "plain.date,plain.missing,plain.none,plain.date,plain.date?batch=1"
        reply: Reply = ask(served.port, "GET", target, Authorization="Bearer good")
        with Http(served.port) as http:  # who asks too often need not send a body either
            http.send(
                b"POST /trpc/plain.add HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
                b"Content-Length: 50\r\nExpect: 100-continue\r\n\r\n"
            )
            assert http.head()[0] == 429
        events = ask(served.port, "GET", "watch.items")
    assert reply.status == 207
    assert [("result" in one) for one in reply.json] == [True, False, True, True, False]
    assert counted == [("standard", "ada")] * 4 + [("standard", "anonymous")] * 2
    assert "TOO_MANY_REQUESTS" in events.body and "x-ratelimit-remaining" in events.headers
    assert reply.headers["retry-after"] == "5"
    assert reply.headers["x-ratelimit-remaining"] == "-1"


async def _do(work: Callable[[], object]) -> None:
    work()
