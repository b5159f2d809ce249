"""Packages as repositories declare them: made before anything is published, named, described.

Who calls has been authorised: ``repo`` is the gate's row, a package is named by its id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
from sqlalchemy import bindparam, delete, exists, insert, select, update

from wit.access.actor import Actor
from wit.db.port import Database, Row, UniqueViolation
from wit.db.tables import package_maintainers, package_versions, packages
from wit.errors import Conflict, NotFound
from wit.packages.names import PackageName
from wit.packages.records import lock_package
from wit.packages.rights import Rights
from wit.runtime import Runtime

_has_versions = exists().where(package_versions.c.package_id == packages.c.id)
_of_repo = packages.c.repo_id == bindparam("repo")
_BY_NAME = select(packages).where(_of_repo, packages.c.full_name == bindparam("full_name"))
_FIRST_EMPTY = (
    select(packages)
    .where(_of_repo, ~_has_versions)
    .order_by(packages.c.created_at, packages.c.id)
    .limit(1)
)
_REMOVE_EMPTY = delete(packages).where(_of_repo, ~_has_versions)
_ANY_VERSION = (
    select(package_versions.c.id)
    .where(package_versions.c.package_id == bindparam("package"))
    .limit(1)
)
_UPDATE = (
    update(packages)
    .where(packages.c.id == bindparam("which"))
    .values(revision=packages.c.revision + 1)
)
_MAKE = insert(packages)
_MAINTAIN = insert(package_maintainers)
_PACKAGE = select(packages).where(packages.c.id == bindparam("which"))


@attrs.frozen
class Texts:
    """What is said of a package beside its name; None: nothing."""

    description: str | None = None
    keywords: list[str] | None = None
    license: str | None = None
    homepage: str | None = None


class Declaring:
    def __init__(self, db: Database, runtime: Runtime, rights: Rights) -> None:
        self._db = db
        self._runtime = runtime
        self._rights = rights

    async def create(
        self,
        actor: Actor,
        repo: Row,
        name: PackageName,
        *,
        visibility: str,
        texts: Texts,
        publish_on_release: bool = False,
    ) -> Row:
        """A package without versions, maintained by ``actor``. Raises what Rights.claim raises."""
        await self._rights.claim(actor, name, repo)
        package_id, now = self._runtime.new_id(), self._runtime.now()
        try:
            async with self._db.transaction() as tx:
                await tx.execute(
                    _MAKE,
                    id=package_id,
                    name=name.name,
                    scope=name.scope,
                    full_name=name.full,
                    repo_id=repo["id"],
                    visibility=visibility,
                    publish_on_release=publish_on_release,
                    created_at=now,
                    updated_at=now,
                    **_columns(attrs.asdict(texts)),
                )
                await tx.execute(
                    _MAINTAIN,
                    package_id=package_id,
                    user_id=actor.user_id,
                    added_at=now,
                    added_by=actor.user_id,
                )
        except UniqueViolation:
            raise Conflict(f"the name {name.full} is taken") from None
        return await self._row(package_id)

    async def enable(
        self,
        actor: Actor,
        repo: Row,
        name: PackageName,
        *,
        description: str | None,
        publish_on_release: bool,
    ) -> Row:
        """The package of that name in ``repo``, which is made if there is none.

        A package of the repository to which nothing was published yet gets the name instead; one
        with versions keeps its own, for its tarballs have it. Raises what Rights.claim raises.
        """
        changes: dict[str, Any] = {"publish_on_release": publish_on_release}
        if description is not None:
            changes["description"] = description
        row = await self._db.fetch_one(_BY_NAME, repo=repo["id"], full_name=name.full)
        if row is not None:
            return await self.update(row["id"], changes)
        empty = await self._db.fetch_one(_FIRST_EMPTY, repo=repo["id"])
        if empty is None:
            return await self.create(
                actor,
                repo,
                name,
                visibility="private" if repo["is_private"] else "public",
                texts=Texts(description=description),
                publish_on_release=publish_on_release,
            )
        await self._rights.claim(actor, name, repo)
        changes |= {"name": name.name, "scope": name.scope, "full_name": name.full}
        return await self._rename(empty["id"], name, changes)

    async def _rename(self, package_id: str, name: PackageName, changes: dict[str, Any]) -> Row:
        try:
            async with self._db.transaction() as tx:
                await lock_package(tx, package_id)
                if await tx.fetch_one(_ANY_VERSION, package=package_id) is not None:
                    raise Conflict("a version was published meanwhile; try again")
                now = self._runtime.now()
                await tx.execute(_UPDATE, which=package_id, updated_at=now, **changes)
        except UniqueViolation:
            raise Conflict(f"the name {name.full} is taken") from None
        return await self._row(package_id)

    async def disable(self, repo_id: str) -> None:
        """Remove the packages of a repository to which nothing was published."""
        await self._db.execute(_REMOVE_EMPTY, repo=repo_id)

    async def update(self, package_id: str, changes: Mapping[str, Any]) -> Row:
        """Change columns of a package; ``keywords`` is a list. Raises NotFound."""
        new = {"updated_at": self._runtime.now(), **_columns(changes)}
        await self._db.execute(_UPDATE, which=package_id, **new)
        return await self._row(package_id)

    async def _row(self, package_id: str) -> Row:
        row = await self._db.fetch_one(_PACKAGE, which=package_id)
        if row is None:
            raise NotFound("package not found")
        return row


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """As they are stored: keywords are JSON text."""
    keywords = values.get("keywords")
    stored = dict(values)
    if keywords is not None:
        stored["keywords"] = json.dumps(keywords)
    return stored
