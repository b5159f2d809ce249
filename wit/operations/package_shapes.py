"""Packages of the npm registry on the wire (contract, trpc.json, ``types``)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from typing_extensions import TypedDict

from wit.db.port import Row
from wit.operations.call import Call
from wit.packages.names import PackageName


class Package(TypedDict):
    id: str
    name: str
    scope: str | None
    fullName: str
    repoId: str
    description: str | None
    visibility: Literal["public", "private"]
    keywords: str | None
    license: str | None
    homepage: str | None
    readme: str | None
    downloadCount: int
    deprecated: str | None
    publishOnRelease: bool
    createdAt: datetime
    updatedAt: datetime


class Version(TypedDict):
    """Maps and ``manifest`` are JSON text; ``tarballSha512`` is in hex."""

    id: str
    packageId: str
    version: str
    tagName: str | None
    tarballUrl: str
    tarballSha512: str
    tarballSize: int
    manifest: str
    dependencies: str | None
    devDependencies: str | None
    peerDependencies: str | None
    optionalDependencies: str | None
    engines: str | None
    bin: str | None
    publishedBy: str
    deprecated: str | None
    downloadCount: int
    publishedAt: datetime


class Tag(TypedDict):
    id: str
    packageId: str
    tag: str
    versionId: str
    updatedAt: datetime


class TagOfVersion(Tag):
    version: str


class WholePackage(Package):
    """With its latest versions, at most 100 of them; packages.listVersions has the others."""

    versions: list[Version]
    distTags: list[TagOfVersion]


class Maintainer(TypedDict):
    packageId: str
    userId: str
    addedAt: datetime
    addedBy: str | None
    username: str | None
    avatarUrl: str | None


def package(row: Row) -> Package:
    """From a row of ``packages``; in lists without ``readme``."""
    return {
        "id": row["id"],
        "name": row["name"],
        "scope": row["scope"],
        "fullName": row["full_name"],
        "repoId": row["repo_id"],
        "description": row["description"],
        "visibility": row["visibility"],
        "keywords": row["keywords"],
        "license": row["license"],
        "homepage": row["homepage"],
        "readme": row.get("readme"),
        "downloadCount": row["download_count"],
        "deprecated": row["deprecated"],
        "publishOnRelease": row["publish_on_release"],
        "createdAt": row["created_at"],
        "updatedAt": row["updated_at"],
    }


def package_name(row: Row) -> PackageName:
    """Of a row of ``packages``."""
    return PackageName(row["scope"], row["name"])


def version(call: Call, name: PackageName, row: Row) -> Version:
    """From a row of ``package_versions``; who published it is "" if that user is gone."""
    return {
        "id": row["id"],
        "packageId": row["package_id"],
        "version": row["version"],
        "tagName": row["tag_name"],
        "tarballUrl": call.core.packages.site.tarball(name, row["version"]),
        "tarballSha512": row["tarball_sha512"],
        "tarballSize": row["tarball_size"],
        "manifest": row["manifest"],
        "dependencies": row["dependencies"],
        "devDependencies": row["dev_dependencies"],
        "peerDependencies": row["peer_dependencies"],
        "optionalDependencies": row["optional_dependencies"],
        "engines": row["engines"],
        "bin": row["bin"],
        "publishedBy": row["published_by"] or "",
        "deprecated": row["deprecated"],
        "downloadCount": row["download_count"],
        "publishedAt": row["published_at"],
    }


def tag(row: Row) -> Tag:
    """From a row of ``package_dist_tags``."""
    return {
        "id": row["id"],
        "packageId": row["package_id"],
        "tag": row["tag"],
        "versionId": row["version_id"],
        "updatedAt": row["updated_at"],
    }


def maintainer(row: Row) -> Maintainer:
    return {
        "packageId": row["package_id"],
        "userId": row["user_id"],
        "addedAt": row["added_at"],
        "addedBy": row["added_by"],
        "username": row["username"],
        "avatarUrl": row["avatar_url"],
    }
