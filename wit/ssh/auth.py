"""Signing in over SSH: public keys only (RFC 4252, section 7; RFC 8332 for RSA).

The identity comes from the key whose signature has been verified, and from nothing else: a key that
was merely offered is looked up so that the client may be told to go on, and then forgotten (attack
list, line 4). The user name must be ``git``, the name of the key's owner, or mean a sandbox
(:mod:`wit.ssh.sandbox`).

Packets are handled strictly one after the other: while a key is being looked up, the transport is
held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.conch.ssh import transport as conch
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from wit.access.actor import Actor
from wit.errors import Forbidden, WitError
from wit.ssh.connection import SshConnection
from wit.ssh.fields import Fields
from wit.ssh.sandbox import parse_user
from wit.ssh.signatures import is_usable, signed_request, verify

if TYPE_CHECKING:
    from wit.ssh.transport import SshTransport

ANY_USER = "git"
"""The user name with which everybody may sign in."""

MAX_REQUESTS = 64
"""Sign-in requests on one connection, of whatever kind."""

_REQUEST = 50
_FAILURE = 51
_SUCCESS = 52
_BANNER = 53
_PK_OK = 60

_METHODS = NS(b"publickey") + b"\x00"


@attrs.frozen
class _PublicKeyRequest:
    """The offer of a key, or, with a signature, the proof of having it."""

    user: bytes
    algorithm: bytes
    blob: bytes
    signature: bytes | None

    @classmethod
    def parse(cls, user: bytes, fields: Fields) -> _PublicKeyRequest:
        signed, algorithm, blob = fields.boolean(), fields.string(), fields.string()
        return cls(user, algorithm, blob, fields.string() if signed else None)

    def is_sound(self, session_id: bytes) -> bool:
        """Whether the key can be used, and the signature, if there is one, is right."""
        if self.signature is None:
            return is_usable(self.algorithm, self.blob)
        message = signed_request(
            session_id, self.user, SshConnection.name, self.algorithm, self.blob
        )
        return verify(self.algorithm, self.blob, self.signature, message)


class UserAuth(SSHService):
    """The service ``ssh-userauth`` of one connection."""

    name = b"ssh-userauth"
    transport: SshTransport

    _log = Logger()

    def __init__(self) -> None:
        self._requests = 0
        self._failures = 0
        self._task: Deferred[None] | None = None
        self._told: set[str] = set()

    def serviceStarted(self) -> None:
        if banner := self.transport.factory.config.ssh.banner:
            self._say(banner)

    def serviceStopped(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        if messageNum != _REQUEST:
            self.transport.sendUnimplemented()
            return
        self._requests += 1
        fields = Fields(packet)
        user, service, method = fields.string(), fields.string(), fields.string()
        if self._requests > MAX_REQUESTS:
            self._give_up()
        elif method == b"none":
            self.transport.sendPacket(_FAILURE, _METHODS)
        elif method != b"publickey" or service != SshConnection.name:
            self._refuse()
        else:
            request = _PublicKeyRequest.parse(user, fields)
            self.transport.hold()
            self._task = Deferred.fromCoroutine(self._public_key(request))
            self._task.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        self._log.failure("sign-in failed for an unexpected reason", failure=failure)
        self.transport.sendDisconnect(conch.DISCONNECT_BY_APPLICATION, b"internal error")

    async def _public_key(self, request: _PublicKeyRequest) -> None:
        actor = await self._identify(request)
        self._task = None
        if actor is not None and not self.transport.ended:
            self.transport.factory.credentials.ssh_key_used(actor)
            self.transport.sendPacket(_SUCCESS, b"")
            self.transport.signed_in(request.blob, request.user, SshConnection())
        self.transport.release()

    async def _identify(self, request: _PublicKeyRequest) -> Actor | None:
        """Who has signed in; None after the answer to an offer or a refusal has been sent."""
        session_id = self.transport.sessionID
        assert session_id is not None
        actor: Actor | None = None
        suspended = ""
        if request.is_sound(session_id):
            try:
                actor = await self.transport.factory.owner(request.blob)
            except Forbidden as error:
                suspended = error.message
            except WitError as error:
                self._say(f"wit: {error.message}")
        allowed = actor is not None and self._may_be_called(request.user, actor)
        if request.signature is None and (allowed or suspended):
            self.transport.sendPacket(_PK_OK, NS(request.algorithm) + NS(request.blob))
            return None
        if allowed:
            return actor
        if suspended:  # told only to who holds the key
            self._say(f"wit: {suspended}")
        self._refuse()
        return None

    def _may_be_called(self, user: bytes, actor: Actor) -> bool:
        try:
            name = user.decode("utf-8").lower()
        except UnicodeDecodeError:
            return False
        if name == ANY_USER or (not actor.anonymous and name == actor.username.lower()):
            return True
        if parse_user(user) is not None and self.transport.factory.terminals is not None:
            return not actor.anonymous
        self._say(f"wit: sign in with the user name {ANY_USER!r}: ssh {ANY_USER}@...")
        return False

    def _refuse(self) -> None:
        self._failures += 1
        if self._failures >= self.transport.factory.config.ssh.login_tries:
            self._give_up()
        else:
            self.transport.sendPacket(_FAILURE, _METHODS)

    def _give_up(self) -> None:
        self.transport.sendDisconnect(
            conch.DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE, b"too many sign-in attempts"
        )

    def _say(self, text: str) -> None:
        """Show ``text`` once (RFC 4252, section 5.4)."""
        if text not in self._told:
            self._told.add(text)
            lines = "".join(f"{line}\r\n" for line in text.splitlines())
            self.transport.sendPacket(_BANNER, NS(lines) + NS(b""))
