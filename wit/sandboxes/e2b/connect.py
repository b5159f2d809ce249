"""The Connect protocol with JSON messages, as E2B's daemon speaks it: the pure part.

Unary calls are plain JSON. A stream is a row of envelopes: one byte of flags, four bytes of length
(big-endian), and the message; the last envelope says how the call ended
(https://connectrpc.com/docs/protocol). What comes from a sandbox is not to be trusted: who runs in
it may have taken over the daemon there.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any

import attrs

from wit.errors import Unavailable
from wit.sandboxes.e2b.text import plain

MAX_MESSAGE = 1024 * 1024
"""Bytes of one message of a stream; the daemon sends at most 32 KiB of output in each."""

_HEADER = struct.Struct(">BI")
_COMPRESSED = 1
_END = 2

_CODES = {
    400: "internal",
    401: "unauthenticated",
    403: "permission_denied",
    404: "unimplemented",
    429: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}
"""What an HTTP status means when no Connect error came with it (Connect, "Error Codes")."""


class RpcError(Unavailable):
    """The daemon in the sandbox refused a call; ``rpc_code`` is Connect's, such as not_found."""

    def __init__(self, rpc_code: str, message: str) -> None:
        super().__init__(f"the sandbox refused this ({rpc_code}): {message}")
        self.rpc_code = rpc_code
        self.detail = message


class ProtocolError(Exception):
    """What came is not Connect."""


@attrs.frozen
class Frame:
    """One message of a stream; the last one has no content but maybe an error."""

    message: Mapping[str, Any]
    last: bool = False

    @property
    def error(self) -> RpcError | None:
        """The error that the last message reports."""
        error = self.message.get("error")
        if not self.last or not isinstance(error, dict):
            return None
        return RpcError(plain(error.get("code"), 50) or "unknown", plain(error.get("message")))


def envelope(message: Mapping[str, Any]) -> bytes:
    payload = json.dumps(message).encode()
    return _HEADER.pack(0, len(payload)) + payload


class Frames:
    """Cuts a stream into messages, however its bytes arrive."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The messages that are complete now. Raises ProtocolError."""
        self._rest += data
        frames: list[Frame] = []
        at = 0
        while len(self._rest) - at >= _HEADER.size:
            flags, length = _HEADER.unpack_from(self._rest, at)
            if length > MAX_MESSAGE:
                raise ProtocolError(f"a message of {length} bytes")
            if flags & _COMPRESSED:
                raise ProtocolError("a compressed message, which was not asked for")
            end = at + _HEADER.size + length
            if len(self._rest) < end:
                break
            message = parse(self._rest[at + _HEADER.size : end])
            frames.append(Frame(message, last=bool(flags & _END)))
            at = end
        del self._rest[:at]
        return frames


def basic_user(name: str) -> str:
    """The header that has the daemon act as a user of the sandbox other than its default one."""
    return "Basic " + base64.b64encode(f"{name}:".encode()).decode()


def parse(text: bytes | bytearray) -> Mapping[str, Any]:
    """A JSON object. Raises ProtocolError."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("not JSON") from error
    if not isinstance(value, dict):
        raise ProtocolError("not a JSON object")
    return value


def unary_error(status: int, body: bytes) -> RpcError:
    """The error of a unary call that was answered with another status than 200."""
    code, message = _CODES.get(status, "unknown"), f"status {status}"
    try:
        error = parse(body)
    except ProtocolError:
        return RpcError(code, message)
    if isinstance(error.get("code"), str):
        code = plain(error["code"], 50)
    return RpcError(code, plain(error.get("message")) or message)
