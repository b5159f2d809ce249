"""Who gets in, as whom, and who does not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key
from twisted.internet.defer import Deferred

from tests.ssh.raw_client import CLOSED, RawClient, connect
from tests.ssh.support import SshServer, blob_of, make_key
from wit.access.actor import Actor
from wit.errors import RateLimited

FAILURE, SUCCESS, BANNER, PK_OK = 51, 52, 53, 60
MakeServer = Callable[..., SshServer]


def key_of(server: SshServer, name: str) -> tuple[Key, bytes]:
    key = Key.fromFile(str(server.keys / name))
    return key, key.public().blob()


def test_the_key_decides_who_you_are(server: SshServer) -> None:
    for name in ("alice", "bob"):
        for user in ("git", name, name.upper()):
            result = server.ssh("-T", key=name, user=user)
            assert result.returncode == 0
            assert f"Hi {name}!".encode() in result.stderr
    assert server.owners.used == ["alice"] * 3 + ["bob"] * 3


@pytest.mark.attack(5)
@pytest.mark.parametrize("user", ["alice", "root", "git2", "gi\u0442"])
def test_another_user_name_is_refused(server: SshServer, user: str) -> None:
    result = server.ssh("-T", key="bob", user=user, level="INFO")
    assert result.returncode == 255
    assert b"Permission denied (publickey)" in result.stderr
    assert b"sign in with the user name 'git'" in result.stderr
    assert server.owners.used == []


def test_an_unknown_key_is_refused(server: SshServer) -> None:
    result = server.ssh("-T", key="mallory")
    assert result.returncode == 255
    assert result.stderr == b"git@127.0.0.1: Permission denied (publickey).\r\n"


@pytest.mark.attack(4)
def test_offering_somebody_elses_key_gives_nothing(server: SshServer, run: Any) -> None:
    """Alice's key is offered and accepted; the signature is bob's, and bob is who comes in."""

    async def attack() -> None:
        client = await connect(server.port)
        await client.start_user_auth()
        _, alice = key_of(server, "alice")
        bobs_key, bob = key_of(server, "bob")
        client.request_auth(alice)
        assert await client.receive() == (PK_OK, NS(b"ssh-ed25519") + NS(alice))
        client.request_auth(alice, signature=client.sign(bobs_key, alice))
        assert (await client.receive())[0] == FAILURE
        client.request_auth(alice)
        assert (await client.receive())[0] == PK_OK
        client.request_auth(bob, signature=client.sign(bobs_key, bob))
        assert (await client.receive())[0] == SUCCESS
        await client.open()
        client.request(b"shell")
        _, data = await client.until(95)
        assert b"Hi bob!" in data
        client.close()

    run(attack())
    assert server.owners.used == ["bob"]


@pytest.mark.attack(4)
def test_a_signature_counts_for_one_connection_one_user_and_one_key(
    server: SshServer, run: Any
) -> None:
    async def attack() -> None:
        key, blob = key_of(server, "alice")
        first, second = await connect(server.port), await connect(server.port)
        await first.start_user_auth()
        await second.start_user_auth()
        signature = first.sign(key, blob)
        second.request_auth(blob, signature=signature)
        assert (await second.receive())[0] == FAILURE
        first.request_auth(blob, user=b"alice", signature=signature)
        assert (await first.receive())[0] == FAILURE
        first.request_auth(blob, signature=signature[:-1] + bytes((signature[-1] ^ 1,)))
        assert (await first.receive())[0] == FAILURE
        first.close()
        second.close()

    run(attack())
    assert server.owners.used == []


def test_rsa_keys_sign_with_sha2_only(server: SshServer, run: Any, tmp_path: Path) -> None:
    file = make_key(tmp_path, "rsa", "rsa", "-b", "2048")
    key = Key.fromFile(str(file))
    blob = key.public().blob()
    server.owners.owners[blob] = "carol"

    async def attempt(algorithm: bytes, signature_type: bytes) -> int:
        client = await connect(server.port)
        await client.start_user_auth()
        signature = client.sign(key, blob, algorithm, signature_type=signature_type)
        client.request_auth(blob, algorithm, signature=signature)
        number, _ = await client.until(FAILURE, SUCCESS)
        client.close()
        return number

    assert run(attempt(b"rsa-sha2-512", b"rsa-sha2-512")) == SUCCESS
    assert run(attempt(b"rsa-sha2-256", b"rsa-sha2-256")) == SUCCESS
    assert run(attempt(b"ssh-rsa", b"ssh-rsa")) == FAILURE
    assert run(attempt(b"rsa-sha2-512", b"ssh-rsa")) == FAILURE
    assert b"Hi carol!" in server.ssh("-T", key=file).stderr


@pytest.mark.parametrize("kind", ["ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521", "ed25519"])
def test_kinds_of_keys(server: SshServer, tmp_path: Path, kind: str) -> None:
    file = make_key(tmp_path, "key", *kind.split())
    server.owners.owners[blob_of(Path(f"{file}.pub"))] = "carol"
    assert b"Hi carol!" in server.ssh("-T", key=file).stderr


@pytest.mark.attack(13)
def test_a_certificate_opens_nothing(server: SshServer, tmp_path: Path) -> None:
    """Signed by a known user's key; the key in it is unknown, and so is the certificate."""
    make_key(tmp_path, "user")
    authority, user = str(server.keys / "alice"), str(tmp_path / "user.pub")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", authority, "-I", "id", "-n", "git,alice", user], check=True
    )
    options = ("-o", f"CertificateFile={tmp_path / 'user-cert.pub'}")
    result = server.ssh("-T", key=tmp_path / "user", options=options)
    assert result.returncode == 255
    assert b"Permission denied (publickey)" in result.stderr


