"""Rows of packages, versions, tags and maintainers, for the API; lists page by page.

A package that is named by its id or its row has been authorised by the caller; lists of packages
are filtered in SQL by what the caller may see.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, String, bindparam, func, or_, select

from wit.access.actor import Actor
from wit.db.port import Database, Row
from wit.db.tables import (
    package_dist_tags,
    package_maintainers,
    package_versions,
    packages,
    repositories,
    users,
)
from wit.errors import NotFound
from wit.packages.rights import LIGHT_COLUMNS
from wit.packages.versions import newest
from wit.packages.visibility import SeenPackages

MAX_PEOPLE = 1000
MAX_TAGS = 1000


def _paged(statement: Select[Any]) -> Select[Any]:
    return statement.limit(bindparam("count")).offset(bindparam("skip"))


_PACKAGE = select(packages).where(packages.c.id == bindparam("package"))
_LISTED = (
    select(*LIGHT_COLUMNS, packages.c.description)
    .join_from(packages, repositories, repositories.c.id == packages.c.repo_id)
    .order_by(packages.c.updated_at.desc(), packages.c.id)
)
_OF_OWNER = or_(
    bindparam("owner", type_=String) == "",
    repositories.c.owner_id == bindparam("owner"),
)
_OF_SCOPE = or_(bindparam("scope", type_=String) == "", packages.c.scope == bindparam("scope"))
_ALL = SeenPackages(_paged(_LISTED.where(_OF_OWNER, _OF_SCOPE)).where)
_OF_REPO = SeenPackages(
    select(packages.c.id)
    .join_from(packages, repositories, repositories.c.id == packages.c.repo_id)
    .where(packages.c.repo_id == bindparam("repo"))
    .order_by(packages.c.created_at, packages.c.id)
    .limit(1)
    .where
)
_OWN = SeenPackages(
    _paged(
        _LISTED.where(
            or_(
                repositories.c.owner_id == bindparam("me"),
                packages.c.id.in_(
                    select(package_maintainers.c.package_id).where(
                        package_maintainers.c.user_id == bindparam("me")
                    )
                ),
            )
        )
    ).where
)
_of_package = package_versions.c.package_id == bindparam("package")
_VERSIONS = _paged(
    select(package_versions)
    .where(_of_package)
    .order_by(package_versions.c.published_at.desc(), package_versions.c.id)
)
_VERSION = select(package_versions).where(
    _of_package, package_versions.c.version == bindparam("version")
)
_NUMBERS = select(package_versions.c.version).where(_of_package)
_WITH_VERSION = (
    select(package_dist_tags, package_versions.c.version)
    .join_from(
        package_dist_tags, package_versions, package_versions.c.id == package_dist_tags.c.version_id
    )
    .where(package_dist_tags.c.package_id == bindparam("package"))
)
_TAG = _WITH_VERSION.where(package_dist_tags.c.tag == bindparam("tag"))
_TAGS = _WITH_VERSION.order_by(package_dist_tags.c.tag).limit(MAX_TAGS)
_MAINTAINERS = (
    select(
        package_maintainers,
        users.c.username,
        func.coalesce(users.c.avatar_url, users.c.image).label("avatar_url"),
    )
    .join_from(package_maintainers, users, users.c.id == package_maintainers.c.user_id)
    .where(package_maintainers.c.package_id == bindparam("package"))
    .order_by(package_maintainers.c.added_at, users.c.username)
    .limit(MAX_PEOPLE)
)


class Catalog:
    """Rows of packages in lists have no ``readme``."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def package(self, package_id: str) -> Row:
        """The whole row. Raises NotFound."""
        row = await self._db.fetch_one(_PACKAGE, package=package_id)
        if row is None:
            raise NotFound("package not found")
        return row

    async def first_of(self, actor: Actor, repo_id: str) -> Row | None:
        """The first package of a repository that ``actor`` may see."""
        statement, reader = _OF_REPO.by(actor)
        row = await self._db.fetch_one(statement, repo=repo_id, **reader)
        return None if row is None else await self.package(row["id"])

    async def seen(
        self, actor: Actor, owner_id: str, scope: str, limit: int, offset: int
    ) -> list[Row]:
        """What ``actor`` may see, the latest change first; "" for any owner, any scope."""
        statement, reader = _ALL.by(actor)
        return await self._db.fetch_all(
            statement, owner=owner_id, scope=scope, count=limit, skip=offset, **reader
        )

    async def own(self, actor: Actor, limit: int, offset: int) -> list[Row]:
        """Packages that ``actor`` maintains, and those of its own repositories."""
        statement, reader = _OWN.by(actor)
        return await self._db.fetch_all(
            statement, me=actor.user_id, count=limit, skip=offset, **reader
        )

    async def versions(self, package_id: str, limit: int, offset: int) -> list[Row]:
        """The latest first."""
        return await self._db.fetch_all(_VERSIONS, package=package_id, count=limit, skip=offset)

    async def version(self, package_id: str, version: str) -> Row:
        """Raises NotFound."""
        row = await self._db.fetch_one(_VERSION, package=package_id, version=version)
        if row is None:
            raise NotFound(f"the package has no version {version[:80]!r}")
        return row

    async def latest(self, package_id: str) -> Row:
        """The version of the tag latest, else the newest one. Raises NotFound."""
        tags = {row["tag"]: row["version"] for row in await self.tags(package_id)}
        found = tags.get("latest")
        if found is None:
            numbers = await self._db.fetch_all(_NUMBERS, package=package_id)
            found = newest(row["version"] for row in numbers)
        if found is None:
            raise NotFound("the package has no version yet; publish one")
        return await self.version(package_id, found)

    async def tags(self, package_id: str) -> list[Row]:
        """Dist-tags, with ``version``, by name."""
        return await self._db.fetch_all(_TAGS, package=package_id)

    async def tag(self, package_id: str, tag: str) -> Row:
        """One dist-tag, with ``version``. Raises NotFound."""
        row = await self._db.fetch_one(_TAG, package=package_id, tag=tag)
        if row is None:
            raise NotFound(f"the package has no tag {tag[:80]!r}")
        return row

    async def maintainers(self, package_id: str) -> list[Row]:
        """With ``username`` and ``avatar_url``, in the order in which they were added."""
        return await self._db.fetch_all(_MAINTAINERS, package=package_id)
