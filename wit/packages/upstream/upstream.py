"""Everything that comes from other registries: the one way to it for the rest of wit."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from urllib.parse import quote

import attrs
from sqlalchemy import bindparam, select
from twisted.logger import Logger

from wit.access.actor import Actor
from wit.config import Config, Uplink
from wit.db.port import Database
from wit.db.tables import packages
from wit.errors import Invalid, NotFound, Unavailable
from wit.metrics import Metrics
from wit.packages.names import PackageName, check_version, parse_name, version_of_file
from wit.packages.rendered import Key, RenderedCache, render
from wit.packages.rights import READ_SCOPE
from wit.packages.served import Encoding, Rendered, Tarball
from wit.packages.upstream.audit import (
    PATHS,
    Kind,
    empty_answer,
    names_in,
    read_request,
    without,
)
from wit.packages.upstream.disk import DiskCache
from wit.packages.upstream.documents import Dist, find_dist
from wit.packages.upstream.packuments import Kept, Packuments, unpacked
from wit.packages.upstream.sharing import Sharing
from wit.packages.upstream.tarballs import Tarballs
from wit.packages.upstream.wire import Failed, Wire, whole
from wit.runtime import Runtime

MAX_ANSWER = 32 * 1024 * 1024
"""Bytes of an uplink's answer about audits, keys and attestations."""

KEYS_SECONDS = 3600.0
"""How long the keys of an uplink are kept."""

EVERYTHING = "*"
"""The pattern of the uplink that is asked about audits and keys."""

NAMES_AT_ONCE = 500
"""Names that one statement asks for."""

_NOT_OFFERED = (404, 405, 410, 501)
"""Answers of registries that do not know what is asked of them."""

_PUBLISHED = select(packages.c.full_name).where(
    packages.c.full_name.in_(bindparam("names", expanding=True))
)

log = Logger()


@attrs.frozen
class _Source:
    """One uplink."""

    uplink: Uplink
    wire: Wire
    packuments: Packuments

    @property
    def public(self) -> bool:
        """Whether everybody may have its packages."""
        readers = self.uplink.readers
        return readers == "everybody" or not (readers or self.uplink.token_variable)


