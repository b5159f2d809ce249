"""One line of what the doctor found."""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen
class Finding:
    """``advice`` is what to do about it."""

    level: Literal["ok", "warn", "fail"]
    subject: str
    text: str
    advice: str = ""


def ok(subject: str, text: str) -> Finding:
    return Finding("ok", subject, text)


def warn(subject: str, text: str, advice: str = "") -> Finding:
    return Finding("warn", subject, text, advice)


def fail(subject: str, text: str, advice: str = "") -> Finding:
    return Finding("fail", subject, text, advice)
