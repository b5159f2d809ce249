"""Messages of the daemon's process service, to and from JSON: pure.

Protobuf's JSON mapping: bytes are base64, zero values are left out (an exit code that is missing
is 0), and what is unknown is ignored.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import signal
from collections.abc import Mapping
from typing import Any

import attrs

from wit.errors import Invalid
from wit.sandboxes.e2b.connect import ProtocolError
from wit.sandboxes.provider import WORKSPACE, Channel, Command, Exit, Output, TerminalSize

MARK = "WIT_EXECUTION"
"""A variable in the environment of a command and all that it starts, by which they are found."""

_LAUNCHER = ("/usr/bin/nice", "-n", "0", "--")
"""Runs its arguments as they are; a program that does not exist is its status 127, where some
versions of the daemon would refuse the call."""

_TERMINAL_ENV = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}

_SIGNALS = {(signal.strsignal(one) or "").lower(): one for one in signal.Signals}
"""By the words that Go has for them, which are those of the C library in small letters."""


@attrs.frozen
class Started:
    """The command runs."""

    pid: int


Event = Started | Output | Exit


def start_message(command: Command, mark: str, stdin: bool = True) -> dict[str, Any]:
    """What Start is asked. Raises Invalid for arguments that no program can be given."""
    if not command.argv:
        raise Invalid("a command needs at least the name of a program")
    env = {**(_TERMINAL_ENV if command.terminal else {}), **command.env, MARK: mark}
    for text in (*command.argv, command.cwd, *env, *env.values()):
        _check(text)
    for name in env:
        if not name or "=" in name:
            raise Invalid(f"{name!r} cannot be the name of an environment variable")
    message: dict[str, Any] = {
        "process": {
            "cmd": _LAUNCHER[0],
            "args": [*_LAUNCHER[1:], *command.argv],
            "envs": env,
            "cwd": posixpath.join(WORKSPACE, command.cwd),
        },
    }
    if command.terminal is not None:
        message["pty"] = size_message(command.terminal)
    else:
        message["stdin"] = stdin
    return message


def size_message(size: TerminalSize) -> dict[str, Any]:
    return {"size": {"cols": size.columns, "rows": size.rows}}


def select(pid: int) -> dict[str, Any]:
    """The process that a message is about."""
    return {"pid": pid}


def input_message(pid: int, data: bytes, terminal: bool) -> dict[str, Any]:
    kind = "pty" if terminal else "stdin"
    return {"process": select(pid), "input": {kind: base64.b64encode(data).decode()}}


def parse_event(message: Mapping[str, Any]) -> Event | None:
    """What a message of Start's or Connect's stream says; None for a sign of life.

    Raises ProtocolError.
    """
    event = message.get("event")
    if not isinstance(event, dict):
        return None
    match event:
        case {"start": dict(start)}:
            return Started(_number(start.get("pid")))
        case {"data": dict(data)}:
            return _output(data)
        case {"end": dict(end)}:
            return _exit(end)
    return None


def _output(data: Mapping[str, Any]) -> Output | None:
    for kind, channel in (
        ("stdout", Channel.STDOUT),
        ("stderr", Channel.STDERR),
        ("pty", Channel.STDOUT),
    ):
        text = data.get(kind)
        if isinstance(text, str):
            try:
                return Output(channel, base64.b64decode(text))
            except (binascii.Error, ValueError) as error:
                raise ProtocolError("output that is not base64") from error
    return None


def _exit(end: Mapping[str, Any]) -> Exit:
    status = end.get("status")
    words = status.removeprefix("signal: ") if isinstance(status, str) else ""
    if not end.get("exited") and words != status:
        known = _SIGNALS.get(words.removesuffix(" (core dumped)"))
        if known is None:
            return Exit(255)
        return Exit(128 + known, known.name.removeprefix("SIG"))
    return Exit(_number(end.get("exitCode")) & 255)


def _number(value: object) -> int:
    if value is None:
        return 0
    if not isinstance(value, int):
        raise ProtocolError("not a number")
    return value


def _check(text: str) -> None:
    if "\0" in text:
        raise Invalid("arguments, folders and variables are texts without NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid("arguments, folders and variables must be valid Unicode") from None