class Upstream:
    """``environ`` has the uplinks' tokens."""

    def __init__(
        self,
        config: Config,
        db: Database,
        runtime: Runtime,
        metrics: Metrics,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        settings = config.packages
        self._db = db
        self._runtime = runtime
        self._answers = metrics.uplink_answers
        disk = DiskCache(config.data_dir / "cache" / "npm", settings.cache_bytes, runtime)
        self._tarballs = Tarballs(disk, settings.max_tarball_bytes, runtime)
        self._rendered = RenderedCache(settings.rendered_bytes // 4)
        self._keys: tuple[bytes, float] | None = None
        self._passing: Sharing[bytes] = Sharing()
        self._sources: list[_Source] = []
        for uplink in settings.uplinks if settings.enabled else ():
            wire = Wire(uplink, _token(uplink, environ), runtime)
            packuments = Packuments(
                wire,
                disk,
                runtime,
                metrics,
                registry=f"{config.public_url}/api/packages",
                memory_bytes=settings.rendered_bytes // 4,
            )
            self._sources.append(_Source(uplink, wire, packuments))

    async def stop(self) -> None:
        """End what is coming, and close the connections."""
        await self._tarballs.stop()
        for source in self._sources:
            await source.wire.close()

    def serves(self, name: PackageName) -> bool:
        """Whether an uplink may be asked for a package of this name, if there is none here."""
        return self._source(name) is not None

    def admits(self, actor: Actor, name: PackageName) -> bool:
        """Whether an uplink may be asked for this name on behalf of ``actor``."""
        source = self._source(name)
        if source is None:
            return False
        return source.public or (not actor.anonymous and actor.has_scope(READ_SCOPE))

    async def exists(self, name: PackageName) -> bool:
        """Whether the uplink has the package at this moment. Raises Unavailable."""
        source = self._source(name)
        if source is None:
            return False
        try:
            await source.packuments.get(name, abbreviated=True, stale=False, now=True)
        except NotFound:
            return False
        return True

    async def packument(
        self, name: PackageName, *, abbreviated: bool, encoding: Encoding | None
    ) -> Rendered:
        """As clients get it, with addresses of ours. Raises NotFound, Unavailable."""
        source = self._served(name)
        kept = await source.packuments.get(name, abbreviated=abbreviated)
        key = Key(f"{source.uplink.name} {name.full}", kept.serial, abbreviated, encoding)
        found = await self._rendered.get(key, lambda: self._render(kept, encoding))
        return attrs.evolve(found, public=source.public)

    async def manifest(self, name: PackageName, version_or_tag: str) -> dict[str, object]:
        """One version, in full. Raises NotFound, Unavailable."""
        kept = await self._served(name).packuments.get(name, abbreviated=False)
        found = await self._runtime.in_thread(_one_version, kept, version_or_tag)
        if found is None:
            raise NotFound(f"there is no version {version_or_tag[:80]} of {name.full}")
        return found

    async def tarball(self, name: PackageName, file: str) -> Tarball:
        """The tarball that is called so in its address. Raises Invalid, NotFound, Unavailable."""
        version = version_of_file(name, file)
        source = self._served(name)
        dist = await self._dist(source.packuments, name, version)
        try:
            tarball, kept = await self._tarballs.get(source.wire, name, dist)
        except Unavailable:
            self._answers.labels(source.uplink.name, "tarball", "failed").inc()
            raise
        outcome = "cached" if kept else "fetched"
        self._answers.labels(source.uplink.name, "tarball", outcome).inc()
        return attrs.evolve(tarball, public=source.public)

    async def audit(self, kind: Kind, body: bytes) -> bytes:
        """What is known to be wrong with what a project is made of: JSON.

        ``body`` is the request without any encoding. Names that do not come from the uplink of
        all names are not passed on. Raises Invalid, Unavailable.
        """
        document = await self._runtime.in_thread(read_request, kind, body)
        source = self._everything()
        if source is None:
            return empty_answer(kind, document)
        names = names_in(kind, document)
        passed = {name for name in names if self._comes_from(name, source)}
        passed -= await self._published(passed)
        if not passed:
            return empty_answer(kind, document)
        rest = json.dumps(without(kind, document, names - passed)).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            return await self._passed(source, "POST", PATHS[kind], headers, rest)
        except NotFound:
            return empty_answer(kind, document)

    async def keys(self) -> bytes:
        """The public keys with which the uplink of all names signs: JSON.

        Raises NotFound, Unavailable.
        """
        source = self._everything()
        if source is None:
            raise NotFound("this registry has no keys")
        if self._keys is not None and self._keys[1] > self._runtime.reactor.seconds():
            return self._keys[0]
        path = "/-/npm/v1/keys"
        found = await self._passing.get(path, lambda: self._passed(source, "GET", path))
        self._keys = found, self._runtime.reactor.seconds() + KEYS_SECONDS
        return found

    async def attestations(self, name: PackageName, version: str) -> bytes:
        """Where a version comes from, as the uplink tells it: JSON.

        Raises Invalid, NotFound, Unavailable.
        """
        source = self._served(name)
        subject = f"{quote(name.full, safe='@')}@{check_version(version)}"
        path = f"/-/npm/v1/attestations/{subject}"
        key = f"{source.uplink.name} {path}"
        return await self._passing.get(key, lambda: self._passed(source, "GET", path))

    def _source(self, name: PackageName) -> _Source | None:
        """The first uplink whose names match."""
        for source in self._sources:
            if any(fnmatchcase(name.full, pattern) for pattern in source.uplink.names):
                return source
        return None

    def _served(self, name: PackageName) -> _Source:
        source = self._source(name)
        if source is None:
            raise NotFound(f"there is no package {name.full}")
        return source

    def _everything(self) -> _Source | None:
        return next((found for found in self._sources if EVERYTHING in found.uplink.names), None)

    def _comes_from(self, text: str, source: _Source) -> bool:
        try:
            return self._source(parse_name(text)) is source
        except Invalid:
            return False

    async def _dist(self, packuments: Packuments, name: PackageName, version: str) -> Dist:
        """Where the tarball is: what was served says so, otherwise the uplink is asked."""
        for abbreviated in (True, False):
            kept = await packuments.kept(name, abbreviated=abbreviated)
            if kept is not None and (found := find_dist(kept.dists, version)) is not None:
                return found
        fresh = await packuments.get(name, abbreviated=True)
        found = find_dist(fresh.dists, version)
        if found is None:
            raise NotFound(f"there is no version {version} of {name.full}")
        return found

    async def _render(self, kept: Kept, encoding: Encoding | None) -> Rendered:
        return await self._runtime.in_thread(_render, kept, encoding)

    async def _published(self, names: set[str]) -> set[str]:
        """Those of the names that are published here."""
        found: set[str] = set()
        ordered = sorted(names)
        for start in range(0, len(ordered), NAMES_AT_ONCE):
            some = ordered[start : start + NAMES_AT_ONCE]
            rows = await self._db.fetch_all(_PUBLISHED, names=some)
            found.update(row["full_name"] for row in rows)
        return found

    async def _passed(
        self,
        source: _Source,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> bytes:
        """The uplink's JSON, as it is. Raises NotFound, Unavailable."""
        fields = {"Accept-Encoding": "gzip", **(headers or {})}
        try:
            async with source.wire.ask(method, path, fields, body) as answer:
                if answer.status in _NOT_OFFERED:
                    raise NotFound("the upstream registry does not have this")
                if answer.status != 200:
                    raise Failed(f"{path}: the answer is {answer.status}")
                found = await whole(answer, MAX_ANSWER, self._runtime)
            await self._runtime.in_thread(_check_json, found)
        except Failed as error:
            log.warn("{uplink}: {why}", uplink=source.uplink.name, why=str(error))
            raise Unavailable("the upstream registry cannot be asked; try again later") from error
        return found


def _token(uplink: Uplink, environ: Mapping[str, str]) -> str:
    if not uplink.token_variable:
        return ""
    token = environ.get(uplink.token_variable, "").strip()
    if not token:
        log.warn(
            "the environment has no {variable}; the uplink {uplink} is asked without a token",
            variable=uplink.token_variable,
            uplink=uplink.name,
        )
    return token


def _render(kept: Kept, encoding: Encoding | None) -> Rendered:
    if encoding == "gzip":
        digest = hashlib.sha256(kept.packed).hexdigest()[:32]
        return Rendered(kept.packed, f'"{digest}-gzip"', encoding, kept.modified)
    return render([unpacked(kept)], encoding, kept.modified)


def _one_version(kept: Kept, version_or_tag: str) -> dict[str, object] | None:
    document = json.loads(unpacked(kept))
    version = document["dist-tags"].get(version_or_tag, version_or_tag)
    found: dict[str, object] | None = document["versions"].get(version)
    return found


def _check_json(data: bytes) -> None:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        raise Failed("the answer is not JSON") from None
