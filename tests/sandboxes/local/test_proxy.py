"""The proxy of restricted sandboxes: its list, its requests, and what it hands through."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString

from tests.conftest import Run
from wit.runtime import Runtime
from wit.sandboxes.local import proxy
from wit.sandboxes.local.proxy import ProxyFactory, Refusal, is_allowed, parse


@pytest.mark.parametrize(
    "host,port,allowed",
    [
        ("example.org", 443, True),
        ("EXAMPLE.org.", 80, True),
        ("example.org", 8080, False),
        ("sub.example.org", 443, False),
        ("evilexample.org", 443, False),
        ("a.b.packages.org", 443, True),
        ("packages.org", 443, False),
        ("evilpackages.org", 443, False),
        ("special.org", 8443, True),
        ("special.org", 443, False),
        ("", 443, False),
    ],
)
def test_the_list(host: str, port: int, allowed: bool) -> None:
    allow = ("example.org", "*.packages.org", "special.org:8443")
    assert is_allowed(allow, host, port) is allowed


def test_requests() -> None:
    tunnel = parse(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443")
    assert (tunnel.host, tunnel.port, tunnel.first, tunnel.tunnel) == (
        "example.org",
        443,
        b"",
        True,
    )
    plain = parse(
        b"GET http://example.org:8080/a?b HTTP/1.1\r\nHost: example.org:8080\r\n"
        b"Proxy-Authorization: Basic eA==\r\nConnection: keep-alive\r\nAccept: */*"
    )
    assert (plain.host, plain.port, plain.tunnel) == ("example.org", 8080, False)
    assert plain.first == (
        b"GET /a?b HTTP/1.1\r\nHost: example.org:8080\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    assert parse(b"CONNECT [2001:db8::1]:443 HTTP/1.1").host == "2001:db8::1"


@pytest.mark.parametrize(
    "head", [b"", b"GET / HTTP/1.1", b"CONNECT x HTTP/1.1", b"CONNECT :1 HTTP/1.1", b"\xff a b"]
)
def test_what_is_no_request(head: bytes) -> None:
    with pytest.raises(Refusal):
        parse(head)


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back whatever comes, until its client has said all."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while data := connection.recv(65536):
                    connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


@pytest.fixture
def served(run: Run, echo: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a proxy that may reach the echo, under the name allowed.example."""

    async def resolve(runtime: object, host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr(proxy, "resolve_public", resolve)
    factory = ProxyFactory(Runtime(reactor), (f"allowed.example:{echo}", "allowed.example:1"))

    async def start() -> object:
        return await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)

    async def stop() -> None:
        factory.close()
        await port.stopListening()

    port = run(start())
    yield port.getHost().port
    run(stop())


def connect(served: int, request: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", served), 10)
    client.sendall(request)
    return client


def receive(client: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size and (data := client.recv(size - len(received))):
        received += data
    return received


def test_a_tunnel_carries_megabytes_both_ways(served: int, echo: int) -> None:
    data = bytes(range(256)) * 20_000
    with connect(served, b"CONNECT allowed.example:%d HTTP/1.1\r\n\r\n" % echo) as client:
        answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
        assert receive(client, len(answer)) == answer
        sending = threading.Thread(target=client.sendall, args=(data,))
        sending.start()
        assert receive(client, len(data)) == data
        sending.join()


def test_a_plain_request_is_sent_in_origin_form(served: int, echo: int) -> None:
    request = b"POST http://allowed.example:%d/x HTTP/1.1\r\nHost: y\r\n\r\nbody" % echo
    wanted = b"POST /x HTTP/1.1\r\nHost: y\r\nConnection: close\r\n\r\nbody"
    with connect(served, request) as client:
        assert receive(client, len(wanted)) == wanted


def test_a_host_that_does_not_answer(served: int) -> None:
    with connect(served, b"CONNECT allowed.example:1 HTTP/1.1\r\n\r\n") as client:
        assert client.recv(99).startswith(b"HTTP/1.1 502 Bad Gateway")


def test_a_refusal_ends_the_connection(served: int, echo: int) -> None:
    with connect(served, b"CONNECT allowed.example:%d HTTP/1.1\r\n\r\n" % (echo + 1)) as client:
        everything = b""
        while data := client.recv(4096):
            everything += data
    assert everything.startswith(b"HTTP/1.1 403 Forbidden") and everything.endswith(b"\n")
