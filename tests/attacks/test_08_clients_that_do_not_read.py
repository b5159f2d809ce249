"""Clones by clients that never read: bounded memory, git waits, and an end after a while."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.conch.ssh.common import NS

from tests.attacks.heavy import MIB, SIZE, import_heavy
from tests.ssh.raw_client import RawClient, signed_in
from tests.support.daemon import wait_until
from tests.support.quarry import Quarry
from tests.support.site import Site
from tests.support.wire import ZERO, Http, fetch_v2, request, service_headers, ssh

pytestmark = pytest.mark.attack(8)

CLIENTS = 6
PER_CHANNEL = 8 * MIB
DATA = 94


@pytest.fixture(scope="module")
def heavy(strict_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A name and the id of its commit."""
    yield "alice/heavy", import_heavy(strict_site, "alice/heavy", tmp_path_factory.mktemp("heavy"))


@pytest.mark.parametrize("known", [[], [f"have {ZERO[:-1]}1"]], ids=["cached", "uncached"])
def test_http_clients(strict: Site, heavy: tuple[str, str], known: list[str]) -> None:
    """Without haves the answer comes from the pack cache, with one straight from git."""
    name, head = heavy
    quarry = Quarry(strict.daemon)
    before, fds = quarry.rss(), quarry.fds()
    body = fetch_v2([head], *known)
    headers = service_headers(strict.alice, "git-upload-pack")
    clients = [
        Http(strict.daemon.http_port).send(
            request("POST", f"/{name}/git-upload-pack", headers, body)
        )
        for _ in range(CLIENTS)
    ]
    for client in clients:
        client.take(1)
    peak = 0

    def gone() -> bool:
        nonlocal peak
        peak = max(peak, quarry.rss())
        return quarry.fds() <= fds

    wait_until(gone, what="the end of clients that do not read")
    assert peak - before < CLIENTS * PER_CHANNEL / 2
    for client in clients:
        received = len(client.remainder())
        assert received < SIZE
        client.socket.close()


@pytest.mark.parametrize("known", [b"", f"have {ZERO[:-1]}1\n".encode()], ids=["done", "have"])
def test_ssh_client_with_a_huge_window_on_a_stopped_connection(
    strict: Site, heavy: tuple[str, str], known: bytes
) -> None:
    name, head = heavy
    quarry = Quarry(strict.daemon)
    before, fds = quarry.rss(), quarry.fds()
    clients: list[RawClient] = []

    async def attack() -> None:
        client = await signed_in(strict.daemon.ssh_port, strict.alice.key)
        clients.append(client)
        for number in range(8):
            assert (await client.open(window=2**32 - 1, number=number))[0] == 91
            client.request(b"env", NS(b"GIT_PROTOCOL") + NS(b"version=2"), channel=number)
            client.request(b"exec", NS(f"git-upload-pack '{name}'".encode()), channel=number)
            client.data(fetch_v2([head], *known.decode().splitlines()), channel=number)
        assert client.transport is not None
        assert (await client.until(DATA))[0] == DATA
        client.transport.pauseProducing()  # type: ignore[attr-defined]

    strict.run(attack())
    peak = 0

    def gone() -> bool:
        nonlocal peak
        peak = max(peak, quarry.rss())
        return quarry.fds() <= fds

    wait_until(gone, what="the end of a client that does not read")
    assert peak - before < 8 * PER_CHANNEL / 2

    async def close() -> None:
        clients[0].close()

    strict.run(close())


def test_ssh_client_whose_window_stays_shut(strict: Site, heavy: tuple[str, str]) -> None:
    """OpenSSH with nobody at its standard output: it opens the window no more, and is told why."""
    name, head = heavy
    quarry = Quarry(strict.daemon)
    before = quarry.rss()
    client = ssh(
        strict.daemon,
        strict.alice,
        f"git-upload-pack '{name}'",
        "-o",
        "SetEnv=GIT_PROTOCOL=version=2",
    )
    assert client.stdin is not None
    client.stdin.write(fetch_v2([head], f"have {ZERO[:-1]}1"))
    client.stdin.flush()
    wait_until(lambda: quarry.gits("upload-pack"), what="git")
    wait_until(lambda: not quarry.children(), what="the end of git")
    assert quarry.rss() - before < PER_CHANNEL
    out, _ = client.communicate(timeout=20)
    assert client.returncode != 0
    assert len(out) < SIZE
