"""Taking versions and packages away again, with regard for those who depend on them.

A version that another package of this site needs, whose range no other version satisfies, stays,
unless an administrator takes it away. What nobody needs may go within three days; later only the
owners of the repository remove it. A number that was published is never given again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from twisted.logger import Logger

from wit.access.actor import Actor
from wit.db.port import Connection, Database, Row
from wit.errors import Forbidden, NotFound
from wit.events.journal import Journal
from wit.packages import records
from wit.packages.names import PackageName, check_version
from wit.packages.rights import Act, Rights
from wit.packages.versions import Version, newest, parse_range, parse_version
from wit.runtime import Runtime

GRACE = timedelta(hours=72)
"""For so long whoever manages a package may change their mind."""

MAX_NAMES = 10
"""Dependents that are named in the sentence."""

log = Logger()


class _Needed(Exception):
    """Ids of packages that need what was to be taken away."""

    def __init__(self, package_ids: list[str]) -> None:
        super().__init__(package_ids)
        self.package_ids = package_ids


class Unpublishing:
    """All methods raise NotFound, Unauthorized and Forbidden."""

    def __init__(self, db: Database, runtime: Runtime, journal: Journal, rights: Rights) -> None:
        self._db = db
        self._runtime = runtime
        self._journal = journal
        self._rights = rights

    async def unpublish_version(
        self, actor: Actor, name: PackageName, version: str, request_id: str
    ) -> None:
        """Remove one version; tags that point to it go with it, and latest moves to the newest one
        that is left. Raises Invalid, too."""
        wanted = check_version(version)
        package = await self._rights.manage(actor, name)
        owner = actor.is_admin or await self._rights.act(actor, package) >= Act.OWN
        try:
            async with self._db.transaction() as tx:
                row = await records.lock_package(tx, package["id"])
                found = await tx.fetch_one(records.VERSION, package=row["id"], version=wanted)
                if found is None:
                    raise NotFound(f"{name.full} has no version {wanted!r}")
                if not owner and found["published_at"] + GRACE < self._runtime.now():
                    raise Forbidden(
                        f"{name.full}@{wanted} was published more than 72 hours ago: only the "
                        f"owners of {row['repo_full_name']} can remove it; deprecate it instead"
                    )
                await self._check_needed(tx, actor, row, {wanted})
                await self._remove(tx, row, found)
                gone = records.event("unpublished", row, actor.user_id or "", version=wanted)
                await self._journal.append(tx, gone)
                await records.bump(tx, row["id"], self._runtime.now())
        except _Needed as needed:
            raise await self._refusal(actor, f"{name.full}@{wanted}", needed) from None
        await self._done(actor, f"{name.full}@{wanted}", request_id)

    async def unpublish_all(self, actor: Actor, name: PackageName, request_id: str) -> None:
        """Remove a package with all its versions; for owners of its repository."""
        package = await self._rights.own(actor, name)
        try:
            async with self._db.transaction() as tx:
                row = await records.lock_package(tx, package["id"])
                versions = await tx.fetch_all(records.VERSIONS, package=row["id"])
                await self._check_needed(tx, actor, row, {found["version"] for found in versions})
                await tx.execute(records.DELETE_PACKAGE, package=row["id"])
                gone = records.event("unpublished", row, actor.user_id or "")
                await self._journal.append(tx, gone)
        except _Needed as needed:
            raise await self._refusal(actor, name.full, needed) from None
        await self._done(actor, name.full, request_id)

    async def _remove(self, tx: Connection, package: Row, version: Row) -> None:
        latest = await tx.fetch_value(records.TAG, package=package["id"], tag=records.LATEST)
        await tx.execute(records.DELETE_VERSION, version=version["id"])
        if latest != version["id"]:
            return
        left = {
            row["version"]: row["id"]
            for row in await tx.fetch_all(records.VERSIONS, package=package["id"])
        }
        if found := newest(left):
            await records.set_tag(tx, self._runtime, package["id"], records.LATEST, left[found])

    async def _check_needed(
        self, tx: Connection, actor: Actor, package: Row, going: set[str]
    ) -> None:
        """Raises _Needed."""
        if actor.is_admin:
            return
        versions = await tx.fetch_all(records.VERSIONS, package=package["id"])
        dependents = await tx.fetch_all(
            records.DEPENDENTS, name=package["full_name"], package=package["id"]
        )
        left = {row["version"] for row in versions} - going
        needing = await self._runtime.in_thread(_needing, dependents, going, left)
        if needing:
            raise _Needed(needing)

    async def _refusal(self, actor: Actor, what: str, needed: _Needed) -> Forbidden:
        """Names those dependents that the actor may see."""
        names: list[str] = []
        for package_id in needed.package_ids[:MAX_NAMES]:
            try:
                names.append((await self._rights.by_id(actor, package_id))["full_name"])
            except NotFound:
                continue
        others = len(needed.package_ids) - len(names)
        if others:
            plural = "" if others == 1 else "s"
            names.append(f"{others} {'other ' if names else ''}package{plural}")
        return Forbidden(
            f"{what} cannot be unpublished, as {', '.join(names)} here depend on it; "
            "deprecate it instead"
        )

    async def _done(self, actor: Actor, what: str, request_id: str) -> None:
        await self._journal.announce()
        log.info(
            "{what} was unpublished by {user}",
            what=what,
            user=actor.username,
            request_id=request_id,
        )


def _needing(dependents: Iterable[Row], going: set[str], left: set[str]) -> list[str]:
    """Ids of the packages with a range that only versions in ``going`` satisfy. Blocks."""
    gone, stay = _parsed(going), _parsed(left)
    needing: dict[str, None] = {}
    for dependent in dependents:
        wanted = parse_range(dependent["range"])
        if wanted is None or dependent["package_id"] in needing:
            continue
        if any(map(wanted.takes, gone)) and not any(map(wanted.takes, stay)):
            needing[dependent["package_id"]] = None
    return list(needing)


def _parsed(versions: Iterable[str]) -> list[Version]:
    """The newest first: that is what ranges take most often."""
    found = [version for text in versions if (version := parse_version(text)) is not None]
    return sorted(found, reverse=True)
