"""More connections and channels than there is room for."""

from __future__ import annotations

import socket

import pytest

from tests.ssh.raw_client import signed_in
from tests.support.daemon import wait_until
from tests.support.quarry import Quarry
from tests.support.site import Site
from tests.support.wire import Http, request

pytestmark = pytest.mark.attack(7)

HTTP_LIMIT, SSH_LIMIT = 50, 40
"""STRICT has them so."""


def open_many(port: int, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), 10) for _ in range(count)]


def greeted(client: socket.socket, greeting: bytes) -> bool:
    try:
        return client.recv(4096).startswith(greeting)
    except OSError:
        return False


def closed(client: socket.socket) -> bool:
    """Whether the server has ended the connection by now."""
    client.settimeout(0.01)
    try:
        return not client.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True


def test_http_connections_are_limited_and_the_first_keep_working(strict: Site) -> None:
    quarry = Quarry(strict.daemon)
    before = quarry.fds()
    port = strict.daemon.http_port
    with Http(port) as regular:
        regular.send(request("GET", "/livez"))
        assert regular.answer().status == 200
        flood = open_many(port, 150)
        assert quarry.fds() <= before + HTTP_LIMIT + 5
        refused = [client for client in flood if closed(client)]
        assert len(refused) >= 150 - HTTP_LIMIT
        regular.send(request("GET", "/livez"))
        assert regular.answer().status == 200
        for client in flood:
            client.close()
    wait_until(lambda: quarry.fds() <= before, what="the end of all descriptors")
    assert strict.daemon.get("livez")[0] == 200


def test_ssh_connections_are_limited(strict: Site) -> None:
    quarry = Quarry(strict.daemon)
    before = quarry.fds()
    flood = open_many(strict.daemon.ssh_port, 120)
    answers = [greeted(client, b"SSH-2.0-wit") for client in flood]
    assert SSH_LIMIT - 5 <= sum(answers) <= SSH_LIMIT
    assert quarry.fds() <= before + SSH_LIMIT + 5
    for client in flood:
        client.close()
    wait_until(lambda: quarry.fds() <= before, what="the end of all descriptors")

    async def signs_in() -> None:
        (await signed_in(strict.daemon.ssh_port, strict.alice.key)).close()

    strict.run(signs_in())


def test_a_thousand_channels_on_one_connection(site: Site) -> None:
    async def attack() -> None:
        client = await signed_in(site.daemon.ssh_port, site.alice.key)
        answers = [(await client.open(number=number))[0] for number in range(1000)]
        assert answers.count(91) == 8 and answers[:8] == [91] * 8
        assert answers.count(92) == 992
        client.say(97, (0).to_bytes(4, "big"))  # CLOSE of the first
        await client.until(97)
        assert (await client.open(number=2000))[0] == 91
        client.close()

    site.run(attack())
