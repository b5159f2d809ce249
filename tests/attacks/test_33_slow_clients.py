"""Clients that are slow on purpose: each phase has its limit."""

from __future__ import annotations

import time

import pytest

from tests.support.daemon import wait_until
from tests.support.quarry import Quarry
from tests.support.site import Site, new_name
from tests.support.wire import (
    ZERO,
    Http,
    commands,
    history,
    push_history,
    request,
    service_headers,
    shared_repository,
    sign_in,
)

pytestmark = pytest.mark.attack(33)

HEADER_SECONDS = IDLE_SECONDS = 1.0
"""STRICT has them so."""
SLACK = 4.0


def drip(http: Http, data: bytes, seconds: float) -> tuple[float, bytes]:
    """Send ``data`` byte by byte, ten a second, until the server ends it: after how long, and
    what it said."""
    began = time.monotonic()
    http.socket.settimeout(0.1)
    said = b""
    for position in range(len(data)):
        if time.monotonic() - began > seconds:
            break
        try:
            http.socket.send(data[position : position + 1])
            part = http.socket.recv(65536)
            said += part
            if not part:
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began, said


def test_a_head_that_drips(strict: Site) -> None:
    with Http(strict.daemon.http_port) as http:
        took, said = drip(http, b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 100, 3 * SLACK)
    assert took < HEADER_SECONDS + SLACK
    assert not said or b" 408 " in said.split(b"\r\n")[0]


def test_a_connection_on_which_nothing_is_asked(strict: Site) -> None:
    began = time.monotonic()
    with Http(strict.daemon.http_port) as fresh, Http(strict.daemon.http_port) as kept:
        assert kept.send(request("GET", "/livez")).answer().status == 200
        assert fresh.remainder() == b"" and kept.remainder() == b""
    assert time.monotonic() - began < IDLE_SECONDS + SLACK


@pytest.mark.parametrize("service", ["git-upload-pack", "git-receive-pack"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_does_not_come(strict: Site, service: str, chunked: bool) -> None:
    name, _ = shared_repository(strict)
    fds = Quarry(strict.daemon).fds()
    headers = service_headers(strict.alice, service, 0)
    headers |= {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": "10000"}
    began = time.monotonic()
    with Http(strict.daemon.http_port) as http:
        http.send(request("POST", f"/{name}/{service}", headers))
        http.send(b"4\r\n00" if chunked else b"00")
        said = http.remainder()
    assert time.monotonic() - began < IDLE_SECONDS + SLACK
    assert b"too slow" in said, said
    wait_until(lambda: Quarry(strict.daemon).fds() <= fds, what="the end of all descriptors")


def test_a_pack_that_stops_halfway(strict: Site) -> None:
    """git is running by then: it is ended, and its quarantine goes."""
    name, _ = shared_repository(strict)
    made = history(bytes(range(256)) * 200)
    headers = service_headers(strict.alice, "git-receive-pack", 0)
    headers["Content-Length"] = "100000"
    quarry = Quarry(strict.daemon)
    with Http(strict.daemon.http_port) as http:
        http.send(request("POST", f"/{name}/git-receive-pack", headers))
        http.send(commands([(ZERO, made.commit, "refs/heads/slow")]) + made.pack[:-30])
        wait_until(lambda: quarry.gits("receive-pack"), what="git")
        began = time.monotonic()
        said = http.remainder()
    assert time.monotonic() - began < IDLE_SECONDS + SLACK
    assert b"unpack ok" not in said
    wait_until(lambda: not quarry.children(), what="the end of git")


def test_a_body_is_not_asked_for_before_it_is_known_who_sends_it(strict: Site) -> None:
    """100 Continue comes when everything is decided, and not before."""
    name = new_name()
    push_history(strict.daemon, strict.alice, name)
    made = history(b"continued\n")
    body = commands([(ZERO, made.commit, "refs/heads/continued")]) + made.pack
    refused = [
        (None, name, 401), (strict.bob, name, 404), (strict.alice, "alice/-x", 404),
        (strict.alice, "nosuchowner/x", 404),
    ]  # fmt: skip
    for person, target, status in refused:
        headers = service_headers(person, "git-receive-pack", 0)
        headers |= {"Content-Length": str(len(body)), "Expect": "100-continue"}
        with Http(strict.daemon.http_port) as http:
            http.send(request("POST", f"/{target}/git-receive-pack", headers))
            answer = http.answer()
            assert answer.status == status, (target, answer)
            assert answer.headers["connection"] == "close"
            assert http.remainder() == b""
    headers = service_headers(strict.alice, "git-receive-pack", 0)
    headers |= {"Content-Length": str(len(body)), "Expect": "100-continue"}
    with Http(strict.daemon.http_port) as http:
        http.send(request("POST", f"/{name}/git-receive-pack", headers))
        assert http.answer().status == 100
        assert b"unpack ok" in http.send(body).answer().body


def test_many_slow_clients_do_not_shut_out_a_fast_one(strict: Site) -> None:
    slow = [Http(strict.daemon.http_port).send(b"GET / HTTP/1.1\r\nX: ") for _ in range(30)]
    name, _ = shared_repository(strict)
    target = f"/{name}/info/refs?service=git-upload-pack"
    began = time.monotonic()
    with Http(strict.daemon.http_port) as http:
        assert http.send(request("GET", target, sign_in(strict.alice))).answer().status == 200
    assert time.monotonic() - began < SLACK
    for client in slow:
        client.remainder()
        client.socket.close()
