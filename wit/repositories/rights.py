"""Who works on a repository: its collaborators, and the rules that protect its branches."""

from __future__ import annotations

import attrs
from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from wit.db.port import Database, ForeignKeyViolation, Row
from wit.db.tables import branch_protection_rules, collaborators, repositories, users
from wit.errors import Conflict, Invalid, NotFound
from wit.git.refname import check_pattern
from wit.runtime import Runtime

PERMISSIONS = ("read", "write", "admin")

_upsert = insert(collaborators)
_SET = _upsert.on_conflict_do_update(
    index_elements=[collaborators.c.repo_id, collaborators.c.user_id],
    set_={"permission": _upsert.excluded.permission},
)
_REMOVE = delete(collaborators).where(
    collaborators.c.repo_id == bindparam("repo"), collaborators.c.user_id == bindparam("user")
)
_COLLABORATORS = (
    select(users.c.id, users.c.username, users.c.name, collaborators.c.permission)
    .join_from(collaborators, users)
    .where(collaborators.c.repo_id == bindparam("repo"))
    .order_by(users.c.username)
)
_USER_IDS = select(users.c.id, users.c.username).where(
    users.c.username.in_(bindparam("names", expanding=True))
)
_OWNER = select(repositories.c.owner_id).where(repositories.c.id == bindparam("repo"))

_rules = branch_protection_rules
_new_rule = insert(_rules)
_PROTECT = _new_rule.on_conflict_do_update(
    index_elements=[_rules.c.repo_id, _rules.c.pattern],
    set_={
        name: _new_rule.excluded[name]
        for name in (
            "require_pull_request",
            "allow_force_push",
            "allow_deletion",
            "allowed_pushers",
            "updated_at",
        )
    },
)
_UNPROTECT = delete(_rules).where(
    _rules.c.repo_id == bindparam("repo"), _rules.c.pattern == bindparam("glob")
)
_RULES = select(_rules).where(_rules.c.repo_id == bindparam("repo")).order_by(_rules.c.pattern)


@attrs.frozen
class Protection:
    """What is still allowed on the branches that match a pattern."""

    require_pull_request: bool = False
    allow_force_push: bool = False
    allow_deletion: bool = False
    allowed_pushers: tuple[str, ...] | None = None
    """User names; None: everybody with write access."""


class Rights:
    """Repositories are named by their ids here: the caller has found and authorised them."""

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def collaborators(self, repo_id: str) -> list[Row]:
        """Rows of id, username, name and permission, by user name."""
        return await self._db.fetch_all(_COLLABORATORS, repo=repo_id)

    async def set_collaborator(self, repo_id: str, username: str, permission: str) -> None:
        """Add a collaborator, or change what it may do.

        Raises Invalid; NotFound without such a user; Conflict for the owner itself.
        """
        if permission not in PERMISSIONS:
            raise Invalid(f"{permission[:40]!r} is not a level; use {', '.join(PERMISSIONS)}")
        (user_id,) = await self._user_ids((username,))
        if await self._db.fetch_value(_OWNER, repo=repo_id) == user_id:
            raise Conflict("the owner has all rights already")
        try:
            await self._db.execute(
                _SET,
                repo_id=repo_id,
                user_id=user_id,
                permission=permission,
                created_at=self._runtime.now(),
            )
        except ForeignKeyViolation:
            raise NotFound("user or repository not found") from None

    async def remove_collaborator(self, repo_id: str, username: str) -> None:
        """Raises NotFound."""
        (user_id,) = await self._user_ids((username,))
        if not await self._db.execute(_REMOVE, repo=repo_id, user=user_id):
            raise NotFound(f"{username} is not a collaborator")

    async def rules(self, repo_id: str) -> list[Row]:
        """The protection rules, by pattern."""
        return await self._db.fetch_all(_RULES, repo=repo_id)

    async def protect(self, repo_id: str, pattern: str, protection: Protection) -> None:
        """Protect the branches that match ``pattern``; a rule for the same pattern is replaced.

        Raises Invalid for what is no pattern, NotFound for a missing user or repository.
        """
        check_pattern(pattern)
        pushers = protection.allowed_pushers
        now = self._runtime.now()
        try:
            await self._db.execute(
                _PROTECT,
                id=self._runtime.new_id(),
                repo_id=repo_id,
                pattern=pattern,
                require_pull_request=protection.require_pull_request,
                allow_force_push=protection.allow_force_push,
                allow_deletion=protection.allow_deletion,
                allowed_pushers=None if pushers is None else await self._user_ids(pushers),
                created_at=now,
                updated_at=now,
            )
        except ForeignKeyViolation:
            raise NotFound("repository not found") from None

    async def unprotect(self, repo_id: str, pattern: str) -> None:
        """Raises NotFound."""
        if not await self._db.execute(_UNPROTECT, repo=repo_id, glob=pattern):
            raise NotFound(f"there is no rule for {pattern[:80]!r}")

    async def _user_ids(self, usernames: tuple[str, ...]) -> list[str]:
        """In the order of the names. Raises NotFound, naming the first that is missing."""
        keys = [name.lower() for name in usernames]
        found = await self._db.fetch_all(_USER_IDS, names=keys)
        ids = {row["username"]: row["id"] for row in found}
        for name in keys:
            if name not in ids:
                raise NotFound(f"there is no user {name[:40]!r}")
        return [ids[name] for name in keys]
