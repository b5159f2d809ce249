"""An SSH client that does exactly what a test says, for what no honest client would do."""

from __future__ import annotations

import struct
from collections import deque
from pathlib import Path
from typing import Any

from twisted.conch.ssh import transport as conch
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.keys import Key
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from wit.ssh.signatures import signed_request

CLOSED = -1
SECONDS = 20.0
_reactor: Any = reactor


class RawClient(conch.SSHClientTransport):
    """After the key exchange, messages are read with ``await client.receive()``."""

    def __init__(self) -> None:
        self.secure: Deferred[None] = Deferred()
        self.inbox: deque[tuple[int, bytes]] = deque()
        self.peer_signature_algorithms: list[bytes] = []
        self._waiting: Deferred[None] | None = None

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[bool]:
        return succeed(True)

    def connectionSecure(self) -> None:
        if not self.secure.called:
            self.secure.callback(None)

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        own = (conch.MSG_DISCONNECT, conch.MSG_SERVICE_ACCEPT, conch.MSG_UNIMPLEMENTED)
        if messageNum >= 50 or messageNum in own:
            self.put(messageNum, payload)
        else:
            super().dispatchMessage(messageNum, payload)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.put(CLOSED, b"")
        if not self.secure.called:
            self.secure.errback(ConnectionError("closed before the keys were exchanged"))

    def put(self, number: int, payload: bytes) -> None:
        self.inbox.append((number, payload))
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    async def receive(self) -> tuple[int, bytes]:
        """The next message; (CLOSED, b"") at the end of the connection."""
        while not self.inbox:
            self._waiting = Deferred()
            self._waiting.addTimeout(SECONDS, _reactor)
            await self._waiting
        return self.inbox.popleft()

    async def until(self, *numbers: int) -> tuple[int, bytes]:
        """The next message of one of these kinds, or the end."""
        while True:
            number, payload = await self.receive()
            if number in numbers or number == CLOSED:
                return number, payload

    async def ended(self) -> str:
        """Wait for the end; gives the reason of the DISCONNECT message, if one came."""
        reason = ""
        while True:
            number, payload = await self.receive()
            if number == conch.MSG_DISCONNECT:
                reason = getNS(payload[4:])[0].decode()
            if number == CLOSED:
                return reason

    def close(self) -> None:
        assert self.transport is not None
        self.transport.abortConnection()  # type: ignore[attr-defined]

    # -- signing in ----------------------------------------------------------------------------

    async def start_user_auth(self) -> None:
        self.say(conch.MSG_SERVICE_REQUEST, NS(b"ssh-userauth"))
        assert (await self.receive())[0] == conch.MSG_SERVICE_ACCEPT

    def say(self, number: int, payload: bytes) -> None:
        """Send a message."""
        self.sendPacket(number, payload)  # type: ignore[no-untyped-call]

    def request_auth(
        self,
        blob: bytes,
        algorithm: bytes = b"ssh-ed25519",
        user: bytes = b"git",
        signature: bytes | None = None,
        service: bytes = b"ssh-connection",
    ) -> None:
        signed = signature is not None
        self.say(
            50,
            NS(user)
            + NS(service)
            + NS(b"publickey")
            + bytes((signed,))
            + NS(algorithm)
            + NS(blob)
            + (NS(signature) if signature is not None else b""),
        )

    def sign(
        self,
        key: Key,
        blob: bytes,
        algorithm: bytes = b"ssh-ed25519",
        user: bytes = b"git",
        signature_type: bytes | None = None,
    ) -> bytes:
        assert self.sessionID is not None
        message = signed_request(self.sessionID, user, b"ssh-connection", algorithm, blob)
        return key.sign(message, signature_type or algorithm)

    async def sign_in(self, key_file: Path, user: bytes = b"git") -> int:
        """The answer's number: 52 is success, 51 failure."""
        await self.start_user_auth()
        key = Key.fromFile(str(key_file))
        blob = key.public().blob()
        self.request_auth(blob, user=user, signature=self.sign(key, blob, user=user))
        return (await self.until(51, 52))[0]

    # -- channels ------------------------------------------------------------------------------

    async def open(
        self,
        kind: bytes = b"session",
        window: int = 1 << 21,
        max_packet: int = 32768,
        number: int = 0,
        extra: bytes = b"",
    ) -> tuple[int, bytes]:
        """The answer to CHANNEL_OPEN: 91 is confirmation, 92 failure."""
        self.say(90, NS(kind) + struct.pack(">3L", number, window, max_packet) + extra)
        return await self.until(91, 92)

    def request(self, kind: bytes, data: bytes = b"", channel: int = 0, want: bool = True) -> None:
        self.say(98, struct.pack(">L", channel) + NS(kind) + bytes((want,)) + data)

    def data(self, data: bytes, channel: int = 0) -> None:
        self.say(94, struct.pack(">L", channel) + NS(data))

    def adjust(self, size: int, channel: int = 0) -> None:
        self.say(93, struct.pack(">2L", channel, size))


async def connect(port: int) -> RawClient:
    """A client that has exchanged keys with the server."""
    endpoint = HostnameEndpoint(_reactor, "127.0.0.1", port)
    client: Any = await endpoint.connect(Factory.forProtocol(RawClient))
    assert isinstance(client, RawClient)
    await client.secure
    return client


async def signed_in(port: int, key_file: Path) -> RawClient:
    client = await connect(port)
    assert await client.sign_in(key_file) == 52
    return client
