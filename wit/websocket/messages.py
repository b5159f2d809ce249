"""What clients send in text frames, in both forms, read into one set of values. Pure.

``wit.term.v1`` names the kind ``t``; the contract's messages (rest.md, "Terminal WebSocket") name
it ``type`` and have their input in them, which ``wit.term.v1`` sends as binary frames.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from wit.errors import Invalid
from wit.sandboxes.provider import TerminalSize
from wit.sandboxes.terminals.sizes import clamp

MAX_MESSAGE = 64 * 1024
"""Bytes of a message, after which a client is sent away."""

CONTRACT_COLUMNS = 120
CONTRACT_ROWS = 30

_MAX_NUMBER = 2**53


@attrs.frozen
class Init:
    """Start the terminal (contract)."""

    size: TerminalSize


@attrs.frozen
class Input:
    data: bytes


@attrs.frozen
class Resize:
    size: TerminalSize


@attrs.frozen
class Ack:
    """So many bytes of output have been shown since the connection was opened."""

    total: int


@attrs.frozen
class Ping:
    """Wants a ``pong``: measures the way there and back."""

    text: str


@attrs.frozen
class Kick:
    """Send all other viewers away."""


Message = Init | Input | Resize | Ack | Ping | Kick


def contract_message(text: bytes) -> Message | None:
    """A message in the contract's form; None for a kind that is not known. Raises Invalid."""
    fields = _object(text)
    match fields.get("type"):
        case "init":
            return Init(_size(fields, CONTRACT_COLUMNS, CONTRACT_ROWS))
        case "resize":
            return Resize(_size(fields, CONTRACT_COLUMNS, CONTRACT_ROWS))
        case "input":
            data = fields.get("data")
            if not isinstance(data, str):
                raise Invalid("the data of an input message must be text")
            return Input(data.encode("utf-8", "replace"))
    return None


def term_message(text: bytes) -> Message | None:
    """A message in the form of ``wit.term.v1``; None for an unknown kind. Raises Invalid."""
    fields = _object(text)
    match fields.get("t"):
        case "resize":
            return Resize(_size(fields))
        case "ack":
            return Ack(_number(fields, "n"))
        case "ping":
            return Ping(str(fields.get("id", ""))[:64])
        case "kick":
            return Kick()
    return None


def _object(text: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid("the message is not JSON") from None
    if not isinstance(fields, dict):
        raise Invalid("a message must be a JSON object")
    return fields


def _size(fields: dict[str, Any], *default: int) -> TerminalSize:
    columns, rows = default or (None, None)
    return clamp(_number(fields, "cols", columns), _number(fields, "rows", rows))


def _number(fields: dict[str, Any], name: str, default: int | None = None) -> int:
    value = fields.get(name, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_NUMBER:
        raise Invalid(f"{name} must be a whole number")
    return value
