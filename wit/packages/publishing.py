"""Publishing a version: all of it, or nothing.

The tarball is spooled, hashed and looked into while and after it comes in; then its blob is kept,
durably, and then one transaction makes the version, its tags, and the package if it is the first
one. Whoever is killed between the two leaves a blob behind that nothing points to, which is swept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from wit.access.actor import Actor, Level
from wit.access.gate import SIGN_IN, Gate
from wit.config import Config
from wit.db.port import Connection, Database, ForeignKeyViolation, Row
from wit.errors import Conflict, Forbidden, NotFound, Unauthorized
from wit.events.journal import Journal
from wit.packages import records
from wit.packages.blobs import Blobs, BlobWriter, Digests
from wit.packages.names import PackageName, check_new_name, tarball_file
from wit.packages.publish_body import BodyReader
from wit.packages.release import (
    Release,
    attestations,
    check_digests,
    kept_manifest,
    read_release,
)
from wit.packages.repository_field import repository_of
from wit.packages.rights import WRITE_SCOPE, Rights
from wit.packages.tarballs import inspect
from wit.runtime import Runtime
from wit.streams import ByteSource

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

INSPECTIONS = 2
"""Tarballs that are looked into at once: each needs a thread, perhaps for long."""

log = Logger()


@attrs.frozen
class Published:
    """What a publish request has done."""

    versions: list[str]
    """New versions; none if the request only changed what was there."""
    rev: str
    """The package's ``_rev`` afterwards."""


class Updates(Protocol):
    """What is asked of :class:`wit.packages.changes.Changes`."""

    async def update(
        self, actor: Actor, name: PackageName, document: dict[str, Any], request_id: str
    ) -> str: ...


@attrs.frozen
class _Kept:
    """What of a version is durable before its row is made."""

    release: Release
    digests: Digests
    manifest: dict[str, Any]
    attestations_sha512: str | None


