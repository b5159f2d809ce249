"""What can be changed about a package that is there: tags, notices, people, who sees it.

Every method finds the package and judges the caller by :mod:`wit.packages.rights`, so each raises
NotFound, Unauthorized and Forbidden, and returns the package's new ``_rev``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sqlalchemy import bindparam, select
from twisted.logger import Logger

from wit.access.actor import Actor
from wit.access.gate import SIGN_IN
from wit.db.port import Connection, Database, ForeignKeyViolation, Row
from wit.db.tables import users
from wit.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from wit.events.journal import Journal
from wit.packages import records
from wit.packages.names import PackageName, check_tag, check_version
from wit.packages.packument import revision_text
from wit.packages.release import clean_text
from wit.packages.rights import WRITE_SCOPE, Rights
from wit.runtime import Runtime

MAX_NOTICE = 1024
"""Characters of a deprecation notice."""

MAX_MAINTAINERS = 100

_USER = (
    select(users.c.id, users.c.username)
    .where(users.c.username == bindparam("key"))
    .execution_options(quick=True)
)

Step = Callable[[Connection, Row], Awaitable[None]]
"""A part of a transaction, given the package's locked row."""

log = Logger()


class Changes:
    def __init__(self, db: Database, runtime: Runtime, journal: Journal, rights: Rights) -> None:
        self._db = db
        self._runtime = runtime
        self._journal = journal
        self._rights = rights

    # Tags

    async def set_tag(
        self, actor: Actor, name: PackageName, tag: str, version: str, request_id: str
    ) -> str:
        """Raises Invalid, too; NotFound without such a version."""
        check_tag(tag)
        wanted = check_version(version)
        package = await self._rights.manage(actor, name)

        async def step(tx: Connection, row: Row) -> None:
            found = await _version(tx, row, wanted)
            await records.set_tag(tx, self._runtime, row["id"], tag, found["id"])

        return await self._change(package["id"], step, f"tag {tag} -> {wanted}", actor, request_id)

    async def remove_tag(self, actor: Actor, name: PackageName, tag: str, request_id: str) -> str:
        """Raises Invalid for ``latest``; NotFound without such a tag."""
        if tag == records.LATEST:
            raise Invalid("the tag latest cannot be removed; set it to another version instead")
        package = await self._rights.manage(actor, name)

        async def step(tx: Connection, row: Row) -> None:
            if not await tx.execute(records.REMOVE_TAG, package=row["id"], tag=tag):
                raise NotFound(f"{row['full_name']} has no tag {tag[:80]!r}")

        return await self._change(package["id"], step, f"no tag {tag[:80]}", actor, request_id)

    # Notices

    async def deprecate_version(
        self,
        actor: Actor,
        name: PackageName,
        version: str,
        notice: str | None,
        request_id: str,
    ) -> str:
        """No notice takes it back. Raises NotFound without such a version, too."""
        package = await self._rights.manage(actor, name)
        text = clean_text(notice, MAX_NOTICE) or None

        async def step(tx: Connection, row: Row) -> None:
            found = await _version(tx, row, version)
            await self._deprecate_version(tx, row, found, text, actor)

        return await self._change(package["id"], step, "deprecation", actor, request_id)

    async def deprecate_package(
        self, actor: Actor, name: PackageName, notice: str | None, request_id: str
    ) -> str:
        """All versions that have no notice of their own; no notice takes it back."""
        package = await self._rights.manage(actor, name)
        text = clean_text(notice, MAX_NOTICE) or None

        async def step(tx: Connection, row: Row) -> None:
            await tx.execute(records.DEPRECATE_PACKAGE, package=row["id"], notice=text)
            await self._journal.append(tx, _deprecated(row, actor, text, None))

        return await self._change(package["id"], step, "deprecation", actor, request_id)

    async def _deprecate_version(
        self, tx: Connection, package: Row, version: Row, text: str | None, actor: Actor
    ) -> None:
        await tx.execute(records.DEPRECATE_VERSION, which=version["id"], notice=text)
        event = _deprecated(package, actor, text, version["version"])
        await self._journal.append(tx, event)

    # People

    async def add_maintainer(
        self, actor: Actor, name: PackageName, username: str, request_id: str
    ) -> str:
        """Raises NotFound without such a user."""
        package = await self._rights.own(actor, name)
        user = await self._user(username)

        async def step(tx: Connection, row: Row) -> None:
            await self._add_maintainer(tx, row, user["id"], actor)

        return await self._change(
            package["id"], step, f"maintainer {user['username']}", actor, request_id
        )

    async def remove_maintainer(
        self, actor: Actor, name: PackageName, username: str, request_id: str
    ) -> str:
        """Raises Invalid for the owner of the repository, NotFound without such a user."""
        package = await self._rights.own(actor, name)
        user = await self._user(username)

        async def step(tx: Connection, row: Row) -> None:
            await _remove_maintainer(tx, row, user["id"])

        return await self._change(package["id"], step, "one maintainer less", actor, request_id)

    async def set_maintainers(
        self, actor: Actor, name: PackageName, usernames: list[str], request_id: str
    ) -> str:
        """Raises Invalid, and NotFound for names that no user has."""
        package = await self._rights.own(actor, name)
        if not 1 <= len(usernames) <= MAX_MAINTAINERS:
            raise Invalid(f"a package has 1 to {MAX_MAINTAINERS} maintainers")
        wanted = {(await self._user(username))["id"] for username in usernames}

        async def step(tx: Connection, row: Row) -> None:
            present = {
                person["id"]
                for person in await tx.fetch_all(records.MAINTAINERS, package=row["id"])
            }
            for user_id in sorted(wanted - present):
                await self._add_maintainer(tx, row, user_id, actor)
            for user_id in sorted(present - wanted):
                await _remove_maintainer(tx, row, user_id)

        return await self._change(package["id"], step, "maintainers", actor, request_id)

    async def _add_maintainer(
        self, tx: Connection, package: Row, user_id: str, actor: Actor
    ) -> None:
        people = await tx.fetch_all(records.MAINTAINERS, package=package["id"])
        if len(people) >= MAX_MAINTAINERS:
            raise Invalid(f"a package has {MAX_MAINTAINERS} maintainers at most")
        await tx.execute(
            records.ADD_MAINTAINER,
            package_id=package["id"],
            user_id=user_id,
            added_at=self._runtime.now(),
            added_by=actor.user_id,
        )

    async def _user(self, username: str) -> Row:
        user = await self._db.fetch_one(_USER, key=username.lower())
        if user is None:
            raise NotFound(f"there is no user {username[:60]!r}")
        return user

    # Whoever may see it

    async def star(self, actor: Actor, name: PackageName, starred: bool, request_id: str) -> str:
        if actor.anonymous:
            raise Unauthorized(SIGN_IN)
        package = await self._rights.see(actor, name)
        if not actor.has_scope(WRITE_SCOPE):
            raise Forbidden(f"this token lacks the scope {WRITE_SCOPE}")

        async def step(tx: Connection, row: Row) -> None:
            if starred:
                await tx.execute(
                    records.STAR,
                    package_id=row["id"],
                    user_id=actor.user_id,
                    created_at=self._runtime.now(),
                )
            else:
                await tx.execute(records.UNSTAR, package=row["id"], user=actor.user_id)

        return await self._change(package["id"], step, f"star: {starred}", actor, request_id)

    async def set_visibility(
        self, actor: Actor, name: PackageName, public: bool, request_id: str
    ) -> str:
        """A private package is for its maintainers and who may write to its repository."""
        package = await self._rights.manage(actor, name)
        visibility = "public" if public else "private"

        async def step(tx: Connection, row: Row) -> None:
            await tx.execute(records.SET_VISIBILITY, package=row["id"], new_visibility=visibility)

        return await self._change(package["id"], step, visibility, actor, request_id)

    # Documents

    async def update(
        self, actor: Actor, name: PackageName, document: Mapping[str, Any], request_id: str
    ) -> str:
        """What npm's clients say by putting a changed packument back.

        One with versions changes deprecation notices; one without changes maintainers or the
        caller's star. Everything else in it is left as it is. Raises Invalid; Conflict if the
        maintainers were changed meanwhile.
        """
        if actor.anonymous:
            raise Unauthorized(SIGN_IN)
        package = await self._rights.see(actor, name)
        rev = revision_text(package)
        if "versions" in document:
            return await self._update_notices(actor, name, document, request_id)
        if isinstance(people := document.get("maintainers"), list):
            if document.get("_rev", rev) != rev:
                raise Conflict(f"{name.full} was changed meanwhile; try again")
            names = [str(person.get("name")) for person in people if isinstance(person, dict)]
            return await self.set_maintainers(actor, name, names, request_id)
        if isinstance(fans := document.get("users"), dict):
            return await self.star(actor, name, bool(fans.get(actor.username)), request_id)
        raise Invalid("the request has nothing to publish and nothing to change")

    async def _update_notices(
        self, actor: Actor, name: PackageName, document: Mapping[str, Any], request_id: str
    ) -> str:
        versions = document["versions"]
        if not isinstance(versions, dict):
            raise Invalid("'versions' in the request must be an object")
        package = await self._rights.manage(actor, name)

        async def step(tx: Connection, row: Row) -> None:
            for version in await tx.fetch_all(records.VERSIONS, package=row["id"]):
                said = versions.get(version["version"])
                if not isinstance(said, dict) or "deprecated" not in said:
                    continue
                text = clean_text(said["deprecated"], MAX_NOTICE) or None
                if text != (version["deprecated"] or row["deprecated"]):
                    await self._deprecate_version(tx, row, version, text, actor)

        return await self._change(package["id"], step, "deprecations", actor, request_id)

    async def _change(
        self, package_id: str, step: Step, what: str, actor: Actor, request_id: str
    ) -> str:
        try:
            async with self._db.transaction() as tx:
                row = await records.lock_package(tx, package_id)
                await step(tx, row)
                rev = await records.bump(tx, package_id, self._runtime.now())
        except ForeignKeyViolation:
            raise NotFound("the user was removed meanwhile") from None
        await self._journal.announce()
        log.info(
            "{package}: {what}, by {user}",
            package=row["full_name"],
            what=what,
            user=actor.username,
            request_id=request_id,
        )
        return rev


async def _version(tx: Connection, package: Row, version: str) -> Row:
    found = await tx.fetch_one(records.VERSION, package=package["id"], version=version)
    if found is None:
        raise NotFound(f"{package['full_name']} has no version {version[:80]!r}")
    return found


async def _remove_maintainer(tx: Connection, package: Row, user_id: str) -> None:
    if user_id == package["repo_owner_id"]:
        raise Invalid("the owner of the repository stays a maintainer of its packages")
    await tx.execute(records.REMOVE_MAINTAINER, package=package["id"], user=user_id)


def _deprecated(package: Row, actor: Actor, notice: str | None, version: str | None) -> Any:
    more = {} if version is None else {"version": version}
    return records.event("deprecated", package, actor.user_id or "", message=notice or "", **more)
