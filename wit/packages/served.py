"""What the doors hand out: rendered packuments and tarballs, of this site or of an uplink."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal, Protocol

import attrs

from wit.access.actor import Actor
from wit.packages.blobs import Blob, integrity_of
from wit.packages.names import PackageName

Encoding = Literal["br", "gzip"]
"""A Content-Encoding that packuments are kept in (RFC 9110, section 8.4.1; RFC 7932)."""


@attrs.frozen
class Rendered:
    """One packument as it goes over the wire."""

    body: bytes = attrs.field(repr=False)
    """Already in ``encoding``."""
    etag: str
    """A strong validator, quotes included; another one for each form and encoding."""
    encoding: Encoding | None
    modified: datetime
    public: bool = True
    """Whether everybody may read it, and so shared caches may keep it."""


@attrs.frozen
class Tarball:
    """One tarball that may be read."""

    size: int
    """Bytes."""
    sha512: str
    """In hex."""
    open: Callable[[int, int | None], Awaitable[Blob]] = attrs.field(repr=False)
    """``await open(start, stop)``: the bytes from ``start`` up to ``stop`` (None: the end).

    Raises NotFound, Unavailable."""
    public: bool = True
    """As :attr:`Rendered.public`."""

    @property
    def integrity(self) -> str:
        """As in lock files (W3C Subresource Integrity, section 3.1)."""
        return integrity_of(self.sha512)


class Upstream(Protocol):
    """The other registries from which packages may come. Everything raises Unavailable if the one
    that serves a name cannot be asked."""

    def admits(self, actor: Actor, name: PackageName) -> bool:
        """Whether ``actor`` may have what the one that serves the name gives."""
        ...

    def serves(self, name: PackageName) -> bool:
        """Whether one of them is to be asked for a name that is not published here."""
        ...

    async def exists(self, name: PackageName) -> bool: ...

    async def packument(
        self, name: PackageName, *, abbreviated: bool, encoding: Encoding | None
    ) -> Rendered:
        """Raises NotFound."""
        ...

    async def tarball(self, name: PackageName, file: str) -> Tarball:
        """Raises NotFound."""
        ...

    async def manifest(self, name: PackageName, version_or_tag: str) -> dict[str, object]:
        """Raises NotFound."""
        ...

    async def attestations(self, name: PackageName, version: str) -> bytes:
        """JSON. Raises NotFound."""
        ...