class Publishing:
    def __init__(
        self,
        config: Config,
        db: Database,
        runtime: Runtime,
        journal: Journal,
        *,
        gate: Gate,
        rights: Rights,
        blobs: Blobs,
        changes: Updates,
    ) -> None:
        self._settings = config.packages
        self._public_url = config.public_url
        self._hosts = _hosts(config)
        self._db = db
        self._runtime = runtime
        self._journal = journal
        self._gate = gate
        self._rights = rights
        self._blobs = blobs
        self._changes = changes
        self._inspections = DeferredSemaphore(INSPECTIONS)

    async def publish(
        self, actor: Actor, name: PackageName, body: ByteSource, request_id: str
    ) -> Published:
        """What a client PUTs under the name of a package: a version with its tarball, or, without
        one, changes of what is there.

        Raises Invalid, TooLarge, Unauthorized, Forbidden, NotFound, Unavailable, StreamClosed, and
        Conflict for a version that is, or was, published.
        """
        if actor.anonymous:
            raise Unauthorized(SIGN_IN)
        reader = BodyReader(self._settings.max_manifest_bytes, self._settings.max_tarball_bytes)
        begun = await self._until_tarball(reader, body)
        if reader.file is None:
            document = await self._runtime.in_thread(reader.document)
            rev = await self._changes.update(actor, name, document, request_id)
            return Published([], rev)
        await self._may_publish(actor, name)
        writer = await self._blobs.writer()
        try:
            await writer.write(begun)
            while data := await body.read():
                await writer.write(await self._runtime.in_thread(reader.feed, data))
            document = await self._runtime.in_thread(reader.document)
            release = await self._runtime.in_thread(read_release, document, name, reader.file)
            package = await self._may_publish(actor, name)
            repo = None if package else await self._new_home(actor, name, release)
            kept = await self._keep(name, release, writer)
        finally:
            await writer.discard()
        rev = await self._enter(actor, name, package, repo, kept)
        await self._journal.announce()
        log.info(
            "{package}@{version} was published by {user}",
            package=name.full,
            version=release.version,
            user=actor.username,
            request_id=request_id,
        )
        return Published([release.version], rev)

    async def _until_tarball(self, reader: BodyReader, body: ByteSource) -> bytes:
        """Reads until a tarball begins, or to the end; the bytes of the tarball that came."""
        while data := await body.read():
            begun = await self._runtime.in_thread(reader.feed, data)
            if reader.file is not None:
                return begun
        return b""

    async def _may_publish(self, actor: Actor, name: PackageName) -> Row | None:
        """The package, or None if there is none yet. Asked before the tarball is read, and again
        when it is there, which may be much later."""
        if await self._rights.is_taken(name):
            return await self._rights.publish(actor, name)
        check_new_name(name)
        if not actor.has_scope(WRITE_SCOPE):
            raise Forbidden(f"this token lacks the scope {WRITE_SCOPE}")
        return None

    async def _new_home(self, actor: Actor, name: PackageName, release: Release) -> Row:
        """The repository that a new package belongs to."""
        example = f"git+{self._public_url}/OWNER/REPOSITORY.git"
        wanted = repository_of(release.manifest.get("repository"), self._hosts, example)
        try:
            repo = await self._gate.repository(actor, wanted, Level.WRITE, WRITE_SCOPE)
        except NotFound:
            raise NotFound(
                f"there is no repository {wanted} here: package.json must name one that you may "
                f'write to, such as "repository": "{example}"'
            ) from None
        await self._rights.claim(actor, name, repo)
        return repo

    async def _keep(self, name: PackageName, release: Release, writer: BlobWriter) -> _Kept:
        digests = await writer.finish()
        check_digests(release, digests)
        look = partial(
            inspect,
            writer.path,
            name,
            release.version,
            max_bytes=self._settings.max_unpacked_bytes,
            max_files=self._settings.max_files,
        )
        contents = await self._inspections.run(self._runtime.in_thread, look)
        attested = attestations(release, digests)
        attested_sha512 = None
        if attested is not None:
            attested_sha512 = await self._keep_text(json.dumps(attested).encode())
        await writer.commit()
        manifest = kept_manifest(release, digests, contents)
        return _Kept(release, digests, manifest, attested_sha512)

    async def _keep_text(self, text: bytes) -> str:
        writer = await self._blobs.writer()
        try:
            await writer.write(text)
            return (await writer.commit()).sha512
        finally:
            await writer.discard()

    # The transaction

    async def _enter(
        self, actor: Actor, name: PackageName, package: Row | None, repo: Row | None, kept: _Kept
    ) -> str:
        try:
            async with self._db.transaction() as tx:
                package_id = package["id"] if package else self._runtime.new_id()
                if repo is not None:
                    await self._make_package(
                        tx, actor, repo, package_id=package_id, name=name, release=kept.release
                    )
                row = await records.lock_package(tx, package_id)
                if row["full_name"] != name.full:
                    raise Conflict(f"{name.full} got another name meanwhile; publish again")
                if row["repo_is_archived"]:
                    raise Forbidden(f"{row['repo_full_name']} is archived: nothing is published")
                version_id = await self._make_version(tx, actor, name, row, kept)
                await self._tag(tx, row, version_id, kept)
                published = records.event(
                    "published", row, actor.user_id or "", version=kept.release.version
                )
                await self._journal.append(tx, published)
                return await records.bump(tx, package_id, self._runtime.now())
        except ForeignKeyViolation:
            raise NotFound("the repository or your account was removed meanwhile") from None

    async def _make_package(
        self,
        tx: Connection,
        actor: Actor,
        repo: Row,
        *,
        package_id: str,
        name: PackageName,
        release: Release,
    ) -> None:
        now = self._runtime.now()
        made = await tx.execute(
            records.INSERT_PACKAGE,
            id=package_id,
            name=name.name,
            scope=name.scope,
            full_name=name.full,
            repo_id=repo["id"],
            visibility="private" if release.restricted else "public",
            created_at=now,
            updated_at=now,
        )
        if not made:
            raise Conflict(f"somebody else published {name.full} at this moment; publish again")
        await tx.execute(
            records.ADD_MAINTAINER,
            package_id=package_id,
            user_id=actor.user_id,
            added_at=now,
            added_by=actor.user_id,
        )

    async def _make_version(
        self, tx: Connection, actor: Actor, name: PackageName, package: Row, kept: _Kept
    ) -> str:
        release, now = kept.release, self._runtime.now()
        if not await tx.execute(
            records.GIVE_NUMBER,
            full_name=name.full,
            version=release.version,
            published_at=now,
        ):
            raise Conflict(
                f"you cannot publish over the previously published version {release.version} of "
                f"{name.full}: raise the version in package.json"
            )
        version_id = self._runtime.new_id()
        manifest = kept.manifest
        await tx.execute(
            records.INSERT_VERSION,
            id=version_id,
            package_id=package["id"],
            version=release.version,
            tag_name=release.tags[0],
            tarball_url=f"/api/packages/{name.full}/-/{tarball_file(name, release.version)}",
            tarball_sha512=kept.digests.sha512,
            tarball_sha1=kept.digests.sha1,
            tarball_size=kept.digests.size,
            manifest=json.dumps(manifest),
            dependencies=_text(manifest.get("dependencies")),
            dev_dependencies=_text(manifest.get("devDependencies")),
            peer_dependencies=_text(manifest.get("peerDependencies")),
            optional_dependencies=_text(manifest.get("optionalDependencies")),
            engines=_text(manifest.get("engines")),
            bin=_text(manifest.get("bin")),
            attestations_sha512=kept.attestations_sha512,
            published_by=actor.user_id,
            published_at=now,
        )
        if release.needs:
            await tx.execute_many(
                records.INSERT_DEPENDENCY,
                [
                    {
                        "version_id": version_id,
                        "package_id": package["id"],
                        "depends_on": needed,
                        "range": wanted,
                    }
                    for needed, wanted in release.needs.items()
                ],
            )
        return version_id

    async def _tag(self, tx: Connection, package: Row, version_id: str, kept: _Kept) -> None:
        """The first version is the latest one, whatever its tag; the package is described as its
        latest version describes it."""
        tags: Sequence[str] = kept.release.tags
        if records.LATEST not in tags and not await tx.fetch_value(
            records.TAG, package=package["id"], tag=records.LATEST
        ):
            tags = (*tags, records.LATEST)
        for tag in tags:
            await records.set_tag(tx, self._runtime, package["id"], tag, version_id)
        if records.LATEST in tags:
            about = {f"new_{key}": value for key, value in kept.release.about.items()}
            await tx.execute(records.DESCRIBE, package=package["id"], **about)


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _hosts(config: Config) -> frozenset[str]:
    """The names under which people know this site. A site on one's own machine has several."""
    addresses = (config.public_url, *config.accounts.trusted_origins)
    hosts = {urlsplit(address).hostname for address in addresses} | {config.ssh.public_host}
    if hosts & LOOPBACK:
        hosts |= LOOPBACK
    return frozenset(host.lower() for host in hosts if host)
