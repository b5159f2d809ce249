"""Searching packages: by words in name, description and keywords, among what the caller may see."""

from __future__ import annotations

from typing import Any

import attrs
from sqlalchemy import ColumnElement, and_, bindparam, case, func, select
from sqlalchemy.sql import Executable

from wit.access.actor import Actor
from wit.db.port import Database, Row
from wit.db.search import contains, pattern
from wit.db.tables import (
    namespaces,
    package_dist_tags,
    package_maintainers,
    package_versions,
    packages,
    repositories,
    users,
)
from wit.packages.names import PackageName
from wit.packages.packument import Site, keywords_of, timestamp
from wit.packages.rights import LIGHT_COLUMNS
from wit.packages.visibility import SeenPackages
from wit.runtime import Runtime

MAX_SIZE = 100
"""Packages on one page."""
MAX_OFFSET = 10_000
MAX_WORDS = 4
"""Words of a search that count; all of them have to be found."""
MAX_MAINTAINERS = 1000
"""Of all packages of a page, together."""

_publishers = users.alias("publishers")
_latest = (
    select(
        package_dist_tags.c.package_id,
        package_versions.c.version,
        package_versions.c.published_at,
        _publishers.c.username.label("publisher"),
    )
    .join_from(
        package_dist_tags, package_versions, package_versions.c.id == package_dist_tags.c.version_id
    )
    .join(_publishers, _publishers.c.id == package_versions.c.published_by, isouter=True)
    .where(package_dist_tags.c.tag == "latest")
    .subquery("latest")
)
_MATCHES = and_(
    *(
        contains(f"word{number}", packages.c.full_name, packages.c.description, packages.c.keywords)
        for number in range(MAX_WORDS)
    )
)
_RANK = case(
    (packages.c.full_name == bindparam("text"), 0),
    (packages.c.name == bindparam("text"), 1),
    (contains("word0", packages.c.full_name), 2),
    else_=3,
)


def _page(visible: ColumnElement[bool]) -> Executable:
    return (
        select(
            *LIGHT_COLUMNS,
            packages.c.description,
            (namespaces.c.name + "/" + repositories.c.name).label("repo_full_name"),
            _latest.c.version,
            _latest.c.published_at,
            _latest.c.publisher,
        )
        .join_from(packages, repositories, repositories.c.id == packages.c.repo_id)
        .join(namespaces, namespaces.c.owner_id == repositories.c.owner_id)
        .join(_latest, _latest.c.package_id == packages.c.id)
        .where(_MATCHES, visible)
        .order_by(_RANK, packages.c.download_count.desc(), packages.c.full_name)
        .limit(bindparam("count"))
        .offset(bindparam("skip"))
    )


def _total(visible: ColumnElement[bool]) -> Executable:
    return (
        select(func.count())
        .select_from(packages)
        .join(repositories, repositories.c.id == packages.c.repo_id)
        .join(_latest, _latest.c.package_id == packages.c.id)
        .where(_MATCHES, visible)
    )


_PAGE = SeenPackages(_page)
_TOTAL = SeenPackages(_total)
_MAINTAINERS = (
    select(package_maintainers.c.package_id, users.c.username)
    .join_from(package_maintainers, users, users.c.id == package_maintainers.c.user_id)
    .where(package_maintainers.c.package_id.in_(bindparam("ids", expanding=True)))
    .order_by(package_maintainers.c.added_at, users.c.username)
    .limit(MAX_MAINTAINERS)
)


@attrs.frozen
class Found:
    """One page of rows, and how many packages there are in all."""

    rows: list[Row]
    total: int


class Search:
    """Only packages with a version are found: the others have nothing to be installed."""

    def __init__(self, db: Database, runtime: Runtime, site: Site) -> None:
        self._db = db
        self._runtime = runtime
        self._site = site

    async def find(self, actor: Actor, text: str, limit: int, offset: int) -> Found:
        """The best matches first. Rows have the columns of ``packages`` without readme,
        ``repo_full_name``, and of the latest version ``version``, ``published_at``, ``publisher``.
        """
        words = text.lower().split()[:MAX_WORDS]
        asked: dict[str, Any] = {"text": " ".join(words)}
        for number in range(MAX_WORDS):
            asked[f"word{number}"] = pattern(words[number] if number < len(words) else "")
        page, reader = _PAGE.by(actor)
        total, _ = _TOTAL.by(actor)
        rows = await self._db.fetch_all(page, **asked, **reader, count=limit, skip=offset)
        del asked["text"]
        return Found(rows, int(await self._db.fetch_value(total, **asked, **reader)))

    async def answer(self, actor: Actor, text: str, size: int, offset: int) -> dict[str, Any]:
        """As npm's clients read it (npm, registry, "GET /-/v1/search")."""
        found = await self.find(
            actor, text, min(max(size, 0), MAX_SIZE), min(max(offset, 0), MAX_OFFSET)
        )
        people = await self._maintainers([row["id"] for row in found.rows])
        return {
            "objects": [self._object(row, people.get(row["id"], [])) for row in found.rows],
            "total": found.total,
            "time": timestamp(self._runtime.now()),
        }

    async def _maintainers(self, package_ids: list[str]) -> dict[str, list[str]]:
        if not package_ids:
            return {}
        people: dict[str, list[str]] = {}
        for row in await self._db.fetch_all(_MAINTAINERS, ids=package_ids):
            people.setdefault(row["package_id"], []).append(row["username"])
        return people

    def _object(self, row: Row, maintainers: list[str]) -> dict[str, Any]:
        name = PackageName(row["scope"], row["name"])
        links = {
            "npm": f"{self._site.url}/api/packages/{name.full}",
            "repository": f"{self._site.url}/{row['repo_full_name']}",
        }
        if row["homepage"] is not None:
            links["homepage"] = row["homepage"]
        package: dict[str, Any] = {
            "name": name.full,
            "scope": "unscoped" if name.scope is None else f"@{name.scope}",
            "version": row["version"],
            "description": row["description"] or "",
            "keywords": keywords_of(row) or [],
            "date": timestamp(row["published_at"]),
            "links": links,
            "maintainers": [self._person(username) for username in maintainers],
        }
        if row["publisher"] is not None:
            package["publisher"] = self._person(row["publisher"])
        detail = {"quality": 1, "popularity": row["download_count"], "maintenance": 1}
        return {
            "package": package,
            "score": {"final": 1, "detail": detail},
            "searchScore": 1,
        }

    def _person(self, username: str) -> dict[str, str]:
        person = self._site.person(username)
        return {"username": person["name"], "email": person["email"]}