def test_no_other_method_is_offered(server: SshServer, run: Any) -> None:
    async def attempt() -> None:
        client = await connect(server.port)
        await client.start_user_auth()
        head = NS(b"git") + NS(b"ssh-connection")
        for method in (NS(b"none"), NS(b"password") + b"\0" + NS(b"x"), NS(b"hostbased")):
            client.say(50, head + method)
            number, payload = await client.receive()
            assert number == FAILURE
            assert getNS(payload) == (b"publickey", b"\0")
        _, blob = key_of(server, "alice")
        client.request_auth(blob, service=b"ssh-userauth")
        assert (await client.receive())[0] == FAILURE
        client.close()

    run(attempt())


def test_a_suspended_user_reads_why_but_only_with_the_key(server: SshServer, run: Any) -> None:
    server.owners.suspended["alice"] = "unpaid bills"
    result = server.ssh("-T", level="INFO")
    assert result.returncode == 255
    assert b"wit: this account is suspended: unpaid bills\r\n" in result.stderr

    async def only_offer() -> tuple[int, bytes]:
        client = await connect(server.port)
        await client.start_user_auth()
        client.request_auth(key_of(server, "alice")[1])
        answer = await client.receive()
        client.close()
        return answer

    assert run(only_offer())[0] == PK_OK
    assert server.owners.used == []


def test_a_user_who_is_suspended_while_signed_in(server: SshServer, run: Any) -> None:
    async def attempt(change: Callable[[], None]) -> bytes:
        client = await connect(server.port)
        assert await client.sign_in(server.keys / "alice") == SUCCESS
        change()
        await client.open()
        client.request(b"exec", NS(b"git-upload-pack alice/small.git"))
        _, data = await client.until(94)
        client.close()
        return data

    assert b"ERR your SSH key has been removed" in run(attempt(server.owners.owners.clear))
    assert server.traffic.opened == []


@pytest.mark.attack(5)
def test_anonymous_read(make_server: MakeServer, run: Any) -> None:
    server = make_server(anonymous_read=True)
    result = server.ssh("-T", key="mallory")
    assert result.returncode == 0
    assert b"wit does not know your SSH key" in result.stderr
    assert server.ssh("-T", key="mallory", user="anonymous").returncode == 255
    assert server.ssh("-T", key="mallory", user="alice").returncode == 255
    assert b"Hi alice!" in server.ssh("-T").stderr
    server.git("ls-remote", server.url("alice/small.git"), key="mallory")
    assert server.traffic.opened[0][0].anonymous

    async def unsigned() -> int:
        client = await connect(server.port)
        await client.start_user_auth()
        key, blob = key_of(server, "mallory")
        client.request_auth(blob, signature=client.sign(key, blob + b"x"))
        number, _ = await client.receive()
        client.close()
        return number

    assert run(unsigned()) == FAILURE


def test_the_banner(make_server: MakeServer) -> None:
    server = make_server(banner="Authorised use only.\nÜber alles wird Buch geführt.")
    result = server.ssh("-T", level="INFO")
    assert "Authorised use only.\r\nÜber alles wird Buch geführt.\r\n".encode() in result.stderr


def test_too_many_keys(make_server: MakeServer, run: Any, tmp_path: Path) -> None:
    server = make_server(login_tries=3)
    blobs = [blob_of(Path(f"{make_key(tmp_path, str(number))}.pub")) for number in range(3)]

    async def attempt() -> None:
        client = await connect(server.port)
        await client.start_user_auth()
        for blob in blobs[:2]:
            client.request_auth(blob)
            assert (await client.receive())[0] == FAILURE
        client.request_auth(blobs[2])
        assert await client.ended() == "too many sign-in attempts"

    run(attempt())


