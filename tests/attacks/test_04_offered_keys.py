"""Who somebody is, is decided by the key that signed, not by one that was offered before."""

from __future__ import annotations

import pytest
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key

from tests.ssh.raw_client import CLOSED, RawClient, connect
from tests.support.site import Site
from tests.support.wire import push_history

pytestmark = pytest.mark.attack(4)

FAILURE, SUCCESS, OFFER_TAKEN = 51, 52, 60
DATA, STDERR, CLOSE = 94, 95, 97


async def output(client: RawClient) -> bytes:
    """What the one channel says, on either stream, until it is closed."""
    said = b""
    while True:
        number, payload = await client.until(DATA, STDERR, CLOSE)
        if number in (CLOSE, CLOSED):
            return said
        said += getNS(payload[4 if number == DATA else 8 :])[0]


def test_the_key_that_signed_decides(site: Site, new_name: str) -> None:
    push_history(site.daemon, site.alice, new_name)
    alice, bob = (Key.fromFile(str(person.key)) for person in (site.alice, site.bob))

    async def attack(kind: bytes, data: bytes) -> bytes:
        client = await connect(site.daemon.ssh_port)
        await client.start_user_auth()
        client.request_auth(alice.public().blob())
        assert (await client.until(FAILURE, OFFER_TAKEN))[0] == OFFER_TAKEN
        blob = bob.public().blob()
        client.request_auth(blob, signature=client.sign(bob, blob))
        assert (await client.until(FAILURE, SUCCESS))[0] == SUCCESS
        await client.open()
        client.request(kind, data)
        said = await output(client)
        client.close()
        return said

    said = site.run(attack(b"exec", NS(f"git-upload-pack '{new_name}'".encode())))
    assert b"not found" in said and b"refs/heads" not in said
    greeting = site.run(attack(b"shell", b""))
    assert b"bob" in greeting and b"alice" not in greeting


def test_a_signature_must_be_that_of_the_key(site: Site) -> None:
    alice, bob = (Key.fromFile(str(person.key)) for person in (site.alice, site.bob))
    blob = alice.public().blob()

    async def attack() -> None:
        client = await connect(site.daemon.ssh_port)
        await client.start_user_auth()
        right = client.sign(alice, blob)
        forged = [
            client.sign(bob, blob),
            client.sign(bob, bob.public().blob()),
            client.sign(alice, blob, user=b"root"),
            right[:-1] + bytes([right[-1] ^ 1]),
        ]
        for signature in forged:
            client.request_auth(blob, signature=signature)
            assert (await client.until(FAILURE, SUCCESS))[0] == FAILURE
        client.request_auth(bob.public().blob(), signature=right)
        assert (await client.until(FAILURE, SUCCESS))[0] == FAILURE
        client.close()

    site.run(attack())


def test_a_signature_of_another_connection_is_worth_nothing(site: Site) -> None:
    alice = Key.fromFile(str(site.alice.key))
    blob = alice.public().blob()

    async def attack() -> None:
        first = await connect(site.daemon.ssh_port)
        second = await connect(site.daemon.ssh_port)
        await second.start_user_auth()
        second.request_auth(blob, signature=first.sign(alice, blob))
        assert (await second.until(FAILURE, SUCCESS))[0] == FAILURE
        first.close()
        second.close()

    site.run(attack())
