"""What a caller may read, as a condition that lists put into their SQL.

The rule is that of :mod:`wit.access.gate` for Level.READ, for many repositories at once. A list
that looked first and left out afterwards would have pages of the wrong length.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, bindparam, exists, false, or_, true
from sqlalchemy.sql import Executable

from wit.access.actor import Actor, Level, Origin
from wit.db.tables import (
    collaborators,
    org_members,
    repositories,
    team_members,
    team_repositories,
    teams,
)


class Sight(enum.Enum):
    """How far a caller sees."""

    PUBLIC = "public"
    MINE = "mine"
    """What is public, and what the person has a right to."""
    ALL = "all"


def sight(actor: Actor) -> Sight:
    if actor.origin is Origin.CLI:
        return Sight.ALL
    if actor.anonymous or not actor.has_scope(Level.READ.scope):
        return Sight.PUBLIC
    return Sight.MINE


_READER = "reader"
"""The parameter that holds the id of the user who looks."""

PUBLIC = repositories.c.is_private == false()

_MINE = or_(
    repositories.c.owner_id == bindparam(_READER),
    exists().where(
        collaborators.c.repo_id == repositories.c.id,
        collaborators.c.user_id == bindparam(_READER),
    ),
    exists().where(
        org_members.c.org_id == repositories.c.owner_id,
        org_members.c.user_id == bindparam(_READER),
    ),
    exists().where(
        team_repositories.c.repo_id == repositories.c.id,
        teams.c.id == team_repositories.c.team_id,
        teams.c.org_id == repositories.c.owner_id,
        team_members.c.team_id == teams.c.id,
        team_members.c.user_id == bindparam(_READER),
    ),
)

VISIBLE: Mapping[Sight, ColumnElement[bool]] = {
    Sight.PUBLIC: PUBLIC,
    Sight.MINE: or_(PUBLIC, _MINE),
    Sight.ALL: true(),
}
"""Conditions on ``repositories``."""


class Seen:
    """One statement for each sight, made once from a function of the condition:

    _FORKS = Seen(lambda visible: select(repositories).where(..., visible))
    statement, reader = _FORKS.by(actor)
    rows = await db.fetch_all(statement, repo=repo_id, **reader)
    """

    def __init__(self, make: Callable[[ColumnElement[bool]], Executable]) -> None:
        self._statements = {sight: make(condition) for sight, condition in VISIBLE.items()}

    def by(self, actor: Actor) -> tuple[Executable, dict[str, Any]]:
        """The statement for ``actor``, and the parameters that it needs beside its own."""
        seen = sight(actor)
        reader = {_READER: actor.user_id} if seen is Sight.MINE else {}
        return self._statements[seen], reader
