"""One SSH connection: RFC 4253 over TCP, with limits that Conch's transport does not have.

Conch does the key exchange; this class puts beneath it a packet layer of our own
(:mod:`wit.ssh.packets`) and around it

* strict key exchange (OpenSSH PROTOCOL, section 1.10) and a strict order of messages,
* time limits until a person is known, and an end to every farewell,
* back-pressure (:mod:`wit.ssh.writers`): channels write only while the peer takes the bytes,
* a new key exchange, asked for by us, before one key has protected too much (RFC 4344).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from twisted.conch import error as conch_error
from twisted.conch.ssh import transport as conch
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.service import SSHService
from twisted.logger import Logger
from twisted.python.failure import Failure

from wit import __version__
from wit.ssh.auth import UserAuth
from wit.ssh.connection import SshConnection
from wit.ssh.fields import Fields
from wit.ssh.packets import CIPHERS, PacketError, PacketKeys, PacketReader, PacketWriter
from wit.ssh.sandbox import Address, parse_user
from wit.ssh.signatures import ALGORITHMS
from wit.ssh.writers import Writers

if TYPE_CHECKING:
    from wit.ssh.factory import SshFactory
    from wit.ssh.host_keys import HostKeys

STRICT_CLIENT = b"kex-strict-c-v00@openssh.com"
STRICT_SERVER = b"kex-strict-s-v00@openssh.com"

MAX_VERSION_LINE = 255
"""Bytes of the client's first line (RFC 4253, section 4.2)."""

HANDSHAKE_SECONDS = 15.0
"""Within which the keys must have been exchanged."""

FAREWELL_SECONDS = 3.0
"""After which a connection that we end is cut, however much is still unsent."""

SOCKET_BUFFER = 128 * 1024
"""Bytes read at once, and bytes that may wait for the socket before writers have to."""

REKEY_BYTES = 32 * 1024 * 1024 * 1024
"""Bytes in one direction after which we ask for new keys (RFC 4344, section 3.2: 64 GiB)."""

_KEX_INIT = 30
_UNAUTHENTICATED_MESSAGES = range(1, 5)  # DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG

_MALFORMED = (
    struct.error,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    conch_error.ConchError,
)
"""What parsing a malformed message raises."""


