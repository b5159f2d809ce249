"""Changing packages of the npm registry (contract, trpc-notes.md, "packages (26)").

A repository may have several packages; its owners enable them, or the first publish does. Who may
change what is in :mod:`wit.packages.rights`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wit.access.actor import Level
from wit.errors import Invalid
from wit.operations import package_shapes as shapes
from wit.operations.access import Package, Repo
from wit.operations.call import Call
from wit.operations.inputs import ById, Maybe, OfRepoId, UserId
from wit.operations.package_shapes import package, package_name
from wit.operations.registry import Router
from wit.operations.routers.packages import OfPackage, OfVersion, PlainName, ScopeName, VersionText
from wit.operations.shapes import Success
from wit.packages.declaring import Texts
from wit.packages.names import PackageName, parse_name
from wit.packages.rights import WRITE_SCOPE, Act

router = Router("packages")

Description = Annotated[str, Field(max_length=10_000)]
Keywords = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=200)]
License = Annotated[str, Field(max_length=200)]
Homepage = Annotated[str, Field(max_length=2048, pattern=r"^https?://[^\s]+$")]
Message = Annotated[str, Field(min_length=1, max_length=1000)]
TagName = Annotated[str, Field(min_length=1, max_length=100)]
Visibility = Literal["public", "private"]

IN_REPO = Repo(Level.WRITE, by="repoId", scope=WRITE_SCOPE)
OF_REPO = Repo(Level.OWNER, by="repoId", scope=WRITE_SCOPE)
MANAGED = Package(Act.MANAGE)
OWNED = Package(Act.OWN)


class Named(OfRepoId):
    name: PlainName
    scope: ScopeName | None = None
    description: Maybe[Description] = None


class Create(Named):
    visibility: Visibility = "public"
    keywords: Maybe[Keywords] = None
    license: Maybe[License] = None
    homepage: Maybe[Homepage] = None


class Enable(Named):
    publishOnRelease: bool = False


class Update(ById):
    """``repositoryUrl`` is taken and means nothing: it is in each version's package.json."""

    description: Maybe[Description] = None
    visibility: Maybe[Visibility] = None
    keywords: Maybe[Keywords] = None
    license: Maybe[License] = None
    homepage: Homepage | None = None
    repositoryUrl: Annotated[str, Field(max_length=2048)] | None = None
    readme: Maybe[Annotated[str, Field(max_length=500_000)]] = None


class Deprecate(ById):
    message: Message


class SetTag(OfPackage):
    tag: TagName
    version: VersionText


class OfTag(OfPackage):
    tag: TagName


class DeprecateVersion(OfVersion):
    message: Message


class AddMaintainer(OfPackage):
    username: Annotated[str, Field(min_length=1, max_length=64)]


class RemoveMaintainer(OfPackage):
    userId: UserId


_COLUMNS = ("description", "visibility", "keywords", "license", "homepage", "readme")


def name_of(values: Named) -> PackageName:
    """Raises Invalid."""
    return parse_name(values.name if values.scope is None else f"@{values.scope}/{values.name}")


@router.mutation("create", access=IN_REPO, errors=("invalid", "conflict", "unavailable"))
async def create(call: Call, values: Create) -> shapes.Package:
    """A package of a repository, before anything is published; the caller maintains it."""
    row = await call.core.packages.declaring.create(
        call.actor,
        call.repo,
        name_of(values),
        visibility=values.visibility,
        texts=Texts(values.description, values.keywords, values.license, values.homepage),
    )
    return package(row)


@router.mutation("enableForRepo", access=OF_REPO, errors=("invalid", "conflict", "unavailable"))
async def enable_for_repo(call: Call, values: Enable) -> shapes.Package:
    """Give a repository a package of that name; one that has no versions yet is renamed."""
    row = await call.core.packages.declaring.enable(
        call.actor,
        call.repo,
        name_of(values),
        description=values.description,
        publish_on_release=values.publishOnRelease,
    )
    return package(row)


