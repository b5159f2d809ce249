"""The state of the fake, its errors, and the table of its routes."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs

from tests.sandboxes.daytona.boxes import Box

KEY = "dtn_a-key-of-the-tests"


class Answer(Exception):
    """An error that the fake answers with."""

    def __init__(self, status: int, message: str, *, plain: bool = False) -> None:
        self.status, self.message, self.plain = status, message, plain


@attrs.define
class Fault:
    """Answer so many matching requests with a status; ``after``: let the work be done first."""

    pattern: str
    status: int
    times: int = 1
    headers: dict[str, str] = attrs.field(factory=dict)
    after: bool = False


@attrs.frozen
class Seen:
    """A request, and the answer if it was JSON."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    route: str
    status: int
    answer: Any


@attrs.define
class Row:
    """A sandbox of the control plane."""

    box: Box
    made: dict[str, Any]
    key: str
    state: str
    polls: int
    """GETs until it reaches ``then``."""
    then: str = "started"
    error: str | None = None


class Service:
    """What the fake knows, and what tests have it do wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {KEY}
        self.rows: dict[str, Row] = {}
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.slow_polls = 1
        self.next_end = "started"
        self.cut_after: int | None = None
        """Bytes after which the next connections that follow a log are cut, each once."""
        self.port: Any = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port.getHost().port}"

    def describe(self, row_id: str) -> dict[str, Any]:
        row = self.rows[row_id]
        made = row.made
        return {
            "id": row_id,
            "organizationId": "org",
            "name": made.get("name") or row_id,
            "user": made.get("user") or "daytona",
            "env": made.get("env") or {},
            "labels": made.get("labels") or {},
            "public": bool(made.get("public")),
            "networkBlockAll": bool(made.get("networkBlockAll")),
            "kvm": False,
            "target": made.get("target") or "us",
            "cpu": made.get("cpu") or 1,
            "gpu": 0,
            "memory": made.get("memory") or 1,
            "disk": made.get("disk") or 3,
            "state": row.state,
            "desiredState": row.then,
            "errorReason": row.error,
            "autoStopInterval": made.get("autoStopInterval", 15),
            "createdAt": "2026-11-22T00:00:00.000Z",
            "toolboxProxyUrl": f"{self.origin}/toolbox",
        }


Handler = Callable[..., Awaitable[Any]]
TOOLBOX = r"/toolbox/([^/]+)"
ROUTES: list[tuple[str, re.Pattern[str], str, Handler]] = []


def route(method: str, pattern: str, name: str) -> Callable[[Handler], Handler]:
    def add(handler: Handler) -> Handler:
        ROUTES.append((method, re.compile(pattern + r"\Z"), name, handler))
        return handler

    return add