def test_requests_without_end(server: SshServer, run: Any) -> None:
    async def flood(request: Callable[[RawClient], None]) -> str:
        client = await connect(server.port)
        await client.start_user_auth()
        for _ in range(200):
            request(client)
        return await client.ended()

    none = NS(b"git") + NS(b"ssh-connection") + NS(b"none")
    _, blob = key_of(server, "alice")
    assert run(flood(lambda client: client.say(50, none))) == "too many sign-in attempts"
    assert run(flood(lambda client: client.request_auth(blob))) == "too many sign-in attempts"
    assert len(server.owners.asked) <= 64


def test_requests_are_answered_one_after_the_other(server: SshServer, run: Any) -> None:
    """A second request waits while the first one's key is looked up."""
    waiting: list[Deferred[None]] = []
    plain = server.owners.ssh_key

    async def slow(blob: bytes) -> Actor | None:
        waiting.append(Deferred())
        await waiting[-1]
        return await plain(blob)

    async def attempt() -> None:
        client = await connect(server.port)
        await client.start_user_auth()
        for name in ("mallory", "alice"):
            client.request_auth(key_of(server, name)[1])
        client.say(50, NS(b"git") + NS(b"ssh-connection") + NS(b"none"))
        while not waiting:
            await server.service._runtime.sleep(0.01)
        assert len(waiting) == 1
        assert not client.inbox
        waiting[0].callback(None)
        assert (await client.receive())[0] == FAILURE
        while len(waiting) < 2:
            await server.service._runtime.sleep(0.01)
        waiting[1].callback(None)
        assert (await client.receive())[0] == PK_OK
        assert (await client.receive())[0] == FAILURE
        client.close()

    server.owners.ssh_key = slow  # type: ignore[method-assign]
    run(attempt())


def test_a_failing_database_ends_the_connection_without_details(
    server: SshServer, run: Any
) -> None:
    async def broken(blob: bytes) -> Actor | None:
        raise RuntimeError("secret details")

    async def limited(blob: bytes) -> Actor | None:
        raise RateLimited("too many attempts, wait a minute")

    server.owners.ssh_key = broken  # type: ignore[method-assign]
    result = server.ssh("-T")
    assert b"internal error" in result.stderr
    assert b"secret" not in result.stderr
    server.owners.ssh_key = limited  # type: ignore[method-assign]
    result = server.ssh("-T", level="INFO")
    assert result.returncode == 255
    assert b"wit: too many attempts, wait a minute" in result.stderr


@pytest.mark.parametrize("payload", [b"", b"\0\0\0\x09git", b"\xff" * 40, NS(b"git") * 2])
def test_malformed_requests(server: SshServer, run: Any, payload: bytes) -> None:
    async def attempt() -> str:
        client = await connect(server.port)
        await client.start_user_auth()
        client.say(50, payload)
        return await client.ended()

    assert run(attempt()) == "malformed message"


@pytest.mark.parametrize("number", [90, 94, 98, 80])
def test_nothing_can_be_done_before_signing_in(server: SshServer, run: Any, number: int) -> None:
    """Channel messages to the sign-in service are not understood (the Erlang hole of 2025)."""

    async def attempt() -> None:
        client = await connect(server.port)
        client.say(number, NS(b"session") + bytes(12))
        assert (await client.receive())[0] == 3
        await client.start_user_auth()
        client.say(number, NS(b"session") + bytes(12))
        assert (await client.receive())[0] == 3
        client.say(5, NS(b"ssh-connection"))
        assert "no such service" in await client.ended()

    run(attempt())
    assert server.traffic.opened == []


def test_a_client_that_leaves_while_its_key_is_looked_up(server: SshServer, run: Any) -> None:
    cancelled: list[bool] = []

    async def for_ever(blob: bytes) -> Actor | None:
        try:
            await Deferred()
            raise AssertionError("nobody answers")
        finally:
            cancelled.append(True)

    async def attempt() -> None:
        client = await connect(server.port)
        await client.start_user_auth()
        client.request_auth(key_of(server, "alice")[1])
        factory = server.service._factory
        assert factory is not None
        connection = next(iter(factory.connections))
        while not connection._held:
            await server.service._runtime.sleep(0.01)
        connection.transport.abortConnection()
        assert (await client.until(CLOSED))[0] == CLOSED
        while factory.connections:
            await server.service._runtime.sleep(0.01)

    server.owners.ssh_key = for_ever  # type: ignore[method-assign]
    run(attempt())
    assert cancelled == [True]
