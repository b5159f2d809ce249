"""Which packages a caller may see, as a condition that lists put into their SQL.

The rule is that of :mod:`wit.packages.rights` for Act.SEE, for many packages at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, exists, or_
from sqlalchemy.sql import Executable

from wit.access.actor import Actor
from wit.access.visibility import PUBLIC, VISIBLE, Sight
from wit.db.tables import (
    collaborators,
    org_members,
    package_maintainers,
    packages,
    repositories,
    team_members,
    team_repositories,
    teams,
)
from wit.packages.rights import READ_SCOPE

_READER = "reader"
"""The parameter that holds the id of the user who looks, as in wit.access.visibility."""

MAINTAINED = exists().where(
    package_maintainers.c.package_id == packages.c.id,
    package_maintainers.c.user_id == bindparam(_READER),
)
"""The user is a maintainer."""

_WRITING = ("write", "admin")
WRITABLE = or_(
    repositories.c.owner_id == bindparam(_READER),
    exists().where(
        collaborators.c.repo_id == repositories.c.id,
        collaborators.c.user_id == bindparam(_READER),
        collaborators.c.permission.in_(_WRITING),
    ),
    exists().where(
        org_members.c.org_id == repositories.c.owner_id,
        org_members.c.user_id == bindparam(_READER),
        org_members.c.role.in_(("admin", "owner")),
    ),
    exists().where(
        team_repositories.c.repo_id == repositories.c.id,
        team_repositories.c.permission.in_(_WRITING),
        teams.c.id == team_repositories.c.team_id,
        teams.c.org_id == repositories.c.owner_id,
        team_members.c.team_id == teams.c.id,
        team_members.c.user_id == bindparam(_READER),
    ),
)
"""The user may write to the package's repository."""

_FOLLOWS = or_(~PUBLIC, packages.c.visibility == "public")
"""Whoever may read the repository may see the package."""

_EVERYBODY = and_(PUBLIC, packages.c.visibility == "public")
_MINE = or_(and_(VISIBLE[Sight.MINE], _FOLLOWS), MAINTAINED, WRITABLE)


class SeenPackages:
    """One statement for everybody and one for people who are signed in, made once from a function
    of the condition; the statement joins ``packages`` and ``repositories``. Used as
    :class:`wit.access.visibility.Seen`."""

    def __init__(self, make: Callable[[ColumnElement[bool]], Executable]) -> None:
        self._everybody = make(_EVERYBODY)
        self._mine = make(_MINE)

    def by(self, actor: Actor) -> tuple[Executable, dict[str, Any]]:
        """The statement for ``actor``, and the parameters that it needs beside its own."""
        if actor.anonymous or not actor.has_scope(READ_SCOPE):
            return self._everybody, {}
        return self._mine, {_READER: actor.user_id}
