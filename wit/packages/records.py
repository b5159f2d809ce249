"""The statements by which packages change, and the steps that several changes share."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from wit.db.port import Connection, Row
from wit.db.tables import (
    namespaces,
    package_dependencies,
    package_dist_tags,
    package_maintainers,
    package_numbers,
    package_stars,
    package_versions,
    packages,
    repositories,
    users,
)
from wit.errors import Invalid, NotFound
from wit.events.types import NewEvent
from wit.packages.packument import revision_text
from wit.runtime import Runtime

LATEST = "latest"

MAX_TAGS = 500
"""Dist-tags of one package."""

_of_package: BindParameter[Any] = bindparam("package")
_LOCKED = (
    select(
        packages,
        repositories.c.owner_id.label("repo_owner_id"),
        repositories.c.is_archived.label("repo_is_archived"),
        (namespaces.c.name + "/" + repositories.c.name).label("repo_full_name"),
    )
    .join_from(packages, repositories, repositories.c.id == packages.c.repo_id)
    .join(namespaces, namespaces.c.owner_id == repositories.c.owner_id)
    .where(packages.c.id == _of_package)
    .with_for_update(of=packages)
)
_BUMP = (
    update(packages)
    .where(packages.c.id == _of_package)
    .values(revision=packages.c.revision + 1, updated_at=bindparam("now"))
)
REVISION = select(packages.c.id, packages.c.revision).where(packages.c.id == _of_package)

INSERT_PACKAGE = insert(packages).on_conflict_do_nothing(index_elements=["full_name"])
DELETE_PACKAGE = delete(packages).where(packages.c.id == _of_package)
DESCRIBE = (
    update(packages)
    .where(packages.c.id == _of_package)
    .values({
        name: bindparam(f"new_{name}")
        for name in ("description", "keywords", "license", "homepage", "readme", "readme_filename")
    })
)  # fmt: skip
SET_VISIBILITY = (
    update(packages)
    .where(packages.c.id == _of_package)
    .values(visibility=bindparam("new_visibility"))
)
DEPRECATE_PACKAGE = (
    update(packages).where(packages.c.id == _of_package).values(deprecated=bindparam("notice"))
)

GIVE_NUMBER = insert(package_numbers).on_conflict_do_nothing()
"""Touches no row if the number was given before."""

INSERT_VERSION = insert(package_versions)
DELETE_VERSION = delete(package_versions).where(package_versions.c.id == bindparam("version"))
DEPRECATE_VERSION = (
    update(package_versions)
    .where(package_versions.c.id == bindparam("which"))
    .values(deprecated=bindparam("notice"))
)
VERSION = (
    select(
        package_versions.c.id,
        package_versions.c.version,
        package_versions.c.deprecated,
        package_versions.c.published_at,
    )
    .where(package_versions.c.package_id == _of_package)
    .where(package_versions.c.version == bindparam("version"))
)
VERSIONS = select(
    package_versions.c.id, package_versions.c.version, package_versions.c.deprecated
).where(package_versions.c.package_id == _of_package)

_insert_tag = insert(package_dist_tags)
_SET_TAG = _insert_tag.on_conflict_do_update(
    index_elements=["package_id", "tag"],
    set_={name: _insert_tag.excluded[name] for name in ("version_id", "updated_at")},
)
_COUNT_TAGS = select(func.count()).where(package_dist_tags.c.package_id == _of_package)
REMOVE_TAG = delete(package_dist_tags).where(
    package_dist_tags.c.package_id == _of_package, package_dist_tags.c.tag == bindparam("tag")
)
TAG = select(package_dist_tags.c.version_id).where(
    package_dist_tags.c.package_id == _of_package, package_dist_tags.c.tag == bindparam("tag")
)

INSERT_DEPENDENCY = insert(package_dependencies)
DEPENDENTS = (
    select(
        package_dependencies.c.range,
        package_dependencies.c.package_id,
        packages.c.full_name,
    )
    .join_from(package_dependencies, packages, packages.c.id == package_dependencies.c.package_id)
    .where(package_dependencies.c.depends_on == bindparam("name"))
    .where(package_dependencies.c.package_id != _of_package)
    .distinct()
    .order_by(packages.c.full_name)
)

ADD_MAINTAINER = insert(package_maintainers).on_conflict_do_nothing()
REMOVE_MAINTAINER = delete(package_maintainers).where(
    package_maintainers.c.package_id == _of_package,
    package_maintainers.c.user_id == bindparam("user"),
)
MAINTAINERS = (
    select(users.c.id, users.c.username)
    .join_from(package_maintainers, users, users.c.id == package_maintainers.c.user_id)
    .where(package_maintainers.c.package_id == _of_package)
)
STAR = insert(package_stars).on_conflict_do_nothing()
UNSTAR = delete(package_stars).where(
    package_stars.c.package_id == _of_package, package_stars.c.user_id == bindparam("user")
)


async def lock_package(tx: Connection, package_id: str) -> Row:
    """The row, with ``repo_owner_id``, ``repo_is_archived`` and ``repo_full_name``; it stays as it
    is until the end of the transaction. Raises NotFound."""
    row = await tx.fetch_one(_LOCKED, package=package_id)
    if row is None:
        raise NotFound("the package is no longer there")
    return row


async def set_tag(
    tx: Connection, runtime: Runtime, package_id: str, tag: str, version_id: str
) -> None:
    """Raises Invalid if the package has too many tags then."""
    await tx.execute(
        _SET_TAG,
        id=runtime.new_id(),
        package_id=package_id,
        tag=tag,
        version_id=version_id,
        updated_at=runtime.now(),
    )
    if await tx.fetch_value(_COUNT_TAGS, package=package_id) > MAX_TAGS:
        raise Invalid(f"a package can have {MAX_TAGS} tags at most; remove one first")


async def bump(tx: Connection, package_id: str, now: datetime) -> str:
    """Note that clients see something else from now on; returns the new ``_rev``."""
    await tx.execute(_BUMP, package=package_id, now=now)
    row = await tx.fetch_one(REVISION, package=package_id)
    if row is None:
        raise NotFound("the package is no longer there")
    return revision_text(row)


def event(kind: str, package: Row, actor_id: str, **more: Any) -> NewEvent:
    """``package.<kind>`` about a row of :func:`lock_package`."""
    payload = {
        "packageId": package["id"],
        "packageName": package["full_name"],
        **more,
        "repoId": package["repo_id"],
        "repoFullName": package["repo_full_name"],
    }
    return NewEvent(f"package.{kind}", actor_id, payload, package["repo_id"])
