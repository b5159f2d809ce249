"""What came to the fake, what it is to do wrong, and a sandbox as the control plane knows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from tests.sandboxes.e2b.walls import Walls

KEY = "e2b_0123456789abcdef0123456789abcdef01234567"
OTHER_KEY = "e2b_fedcba9876543210fedcba9876543210fedcba98"
ENVD_VERSION = "0.5.8"


@attrs.frozen
class Record:
    """A request that came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in small letters."""
    body: bytes

    @property
    def json(self) -> Any:
        """The JSON body; of a stream's request, that of its one envelope."""
        if self.headers.get("content-type") == "application/connect+json":
            return json.loads(self.body[5:])
        return json.loads(self.body or b"null")


@attrs.define
class Fault:
    """An answer to be given instead, so many times, to requests whose path contains ``path``."""

    status: int
    path: str = ""
    times: int = 1
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b'{"code": 0, "message": "said by a fault"}'
    after: bool = False
    """Do what was asked, too."""
    hang: bool = False
    """Give no answer at all."""
    cut: bool = False
    """Close the connection instead of an answer."""


@attrs.define
class Box:
    """A sandbox."""

    id: str
    key: str
    walls: Walls
    request: Mapping[str, Any]
    token: str
    end_at: datetime
    started_at: datetime
    state: str = "running"
    streams: set[Any] = attrs.field(factory=set)

    @property
    def detail(self) -> dict[str, Any]:
        return {
            "templateID": self.request["templateID"],
            "sandboxID": self.id,
            "clientID": "client",
            "envdVersion": ENVD_VERSION,
            "startedAt": self.started_at.isoformat(),
            "endAt": self.end_at.isoformat(),
            "cpuCount": 2,
            "memoryMB": 512,
            "diskSizeMB": 1024,
            "state": self.state,
            "metadata": dict(self.request.get("metadata") or {}),
        }

    @property
    def made(self) -> dict[str, Any]:
        return {
            "templateID": self.request["templateID"],
            "sandboxID": self.id,
            "clientID": "client",
            "envdVersion": ENVD_VERSION,
            "envdAccessToken": self.token,
            "domain": None,
        }


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
