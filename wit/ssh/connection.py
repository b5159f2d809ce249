"""The channels of one connection: the service ``ssh-connection`` (RFC 4254).

Conch's own SSHConnection gives a channel's window back as soon as data has arrived, whether or not
anybody has taken it; here the window is given back by the channel, when the bytes have been
consumed. There is one kind of channel, the session; all forwarding is refused.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from twisted.conch.ssh import connection as conch
from twisted.conch.ssh import transport as conch_transport
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.service import SSHService

from wit.ssh.channel import Channel
from wit.ssh.fields import Fields
from wit.ssh.sandbox import SandboxChannel

if TYPE_CHECKING:
    from wit.ssh.transport import SshTransport

MIN_REMOTE_PACKET = 256
"""A client that takes only smaller packets than this would cost more than it is worth."""

_FORWARDING = (
    b"direct-tcpip",
    b"direct-streamlocal@openssh.com",
    b"forwarded-tcpip",
    b"x11",
    b"auth-agent@openssh.com",
    b"tun@openssh.com",
)
_DATA = bytes((conch.MSG_CHANNEL_DATA,))
_EXTENDED_DATA = bytes((conch.MSG_CHANNEL_EXTENDED_DATA,))


class SshConnection(SSHService):
    """Opens, feeds and closes the channels; all of them belong to the signed-in actor."""

    name = b"ssh-connection"
    transport: SshTransport

    def __init__(self) -> None:
        self.channels: dict[int, Channel] = {}
        self._next_id = 0
        self._draining = False
        self._moved = 0.0
        self._idle_check: object = None

    # -- life ----------------------------------------------------------------------------------

    def serviceStarted(self) -> None:
        self._moved = self._now()
        self._watch()

    def serviceStopped(self) -> None:
        self._unwatch()
        channels, self.channels = self.channels, {}
        for channel in channels.values():
            channel.lost()

    def drain(self) -> None:
        """Open no more channels, and say goodbye when the running ones have ended."""
        self._draining = True
        for channel in list(self.channels.values()):
            channel.drain()
        self._goodbye_if_done()

    def _goodbye_if_done(self) -> None:
        if self._draining and not self.channels:
            self.transport.sendDisconnect(
                conch_transport.DISCONNECT_BY_APPLICATION, b"the server is stopping"
            )

    def _now(self) -> float:
        return float(self.transport.factory.runtime.reactor.seconds())

    def _watch(self) -> None:
        """Look every now and then whether something still moves."""
        idle = self.transport.factory.config.ssh.idle_seconds
        self._idle_check = self.transport.factory.runtime.reactor.callLater(
            idle / 4, self._check_idle, idle
        )

    def _unwatch(self) -> None:
        check, self._idle_check = self._idle_check, None
        if check is not None and check.active():  # type: ignore[attr-defined]
            check.cancel()  # type: ignore[attr-defined]

    def _check_idle(self, idle: float) -> None:
        limit = self._now() - idle
        stuck = [channel for channel in self.channels.values() if channel.moved < limit]
        moved = max([self._moved, *(channel.moved for channel in self.channels.values())])
        if moved < limit or (stuck and self.transport.writers.congested):
            self.transport.sendDisconnect(
                conch_transport.DISCONNECT_BY_APPLICATION,
                f"nothing moved for {idle:g} seconds",
            )
            return
        for channel in stuck:
            channel.too_slow(idle)
        self._watch()

    # -- messages ------------------------------------------------------------------------------

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        handler = _HANDLERS.get(messageNum)
        if handler is None:
            self.transport.sendUnimplemented()
        else:
            handler(self, Fields(packet))

    def _global_request(self, fields: Fields) -> None:
        """Section 4: port forwarding and the like are refused; a keepalive only wants an answer."""
        fields.string()
        if fields.boolean():
            self.transport.sendPacket(conch.MSG_REQUEST_FAILURE, b"")

    def _open(self, fields: Fields) -> None:
        """Section 5.1."""
        kind, remote_id = fields.string(), fields.uint32()
        window, max_packet = fields.uint32(), fields.uint32()
        if kind in _FORWARDING:
            reason, text = conch.OPEN_ADMINISTRATIVELY_PROHIBITED, b"wit forwards nothing"
        elif kind != b"session":
            reason, text = conch.OPEN_UNKNOWN_CHANNEL_TYPE, b"unknown channel type"
        elif self._draining:
            reason, text = conch.OPEN_RESOURCE_SHORTAGE, b"the server is stopping"
        elif len(self.channels) >= self.transport.factory.config.ssh.max_channels:
            reason, text = conch.OPEN_RESOURCE_SHORTAGE, b"too many sessions on this connection"
        elif max_packet < MIN_REMOTE_PACKET:
            reason, text = conch.OPEN_CONNECT_FAILED, b"the maximum packet size is too small"
        else:
            in_sandbox = self.transport.address_in_sandbox is not None
            kind_of_channel = SandboxChannel if in_sandbox else Channel
            channel = kind_of_channel(self, self._next_id, remote_id, window, max_packet)
            self.channels[channel.id] = channel
            self._next_id += 1
            self.transport.sendPacket(
                conch.MSG_CHANNEL_OPEN_CONFIRMATION,
                struct.pack(
                    ">4L", remote_id, channel.id, channel.local_window, channel.local_max_packet
                ),
            )
            return
        self.transport.sendPacket(
            conch.MSG_CHANNEL_OPEN_FAILURE,
            struct.pack(">2L", remote_id, reason) + NS(text) + NS(b""),
        )

    def _channel(self, fields: Fields) -> Channel:
        """The channel that a message is for. Raises KeyError: the peer lost count."""
        return self.channels[fields.uint32()]

    def _window_adjust(self, fields: Fields) -> None:
        self._channel(fields).add_window(fields.uint32())

    def _data(self, fields: Fields) -> None:
        self._channel(fields).data_received(fields.string())

    def _extended_data(self, fields: Fields) -> None:
        """No client has anything to say on standard error; it counts against the window."""
        channel = self._channel(fields)
        fields.uint32()
        channel.extended_data_received(fields.string())

    def _eof(self, fields: Fields) -> None:
        self._channel(fields).eof_received()

    def _close(self, fields: Fields) -> None:
        channel = self._channel(fields)
        channel.close_received()
        del self.channels[channel.id]
        self._moved = self._now()
        self._goodbye_if_done()

    def _request(self, fields: Fields) -> None:
        """Section 5.4; the channel answers itself, before it sends anything else."""
        channel, kind = self._channel(fields), fields.string()
        channel.request_received(kind, fields.boolean(), fields)

    # -- what channels send --------------------------------------------------------------------

    def send_request_answer(self, channel: Channel, success: bool) -> None:
        number = conch.MSG_CHANNEL_SUCCESS if success else conch.MSG_CHANNEL_FAILURE
        self.transport.sendPacket(number, struct.pack(">L", channel.remote_id))

    def send_data(self, channel: Channel, data: memoryview) -> None:
        """One packet of data; the caller has waited for its turn on the transport."""
        self.transport.send(_DATA, struct.pack(">2L", channel.remote_id, len(data)), data)

    def send_stderr(self, channel: Channel, data: memoryview) -> None:
        """As :meth:`send_data`, for standard error."""
        self.transport.send(
            _EXTENDED_DATA,
            struct.pack(">3L", channel.remote_id, conch.EXTENDED_DATA_STDERR, len(data)),
            data,
        )

    def send_window_adjust(self, channel: Channel, size: int) -> None:
        self.transport.sendPacket(
            conch.MSG_CHANNEL_WINDOW_ADJUST, struct.pack(">2L", channel.remote_id, size)
        )

    def send_end(self, channel: Channel, exit_status: int) -> None:
        """End of file, exit status (section 6.10) and close, after all data."""
        remote = struct.pack(">L", channel.remote_id)
        self.transport.sendPacket(conch.MSG_CHANNEL_EOF, remote)
        self.transport.sendPacket(
            conch.MSG_CHANNEL_REQUEST,
            remote + NS(b"exit-status") + b"\x00" + struct.pack(">L", exit_status),
        )
        self.send_close(channel)

    def send_close(self, channel: Channel) -> None:
        self.transport.sendPacket(conch.MSG_CHANNEL_CLOSE, struct.pack(">L", channel.remote_id))


_HANDLERS = {
    conch.MSG_GLOBAL_REQUEST: SshConnection._global_request,
    conch.MSG_CHANNEL_OPEN: SshConnection._open,
    conch.MSG_CHANNEL_WINDOW_ADJUST: SshConnection._window_adjust,
    conch.MSG_CHANNEL_DATA: SshConnection._data,
    conch.MSG_CHANNEL_EXTENDED_DATA: SshConnection._extended_data,
    conch.MSG_CHANNEL_EOF: SshConnection._eof,
    conch.MSG_CHANNEL_CLOSE: SshConnection._close,
    conch.MSG_CHANNEL_REQUEST: SshConnection._request,
}
