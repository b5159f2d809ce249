"""A handshake or a sign-in that goes no further is ended, and its descriptor is free."""

from __future__ import annotations

import socket
import time

import pytest

from tests.ssh.raw_client import connect
from tests.support.daemon import wait_until
from tests.support.quarry import Quarry
from tests.support.site import Site

pytestmark = pytest.mark.attack(6)

LOGIN_SECONDS = 2.0
"""STRICT has it so."""
PATIENCE = LOGIN_SECONDS + 5.0
"""With the farewell, on a slow machine."""


def stalled(port: int, first: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), PATIENCE)
    client.sendall(first)
    return client


def test_stalled_clients_are_sent_away(strict: Site) -> None:
    quarry = Quarry(strict.daemon)
    before = quarry.fds()
    port = strict.daemon.ssh_port
    began = time.monotonic()
    clients = [
        stalled(port, b""),
        stalled(port, b"SSH"),
        stalled(port, b"SSH-2.0-stalled\r\n"),
        stalled(port, b"SSH-2.0-stalled\r\n\x00\x00"),
        stalled(port, b"SSH-2.0-stalled\r\n" + (30000).to_bytes(4, "big") + b"\x04\x14"),
    ]

    async def after_key_exchange(ask: bool) -> None:
        client = await connect(port)
        if ask:
            await client.start_user_auth()
        await client.ended()

    strict.run(after_key_exchange(ask=False))
    strict.run(after_key_exchange(ask=True))
    for client in clients:
        try:
            while client.recv(65536):
                pass
        except ConnectionResetError:
            pass
    assert time.monotonic() - began < 2 * PATIENCE  # the two of the key exchange went in turn
    for client in clients:
        client.close()
    wait_until(lambda: quarry.fds() <= before, what="the end of all descriptors")


def test_a_dripping_client_gains_no_time(strict: Site) -> None:
    """The limit is one for the whole of the handshake, not one from byte to byte."""
    client = socket.create_connection(("127.0.0.1", strict.daemon.ssh_port), 0.1)
    began = time.monotonic()
    line = iter(b"SSH-2.0-" + b"x" * 200)
    ended = False
    while not ended and time.monotonic() - began < PATIENCE:
        try:
            client.sendall(bytes((next(line),)))
            ended = not client.recv(65536)
        except TimeoutError:
            pass
        except OSError:
            ended = True
    client.close()
    assert ended
