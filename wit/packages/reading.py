"""What clients read: packuments, versions, tags, tarballs and proofs of where they come from.

A name that is published here is read here; any other is asked of an uplink, if one serves it. So
nothing that is published here, seen by the caller or not, is ever taken from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
from sqlalchemy import bindparam, select

from wit.access.actor import Actor
from wit.db.port import Database, Row
from wit.db.tables import (
    package_dist_tags,
    package_maintainers,
    package_stars,
    package_versions,
    packages,
    users,
)
from wit.errors import NotFound
from wit.packages import packument
from wit.packages.blobs import Blobs
from wit.packages.downloads import Downloads
from wit.packages.names import PackageName, version_of_file
from wit.packages.packument import Site
from wit.packages.rendered import Key, RenderedCache, render
from wit.packages.rights import Rights, is_public
from wit.packages.served import Encoding, Rendered, Tarball, Upstream
from wit.runtime import Runtime
from wit.streams import BytesSink, copy

VERSIONS_AT_ONCE = 50
"""Rows with manifests that are in memory while a packument is made."""

MAX_PEOPLE = 1000
"""Maintainers, and people with a star, that a packument names."""

_VERSION_COLUMNS = (
    package_versions.c.id,
    package_versions.c.version,
    package_versions.c.manifest,
    package_versions.c.deprecated,
    package_versions.c.published_at,
    users.c.username.label("publisher"),
)
_VERSIONS = (
    select(*_VERSION_COLUMNS)
    .join_from(package_versions, users, users.c.id == package_versions.c.published_by, isouter=True)
    .where(package_versions.c.package_id == bindparam("package"))
)
_PAGE = (
    _VERSIONS.where(package_versions.c.version > bindparam("after"))
    .order_by(package_versions.c.version)
    .limit(VERSIONS_AT_ONCE)
)
_VERSION = _VERSIONS.where(package_versions.c.version == bindparam("version"))
_TARBALL = (
    select(
        package_versions.c.id,
        package_versions.c.tarball_sha512,
        package_versions.c.tarball_size,
        package_versions.c.attestations_sha512,
    )
    .where(package_versions.c.package_id == bindparam("package"))
    .where(package_versions.c.version == bindparam("version"))
    .execution_options(quick=True)
)
_TAGS = (
    select(package_dist_tags.c.tag, package_versions.c.version)
    .join_from(
        package_dist_tags, package_versions, package_versions.c.id == package_dist_tags.c.version_id
    )
    .where(package_dist_tags.c.package_id == bindparam("package"))
    .order_by(package_dist_tags.c.tag)
)
_PACKAGE = select(packages).where(packages.c.id == bindparam("package"))
_MAINTAINERS = (
    select(users.c.username)
    .join_from(package_maintainers, users, users.c.id == package_maintainers.c.user_id)
    .where(package_maintainers.c.package_id == bindparam("package"))
    .order_by(package_maintainers.c.added_at, users.c.username)
    .limit(MAX_PEOPLE)
)
_STARS = (
    select(users.c.username)
    .join_from(package_stars, users)
    .where(package_stars.c.package_id == bindparam("package"))
    .order_by(users.c.username)
    .limit(MAX_PEOPLE)
)


class Reading:
    """Everything here raises NotFound for what is not there and what the caller may not see."""

    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        *,
        rights: Rights,
        blobs: Blobs,
        upstream: Upstream,
        downloads: Downloads,
        site: Site,
        cache_bytes: int,
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._rights = rights
        self._blobs = blobs
        self._upstream = upstream
        self._downloads = downloads
        self._site = site
        self._cache = RenderedCache(cache_bytes)

    @property
    def kept_bytes(self) -> int:
        """Bytes of rendered packuments in memory."""
        return self._cache.size

    async def packument(
        self, actor: Actor, name: PackageName, *, abbreviated: bool, encoding: Encoding | None
    ) -> Rendered:
        """The document about a package, ready to be sent. Raises Unavailable, too."""
        row = await self._local(actor, name)
        if row is None:
            return await self._upstream.packument(name, abbreviated=abbreviated, encoding=encoding)
        key = Key(row["id"], row["revision"], abbreviated, encoding)
        made = await self._cache.get(key, lambda: self._render(row, key))
        return made if is_public(row) else attrs.evolve(made, public=False)

    async def version(self, actor: Actor, name: PackageName, wanted: str) -> dict[str, object]:
        """The full manifest of a version, or of what a tag stands for."""
        row = await self._local(actor, name)
        if row is None:
            return await self._upstream.manifest(name, wanted)
        tags = await self._tags(row["id"])
        found = await self._db.fetch_one(
            _VERSION, package=row["id"], version=tags.get(wanted, wanted)
        )
        if found is None:
            raise NotFound(f"{name.full} has no version or tag {wanted[:80]!r}")
        return packument.manifest(self._site, name, row, found)

    async def tags(self, actor: Actor, name: PackageName) -> dict[str, str]:
        """Version by dist-tag."""
        row = await self._local(actor, name)
        if row is None:
            rendered = await self._upstream.packument(name, abbreviated=True, encoding=None)
            return dict((await self._document(rendered.body))["dist-tags"])
        return await self._tags(row["id"])

    async def tarball(self, actor: Actor, name: PackageName, file: str) -> Tarball:
        """A tarball by the name of its file; counts as a download. Raises Invalid, Unavailable."""
        row = await self._local(actor, name)
        if row is None:
            return await self._upstream.tarball(name, file)
        version = version_of_file(name, file)
        found = await self._db.fetch_one(_TARBALL, package=row["id"], version=version)
        if found is None:
            raise _no_version(name, version)
        self._downloads.count(row["id"], found["id"])
        sha512 = found["tarball_sha512"]
        return Tarball(
            found["tarball_size"],
            sha512,
            lambda start, stop: self._blobs.open(sha512, start, stop),
            is_public(row),
        )

    async def attestations(self, actor: Actor, name: PackageName, version: str) -> dict[str, Any]:
        """What was published as proof of where a version comes from. Raises Unavailable."""
        row = await self._local(actor, name)
        if row is None:
            return await self._document(await self._upstream.attestations(name, version))
        found = await self._db.fetch_one(_TARBALL, package=row["id"], version=version)
        if found is None or found["attestations_sha512"] is None:
            raise NotFound(f"nothing was attested of {name.full}@{version[:80]}")
        sink = BytesSink()
        await copy(await self._blobs.open(found["attestations_sha512"]), sink)
        return await self._document(sink.value())

    async def _document(self, text: bytes) -> dict[str, Any]:
        found: dict[str, Any] = await self._runtime.in_thread(json.loads, text)
        return found

    async def _local(self, actor: Actor, name: PackageName) -> Row | None:
        """The package; None if an uplink is to be asked instead."""
        try:
            return await self._rights.see(actor, name)
        except NotFound:
            if not self._upstream.admits(actor, name) or await self._rights.is_taken(name):
                raise
        return None

    async def _tags(self, package_id: str) -> dict[str, str]:
        rows = await self._db.fetch_all(_TAGS, package=package_id)
        return {row["tag"]: row["version"] for row in rows}

    # Rendering

    async def _render(self, row: Row, key: Key) -> Rendered:
        """``row`` is that of the rights: light, and of the revision in ``key``."""
        name = PackageName(row["scope"], row["name"])
        tags = await self._tags(row["id"])
        entries, times = await self._entries(name, row, abbreviated=key.abbreviated)
        tags = {tag: version for tag, version in tags.items() if version in times}
        if key.abbreviated:
            parts = packument.abbreviated_document(name, row, entries, tags)
        else:
            parts = await self._full(name, row, entries, tags=tags, times=times)
        return await self._runtime.in_thread(render, parts, key.encoding, row["updated_at"])

    async def _entries(
        self, name: PackageName, row: Row, *, abbreviated: bool
    ) -> tuple[list[bytes], dict[str, datetime]]:
        """The versions as text, and when they were published; both in the order of that time."""
        made: list[tuple[datetime, str, bytes]] = []
        after = ""
        while page := await self._db.fetch_all(_PAGE, package=row["id"], after=after):
            texts = await self._runtime.in_thread(
                packument.version_entries, self._site, name, row, page, abbreviated=abbreviated
            )
            made += (
                (version["published_at"], version["version"], text)
                for version, text in zip(page, texts, strict=True)
            )
            after = page[-1]["version"]
            if len(page) < VERSIONS_AT_ONCE:
                break
        made.sort(key=lambda entry: entry[:2])
        return [text for _, _, text in made], {version: time for time, version, _ in made}

    async def _full(
        self,
        name: PackageName,
        row: Row,
        entries: list[bytes],
        *,
        tags: Mapping[str, str],
        times: Mapping[str, datetime],
    ) -> list[bytes]:
        whole = await self._db.fetch_one(_PACKAGE, package=row["id"])
        if whole is None:
            raise NotFound(f"there is no package {name.full} here")
        newest = tags.get("latest", "")
        latest = await self._db.fetch_one(_VERSION, package=row["id"], version=newest)
        maintainers = await self._db.fetch_all(_MAINTAINERS, package=row["id"])
        stars = await self._db.fetch_all(_STARS, package=row["id"])
        return await self._runtime.in_thread(
            packument.full_document,
            self._site,
            name,
            whole,
            entries,
            tags=tags,
            times=times,
            latest={} if latest is None else json.loads(latest["manifest"]),
            maintainers=[person["username"] for person in maintainers],
            stars=[person["username"] for person in stars],
        )


def _no_version(name: PackageName, version: str) -> NotFound:
    return NotFound(f"{name.full} has no version {version[:80]!r}")
