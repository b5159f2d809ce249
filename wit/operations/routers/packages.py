"""Reading about packages of the npm registry (contract, trpc-notes.md, "packages (26)").

What a caller may not see is answered as what does not exist. Publishing and installing go through
``/api/packages``.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from wit.errors import NotFound, TooLarge
from wit.operations import package_shapes as shapes
from wit.operations.access import Package, Public, SignedIn
from wit.operations.call import Call
from wit.operations.inputs import ById, Limit, Maybe, Offset, OfRepoId, UserId, Uuid
from wit.operations.package_shapes import WholePackage, package, package_name, version
from wit.operations.registry import Input, Router
from wit.packages.rights import READ_SCOPE, Act

router = Router("packages")

MAX_METADATA = 1024 * 1024
"""Bytes of a packument that fits into an answer of this API."""
VERSIONS = 100
"""What ``versions`` of a package has at most."""

PlainName = Annotated[str, Field(min_length=1, max_length=214)]
ScopeName = Annotated[str, Field(min_length=1, max_length=214)]
VersionText = Annotated[str, Field(min_length=1, max_length=256)]


class OfPackage(Input):
    packageId: Uuid


class ByName(Input):
    scope: ScopeName | None
    name: PlainName


class ByFullName(Input):
    fullName: PlainName


class Page(Input):
    limit: Limit = 20
    offset: Offset = 0


class List(Page):
    ownerId: Maybe[UserId] = None
    scope: Maybe[ScopeName] = None


class Search(Page):
    query: Annotated[str, Field(min_length=1, max_length=100)]


class OfVersion(OfPackage):
    version: VersionText


class Versions(OfPackage):
    limit: Limit = VERSIONS
    offset: Offset = 0


class VersionOfTag(TypedDict):
    tag: str
    version: str


SEEN = Package(Act.SEE)


async def whole(call: Call, package_id: str) -> WholePackage:
    """A package with its versions and tags, for a caller who may see it."""
    catalog = call.core.packages.catalog
    row = await catalog.package(package_id)
    name = package_name(row)
    return {
        **package(row),
        "versions": [
            version(call, name, found) for found in await catalog.versions(package_id, VERSIONS, 0)
        ],
        "distTags": [
            {**shapes.tag(found), "version": found["version"]}
            for found in await catalog.tags(package_id)
        ],
    }


@router.query("getById", access=Package(Act.SEE, by="id"))
async def get_by_id(call: Call, values: ById) -> WholePackage:
    """A package."""
    return await whole(call, call.package["id"])


@router.query("getByName", access=Package(Act.SEE, by="scope/name"), errors=("invalid",))
async def get_by_name(call: Call, values: ByName) -> WholePackage:
    """A package; the scope is without its @, and null for names that have none."""
    return await whole(call, call.package["id"])


@router.query("getByFullName", access=Package(Act.SEE, by="fullName"), errors=("invalid",))
async def get_by_full_name(call: Call, values: ByFullName) -> WholePackage:
    """A package, by NAME or @SCOPE/NAME."""
    return await whole(call, call.package["id"])


@router.query("getByRepoId", access=Public())
async def get_by_repo_id(call: Call, values: OfRepoId) -> WholePackage | None:
    """The first package of a repository that the caller may see; null if there is none."""
    row = await call.core.packages.catalog.first_of(call.actor, values.repoId)
    return None if row is None else await whole(call, row["id"])


@router.query(
    "getMetadata", access=Package(Act.SEE, by="scope/name"), errors=("invalid", "too_large")
)
async def get_metadata(call: Call, values: ByName) -> dict[str, Any]:
    """What npm's clients read about a package; a very large one only at ``/api/packages``."""
    name = package_name(call.package)
    rendered = await call.core.packages.reading.packument(
        call.actor, name, abbreviated=False, encoding=None
    )
    if len(rendered.body) > MAX_METADATA:
        raise TooLarge(f"{name.full} has too many versions for this; GET /api/packages/{name.full}")
    document: dict[str, Any] = await call.core.runtime.in_thread(json.loads, rendered.body)
    return document


@router.query("list", access=Public())
async def list_(call: Call, values: List) -> list[shapes.Package]:
    """Packages that the caller may see, the latest change first, without their readme."""
    rows = await call.core.packages.catalog.seen(
        call.actor, values.ownerId or "", values.scope or "", values.limit, values.offset
    )
    return [package(row) for row in rows]


@router.query("search", access=Public())
async def search(call: Call, values: Search) -> list[shapes.Package]:
    """Packages with these words in name, description or keywords, without their readme."""
    found = await call.core.packages.search.find(
        call.actor, values.query, values.limit, values.offset
    )
    return [package(row) for row in found.rows]


@router.query("myPackages", access=SignedIn(READ_SCOPE))
async def my_packages(call: Call, values: Page) -> list[shapes.Package]:
    """Packages that the caller maintains, and those of the caller's own repositories."""
    rows = await call.core.packages.catalog.own(call.actor, values.limit, values.offset)
    return [package(row) for row in rows]


@router.query("getVersion", access=SEEN, errors=("not_found",))
async def get_version(call: Call, values: OfVersion) -> shapes.Version:
    """One version."""
    row = await call.core.packages.catalog.version(call.package["id"], values.version)
    return version(call, package_name(call.package), row)


@router.query("listVersions", access=SEEN)
async def list_versions(call: Call, values: Versions) -> list[shapes.Version]:
    """The versions, the latest first."""
    rows = await call.core.packages.catalog.versions(
        call.package["id"], values.limit, values.offset
    )
    return [version(call, package_name(call.package), row) for row in rows]


@router.query("getLatestVersion", access=SEEN, errors=("not_found",))
async def get_latest_version(call: Call, values: OfPackage) -> shapes.Version:
    """The version of the tag latest, else the newest one."""
    row = await call.core.packages.catalog.latest(call.package["id"])
    return version(call, package_name(call.package), row)


@router.query("listDistTags", access=SEEN)
async def list_dist_tags(call: Call, values: OfPackage) -> list[VersionOfTag]:
    """Which version each tag stands for."""
    rows = await call.core.packages.catalog.tags(call.package["id"])
    return [{"tag": row["tag"], "version": row["version"]} for row in rows]


@router.query("listMaintainers", access=SEEN)
async def list_maintainers(call: Call, values: OfPackage) -> list[shapes.Maintainer]:
    """Who maintains the package, beside the owners of its repository."""
    rows = await call.core.packages.catalog.maintainers(call.package["id"])
    return [shapes.maintainer(row) for row in rows]


@router.query("canPublish", access=SignedIn(READ_SCOPE))
async def can_publish(call: Call, values: OfPackage) -> bool:
    """Whether the caller may publish versions; false, too, for what there is not."""
    rights = call.core.packages.rights
    try:
        row = await rights.by_id(call.actor, values.packageId)
    except NotFound:
        return False
    most = await rights.act(call.actor, row)
    return most >= Act.PUBLISH
