"""The log: one line per event, as text for people or as JSON for machines.

    2026-11-22T16:00:00Z info  [web] clone of alice/tools done request_id=7f3a bytes=1042

Events are those of :mod:`twisted.logger`; what they carry besides the words of the message becomes
``key=value``. Secrets are taken out of the finished text (:mod:`wit.redaction`), and control
characters are escaped, so that what a user typed can neither forge a line nor drive a terminal.

``twistd`` takes an observer from ``ServerOptions["logger"]``, a callable without arguments:
``options.parent["logger"] = lambda: observer(config.log, stream)`` in ``postOptions``.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from functools import lru_cache
from string import Formatter
from typing import Any, TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from wit import config
from wit.redaction import MASK, redact

LEVELS = {level.name: index for index, level in enumerate(LogLevel.iterconstants())}
"""Names of twisted.logger's levels, with their rank: debug, info, warn, error, critical."""

MAX_MESSAGE = 16 * 1024
"""Characters of one message or value that are kept."""

MAX_WORD = 64
"""Letters and digits alone, up to here, are shown as they are."""

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CHATTER = re.compile(r"(Starting|Stopping) factory |.+ starting on \S+$|\(.+ Port \S+ Closed\)$")
_NEEDS_QUOTES = re.compile(r"[\s\"=]|^$")
_LEGACY = frozenset({"format", "message", "time", "system", "isError", "failure", "why"})
"""Keys that twisted.python.log puts into every event."""
_SECRET_KEYS = frozenset({"password", "token", "secret", "authorization", "cookie"})
"""Fields whose value is never shown, whatever it looks like."""


def observer(log: config.Log, stream: TextIO) -> LineObserver:
    """The observer that writes to ``stream`` as the configuration says."""
    return LineObserver(stream, log.level, as_json=log.format == "json")


def open_stream(logfile: str | None) -> TextIO:
    """Where twistd's ``--logfile`` points: a file to append to, or standard output."""
    if not logfile or logfile == "-":
        return sys.__stdout__ or sys.stdout
    return open(logfile, "a", encoding="utf-8", buffering=1)


@implementer(ILogObserver)
class LineObserver:
    """Writes each event of ``level`` and above as one line (and one more per traceback line)."""

    def __init__(self, stream: TextIO, level: str = "info", *, as_json: bool = False) -> None:
        self._stream = stream
        self._format = format_json if as_json else format_text
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Change the level from now on: a reloadable setting."""
        self._lowest = LEVELS[level]

    def __call__(self, event: LogEvent) -> None:
        if LEVELS.get(_level(event), 0) < self._lowest:
            return
        try:
            self._stream.write(self._format(event) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # the disk is full or the stream is gone: the daemon goes on without a log


def format_text(event: LogEvent) -> str:
    """The event as text, without the last newline."""
    level = _level(event)
    fields = " ".join(f"{key}={_text_value(value)}" for key, value in _fields(event).items())
    time = _second(int(event.get("log_time", 0.0)))
    line = f"{time} {level:<5} [{_subsystem(event)}] {_message(event)}"
    lines = [f"{line} {fields}" if fields else line]
    lines += (f"  {clean(part)}" for part in _traceback(event).splitlines())
    return "\n".join(lines)


def format_json(event: LogEvent) -> str:
    """The event as one JSON object, without the last newline."""
    entry: dict[str, Any] = {
        "time": _time(event).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": _level(event),
        "system": _subsystem(event),
        "message": _message(event),
    }
    for key, value in _fields(event, keep_all=True).items():
        entry.setdefault(key, _json_value(value))
    if traceback := _traceback(event):
        entry["traceback"] = redact(traceback)
    return json.dumps(entry)


def clean(text: str) -> str:
    """``text`` without secrets, cut to a sane length, its control characters escaped."""
    if len(text) <= MAX_WORD and text.isascii() and text.isalnum():
        return text
    if len(text) > MAX_MESSAGE:
        text = f"{text[:MAX_MESSAGE]}… ({len(text) - MAX_MESSAGE} characters more)"
    return _UNSAFE.sub(_escape, redact(text))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _level(event: LogEvent) -> str:
    """Its name. What Twisted says of every port and connection is for those who look closely."""
    level: str = event.get("log_level", LogLevel.info).name
    namespace = event.get("log_namespace") or ""
    is_chatter = level == "info" and not namespace.startswith("wit.")
    return "debug" if is_chatter and _CHATTER.match(formatEvent(event)) else level


@lru_cache(maxsize=2)
def _second(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(event: LogEvent) -> datetime:
    return datetime.fromtimestamp(event.get("log_time", 0.0), UTC)


def _message(event: LogEvent) -> str:
    try:
        message = event["log_format"].format_map(event)
    except Exception:  # no format, one that calls something, or one that does not fit
        message = formatEvent(event)
    if not message and "log_failure" in event:
        message = str(event["log_failure"].getErrorMessage())
    return clean(message)


def _subsystem(event: LogEvent) -> str:
    """``web`` for wit.web.site, the whole name for code that is not ours."""
    return _short_name(str(event.get("log_namespace") or event.get("log_system") or "-"))


@lru_cache
def _short_name(namespace: str) -> str:
    parts = namespace.split(".")
    return clean(parts[1] if parts[0] == "wit" and len(parts) > 1 else namespace)


def _fields(event: LogEvent, keep_all: bool = False) -> dict[str, Any]:
    """What the event carries; what its message already shows is left out of text lines."""
    shown = frozenset() if keep_all else _named_in(event.get("log_format") or "")
    return {
        key: MASK if key.lower() in _SECRET_KEYS else value
        for key, value in event.items()
        if not key.startswith("log_") and key not in _LEGACY and key not in shown
    }


@lru_cache
def _named_in(format_string: str) -> frozenset[str]:
    try:
        return frozenset(name for _, name, _, _ in Formatter().parse(format_string) if name)
    except ValueError:
        return frozenset()


def _text_value(value: Any) -> str:
    if isinstance(value, int | float):
        return str(value)
    text = clean(_plain(value))
    return json.dumps(text, ensure_ascii=False) if _NEEDS_QUOTES.search(text) else text


def _json_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return clean(_plain(value))


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    try:
        return str(value)
    except Exception:  # a broken __str__ must not take the log down
        return f"<{type(value).__name__}>"


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback() if isinstance(failure, Failure) else ""
