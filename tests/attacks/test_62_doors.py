"""A program that prints without end before an SSH client, or a caller of the API, that does not read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.support.doors import DOORS, Inside, new_inside
from tests.support.sandboxes import Boxes
from tests.support.wire import Http

pytestmark = pytest.mark.attack(62)

MIB = 1024 * 1024
BODY = b'{"argv": ["yes"]}'


@pytest.fixture(scope="module", params=["local", "docker"])
def inside(request: pytest.FixtureRequest, hosts: Callable[[str], Boxes]) -> Iterator[Inside]:
    with new_inside(hosts(request.param)) as inside:
        yield inside


def test_who_does_not_read_costs_nothing(inside: Inside) -> None:
    """Over SSH with a terminal and with pipes, and as events: others work, and memory stays."""
    daemon = inside.boxes.site.daemon
    assert daemon.process is not None
    memory = psutil.Process(daemon.process.pid).memory_info
    clients = [
        subprocess.Popen(
            [*inside.ssh(*options), "yes"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        for options in ((), ("-tt",))
    ]
    head = (
        f"POST /api/v1/sandboxes/{inside.id}/exec HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {inside.boxes.tokens['alice']}\r\n"
        "Accept: text/event-stream\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(BODY)}\r\n\r\n"
    )
    try:
        with Http(daemon.http_port) as events:
            events.send(head.encode() + BODY)
            assert b"200" in events.socket.recv(1024)
            for client in clients:
                assert client.stdout is not None
                seen = b""
                while b"y\ny\n" not in seen.replace(b"\r", b""):
                    seen += client.stdout.read1(4096)  # type: ignore[attr-defined]
            before = memory().rss
            for number in range(10):
                for door in DOORS:
                    said = inside.run(door, "printf", "%s-%s", "echo", str(number))
                    assert f"echo-{number}" in said
            assert memory().rss - before < 24 * MIB
    finally:
        for client in clients:
            client.kill()
            client.communicate()
