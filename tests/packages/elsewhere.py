"""An uplink that is not there, so that its answers are known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from wit.access.actor import Actor
from wit.errors import NotFound, Unavailable
from wit.packages.names import PackageName
from wit.packages.served import Rendered, Tarball


class Elsewhere:
    """An uplink that serves everything and has only string."""

    def __init__(self, *, down: bool = False) -> None:
        self.asked: list[str] = []
        self.down = down

    def admits(self, actor: Actor, name: PackageName) -> bool:
        return self.serves(name)

    def serves(self, name: PackageName) -> bool:
        return True

    async def exists(self, name: PackageName) -> bool:
        self.asked.append(name.full)
        if self.down:
            raise Unavailable("the uplink cannot be asked")
        return name.full == "string"

    async def packument(self, name: PackageName, **form: Any) -> Rendered:
        self.asked.append(name.full)
        if name.full != "string":
            raise NotFound("there is no such package")
        body = b'{"name":"string","dist-tags":{"latest":"3.0.0"}}'
        return Rendered(body, '"elsewhere"', None, datetime(2024, 1, 1, tzinfo=UTC))

    async def manifest(self, name: PackageName, version_or_tag: str) -> dict[str, object]:
        self.asked.append(name.full)
        return {"version": version_or_tag}

    async def tarball(self, name: PackageName, file: str) -> Tarball:
        self.asked.append(name.full)
        raise NotFound("there is no such tarball")

    async def attestations(self, name: PackageName, version: str) -> bytes:
        self.asked.append(name.full)
        return b'{"attestations":[]}'