@router.mutation("disableForRepo", access=OF_REPO)
async def disable_for_repo(call: Call, values: OfRepoId) -> Success:
    """Take packages without versions away from a repository; others stay as they are."""
    await call.core.packages.declaring.disable(call.repo["id"])
    return {"success": True}


@router.mutation("update", access=Package(Act.MANAGE, by="id"))
async def update(call: Call, values: Update) -> shapes.Package:
    """Change what is given; the next published version brings its own texts again."""
    changes = {
        column: getattr(values, column) for column in _COLUMNS if column in values.model_fields_set
    }
    return package(await call.core.packages.declaring.update(call.package["id"], changes))


@router.mutation("deprecate", access=Package(Act.MANAGE, by="id"))
async def deprecate(call: Call, values: Deprecate) -> shapes.Package:
    """Warn whoever installs any version of the package."""
    return await _deprecated(call, values.message)


@router.mutation("undeprecate", access=Package(Act.MANAGE, by="id"))
async def undeprecate(call: Call, values: ById) -> shapes.Package:
    """Take the warning back; those of single versions stay."""
    return await _deprecated(call, None)


async def _deprecated(call: Call, message: str | None) -> shapes.Package:
    core = call.core.packages
    name = package_name(call.package)
    await core.changes.deprecate_package(call.actor, name, message, call.client.request_id)
    return package(await core.catalog.package(call.package["id"]))


@router.mutation("deprecateVersion", access=MANAGED, errors=("not_found",))
async def deprecate_version(call: Call, values: DeprecateVersion) -> shapes.Version:
    """Warn whoever installs one version."""
    core, name = call.core.packages, package_name(call.package)
    await core.changes.deprecate_version(
        call.actor, name, values.version, values.message, call.client.request_id
    )
    row = await core.catalog.version(call.package["id"], values.version)
    return shapes.version(call, name, row)


@router.mutation("delete", access=Package(Act.OWN, by="id"), errors=("conflict",))
async def delete(call: Call, values: ById) -> Success:
    """Remove a package with all its versions, unless other packages need it."""
    await call.core.packages.unpublishing.unpublish_all(
        call.actor, package_name(call.package), call.client.request_id
    )
    return {"success": True}


@router.mutation("setDistTag", access=MANAGED, errors=("invalid", "not_found"))
async def set_dist_tag(call: Call, values: SetTag) -> shapes.Tag:
    """Let a tag stand for a version."""
    core = call.core.packages
    await core.changes.set_tag(
        call.actor,
        package_name(call.package),
        values.tag,
        values.version,
        call.client.request_id,
    )
    return shapes.tag(await core.catalog.tag(call.package["id"], values.tag))


@router.mutation("deleteDistTag", access=MANAGED, errors=("invalid", "not_found"))
async def delete_dist_tag(call: Call, values: OfTag) -> Success:
    """Remove a tag; ``latest`` stays."""
    await call.core.packages.changes.remove_tag(
        call.actor, package_name(call.package), values.tag, call.client.request_id
    )
    return {"success": True}


@router.mutation("addMaintainer", access=OWNED, errors=("not_found",))
async def add_maintainer(call: Call, values: AddMaintainer) -> Success:
    """Let a person publish and manage the package."""
    await call.core.packages.changes.add_maintainer(
        call.actor, package_name(call.package), values.username, call.client.request_id
    )
    return {"success": True}


@router.mutation("removeMaintainer", access=OWNED, errors=("invalid", "not_found"))
async def remove_maintainer(call: Call, values: RemoveMaintainer) -> Success:
    """Take that back; not from the owner of the repository, who may do all of it anyway."""
    if values.userId == call.package["repo_owner_id"]:
        raise Invalid("the owner of the repository cannot be removed from its packages")
    person = await call.core.users.get(values.userId)
    await call.core.packages.changes.remove_maintainer(
        call.actor, package_name(call.package), person["username"], call.client.request_id
    )
    return {"success": True}