class SshTransport(conch.SSHServerTransport):
    """The server's side of one connection."""

    factory: SshFactory  # type: ignore[assignment]
    transport: Any
    ourVersionString = b"SSH-2.0-wit_" + __version__.encode("ascii")
    supportedKeyExchanges = [
        name
        for name in (
            b"mlkem768x25519-sha256",
            b"curve25519-sha256",
            b"curve25519-sha256@libssh.org",
        )
        if name in conch.SSHServerTransport.supportedKeyExchanges
    ] + [STRICT_SERVER]
    supportedCiphers = list(CIPHERS)
    supportedCompressions = [b"none"]
    rekey_bytes = REKEY_BYTES

    _log = Logger()

    def __init__(self, host_keys: HostKeys, address: str) -> None:
        self.host_keys = host_keys
        self.supportedPublicKeys = list(host_keys.algorithms)
        self.address = address
        """The client's address, for logs and limits."""
        self.key: bytes | None = None
        """The public key that has signed in; who that is, is looked up for each command."""
        self.address_in_sandbox: Address | None = None
        """The sandbox that the client's user name means; all its sessions are there."""
        self.started = 0.0
        """Reactor time of the connection's begin, in seconds."""
        self.ended = False
        """Whether nothing more is read or written."""
        self._reader = PacketReader()
        self._writer = PacketWriter()
        self._next_keys: PacketKeys | None = None
        self._peer_kex = "first"
        self._strict = False
        self._version = b""
        self.writers = Writers(self)
        self._held = False
        self._processing = False
        self._timer: Any = None

    # -- beginning and end ---------------------------------------------------------------------

    def connectionMade(self) -> None:
        self.started = self._now()
        self.supportedMACs = [name.encode() for name in self.factory.config.ssh.macs]
        for option in ("setTcpNoDelay", "setTcpKeepAlive"):
            if hasattr(self.transport, option):  # a unix socket has neither
                getattr(self.transport, option)(True)
        self.transport.bufferSize = SOCKET_BUFFER
        self.transport.registerProducer(self.writers, True)
        self._set_deadline(min(HANDSHAKE_SECONDS, self.factory.config.ssh.login_seconds))
        self.transport.write(self.ourVersionString + b"\r\n")
        self.sendKexInit()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.ended = True
        self._cancel_deadline()
        if self.service is not None:
            self.service.serviceStopped()
            self.service = None
        self.writers.wake()
        self.factory.connection_lost(self)

    def sendDisconnect(self, reason: int, desc: bytes | str) -> None:
        """Say why, and end the connection; what is unsent after a few seconds is dropped."""
        if self.ended:
            return
        self._log.debug(
            "ssh connection from {address} ended: {text}", address=self.address, text=desc
        )
        self.sendPacket(conch.MSG_DISCONNECT, struct.pack(">L", reason) + NS(desc) + NS(b""))
        self._end()

    def loseConnection(self) -> None:
        self.sendDisconnect(conch.DISCONNECT_BY_APPLICATION, b"closed")

    def ssh_DISCONNECT(self, packet: bytes) -> None:
        self._end()

    def _end(self) -> None:
        self.ended = True
        self._cancel_deadline()
        self._timer = self._later(FAREWELL_SECONDS, self.transport.abortConnection)
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self.writers.wake()

    def signed_in(self, key: bytes, user: bytes, service: SSHService) -> None:
        """The person is known: the login time limit ends and ``service`` takes over. ``user``, the
        name that was given, only says where to."""
        self.key = key
        self.address_in_sandbox = parse_user(user)
        self._cancel_deadline()
        self.factory.signed_in(self)
        self.setService(service)

    def drain(self) -> None:
        """Let the commands that are running end, and close then."""
        if isinstance(self.service, SshConnection):
            self.service.drain()
        else:
            self.loseConnection()

    # -- time ----------------------------------------------------------------------------------

    def _now(self) -> float:
        return float(self.factory.runtime.reactor.seconds())

    def _later(self, seconds: float, act: Any) -> Any:
        return self.factory.runtime.reactor.callLater(seconds, act)

    def _set_deadline(self, seconds: float) -> None:
        """End the connection ``seconds`` after its beginning."""
        self._cancel_deadline()
        self._timer = self._later(max(0.0, self.started + seconds - self._now()), self._too_late)

    def _cancel_deadline(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _too_late(self) -> None:
        self.sendDisconnect(conch.DISCONNECT_BY_APPLICATION, b"sign-in took too long")

    # -- what comes in -------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        if self.ended:
            return
        if not self.gotVersion:
            rest = self._read_version(data)
            if rest is None:
                return
            data = rest
        self._reader.feed(data)
        self._process()

    def hold(self) -> None:
        """Handle no further packet until :meth:`release`; the bytes wait in the kernel."""
        self._held = True
        self.transport.pauseProducing()

    def release(self) -> None:
        """Go on after :meth:`hold`."""
        self._held = False
        if not self.ended:
            self.transport.resumeProducing()
            self._process()

    def _process(self) -> None:
        """Handle the complete packets that are there."""
        if self._processing:
            return
        self._processing = True
        try:
            while not (self.ended or self._held):
                payload = self._reader.next()
                if payload is None:
                    break
                self.dispatchMessage(payload[0], payload[1:])
        except PacketError as error:
            self.sendDisconnect(conch.DISCONNECT_PROTOCOL_ERROR, str(error))
        except _MALFORMED as error:
            self._log.debug(
                "malformed message from {address}: {error!r}", address=self.address, error=error
            )
            self.sendDisconnect(conch.DISCONNECT_PROTOCOL_ERROR, b"malformed message")
        finally:
            self._processing = False

    def _read_version(self, data: bytes) -> bytes | None:
        """Take the client's first line; gives what follows it, or None while it is not whole."""
        self._version += data
        line, newline, rest = self._version.partition(b"\n")
        if len(line) > MAX_VERSION_LINE or not b"SSH-2.0-".startswith(line[:8]):
            self.transport.write(b"wit: this is an SSH server, and that was no SSH client\r\n")
            self._end()
            return None
        if not newline:
            return None
        self.otherVersionString = line.removesuffix(b"\r")
        self.gotVersion = True
        self._version = b""
        return rest

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        """Refuse what does not belong here and now, and hand on the rest."""
        if not self._in_order(messageNum):
            self.sendDisconnect(conch.DISCONNECT_PROTOCOL_ERROR, b"message out of order")
            return
        if (
            max(self._reader.read, self._writer.written) > self.rekey_bytes
            and not self.exchanges_keys()
        ):
            self.sendKexInit()
        super().dispatchMessage(messageNum, payload)  # type: ignore[no-untyped-call]

    def _in_order(self, number: int) -> bool:
        """Whether a message may come now (RFC 4253, section 7.1, and strict key exchange)."""
        if number in _UNAUTHENTICATED_MESSAGES:
            return number == conch.MSG_DISCONNECT or not (self._strict and self.sessionID is None)
        if number == conch.MSG_KEXINIT:
            return self._peer_kex in ("first", "done")
        if number == _KEX_INIT:
            return self._peer_kex == "exchange"
        if number == conch.MSG_NEWKEYS:
            return self._peer_kex == "newkeys"
        if number < 50 and number not in (conch.MSG_SERVICE_REQUEST, conch.MSG_EXT_INFO):
            return False
        return self._peer_kex == "done"

    def sendUnimplemented(self) -> None:
        """RFC 4253, section 11.4; the number is that of the packet just read."""
        sequence = (self._reader.sequence - 1) % (1 << 32)
        self.sendPacket(conch.MSG_UNIMPLEMENTED, struct.pack(">L", sequence))

    def ssh_UNIMPLEMENTED(self, packet: bytes) -> None:
        """The peer knows none of the messages that we could do without: nothing follows."""

    def ssh_DEBUG(self, packet: bytes) -> None:
        """A client's debug messages do not interest the server."""

    def ssh_EXT_INFO(self, packet: bytes) -> None:
        """RFC 8308: no extension of a client changes what we do."""

    def ssh_SERVICE_REQUEST(self, packet: bytes) -> None:
        """One sign-in a connection, and it is the only service that can be asked for."""
        name = Fields(packet).string()
        if name != b"ssh-userauth" or self.service is not None:
            self.sendDisconnect(conch.DISCONNECT_SERVICE_NOT_AVAILABLE, b"no such service")
            return
        self.sendPacket(conch.MSG_SERVICE_ACCEPT, NS(name))
        self.setService(UserAuth())

    # -- key exchange --------------------------------------------------------------------------

    def ssh_KEXINIT(self, packet: bytes) -> None:
        first = self._peer_kex == "first"
        self._peer_kex = "exchange"
        super().ssh_KEXINIT(packet)
        if first and STRICT_CLIENT in getNS(packet[16:])[0].split(b","):
            self._strict = True
            if self._reader.sequence != 1:
                self.sendDisconnect(
                    conch.DISCONNECT_PROTOCOL_ERROR, b"KEXINIT was not the first packet"
                )

    def _getHostKeys(self, keyAlg: bytes) -> tuple[Any, Any]:
        """The keys of this connection, even if the daemon has reloaded its keys since."""
        key = self.host_keys.by_algorithm[keyAlg]
        return key.public(), key

    def _keySetup(self, sharedSecret: bytes, exchangeHash: bytes) -> None:
        """Both secrets are known: our direction changes its keys at once, the other on NEWKEYS."""
        first = self.sessionID is None
        if self.sessionID is None:
            self.sessionID = exchangeHash

        def key(letter: bytes) -> bytes:
            return self._getKey(letter, sharedSecret, exchangeHash)

        agreed = self.nextEncryptions
        self.sendPacket(conch.MSG_NEWKEYS, b"")
        self._writer.change_keys(
            PacketKeys(agreed.outCipType, agreed.outMACType, key(b"B"), key(b"D"), key(b"F")),
            reset_sequence=self._strict,
        )
        self._next_keys = PacketKeys(
            agreed.inCipType, agreed.inMACType, key(b"A"), key(b"C"), key(b"E")
        )
        self._peer_kex = "newkeys"
        if first:  # RFC 8308, section 3.1: with it, OpenSSH signs with SHA-2 for an RSA key
            self.sendExtInfo([(b"server-sig-algs", b",".join(ALGORITHMS))])

    def ssh_NEWKEYS(self, packet: bytes) -> None:
        assert self._next_keys is not None
        self._reader.change_keys(self._next_keys, reset_sequence=self._strict)
        if self.service is None:
            self._set_deadline(self.factory.config.ssh.login_seconds)
        self._next_keys = None
        self._peer_kex = "done"
        self._keyExchangeState = self._KEY_EXCHANGE_NONE
        blocked, self._blockedByKeyExchange = self._blockedByKeyExchange, []
        for number, payload in blocked:
            self.sendPacket(number, payload)
        self.writers.wake()

    # -- what goes out -------------------------------------------------------------------------

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        """Send a message, or keep it until the key exchange under way is over."""
        if self.exchanges_keys() and not self._allowedKeyExchangeMessageType(messageType):
            self._blockedByKeyExchange.append((messageType, payload))
            self.writers.count_unread(len(payload))
        else:
            self.send(bytes((messageType,)), payload)

    def send(self, *payload: bytes | memoryview) -> None:
        """Send one packet now; its parts are joined without further copies.

        Channel data comes here directly: its writers have waited for their turn.
        """
        if self.ended:
            return
        packet = self._writer.packet(*payload)
        self.transport.writeSequence(packet)
        if self.writers.congested:
            self.writers.count_unread(sum(map(len, packet)))

    def exchanges_keys(self) -> bool:
        """Whether only messages of the key exchange may be sent now."""
        return bool(self._keyExchangeState != self._KEY_EXCHANGE_NONE)

    def give_up(self) -> None:
        """The peer asks and does not read."""
        self._log.debug("{address} does not read our answers", address=self.address)
        self.ended = True
        self.transport.abortConnection()
