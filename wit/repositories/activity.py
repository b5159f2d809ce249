"""What happens around repositories, for people to read: made from the journal, kept as rows.

The rows are a projection: each event that people want to see becomes one activity, exactly once,
whichever door it came through. Reading filters in SQL by what the caller may read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    false,
    insert,
    or_,
    select,
)
from sqlalchemy.sql import Executable

from wit.access.actor import Actor
from wit.access.visibility import PUBLIC, Seen
from wit.db.port import Connection, Database, Row
from wit.db.tables import activities, repositories, users, watches
from wit.db.types import Json
from wit.events.bus import EventBus
from wit.events.types import Event

MAX_COMMITS = 10
"""Commits that one activity lists."""

Payload = Callable[[Mapping[str, Any]], dict[str, Any] | None]


def _pushed(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """None for a branch that was made where other commits are already."""
    if not event["commits"]:
        return None
    commits = [
        {"sha": commit["sha"], "message": commit["message"].partition("\n")[0]}
        for commit in event["commits"][-MAX_COMMITS:]
    ]
    return {"branch": event["ref"].removeprefix("refs/heads/"), "commits": commits}


def _created(event: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": event["repoName"], "isPrivate": event["isPrivate"]}


def _forked(event: Mapping[str, Any]) -> dict[str, Any]:
    return {"forkedFrom": event["forkedFromId"]}


def _starred(event: Mapping[str, Any]) -> dict[str, Any]:
    return {"repoName": event["repoFullName"]}


def _transferred(event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "from": event["previousOwnerName"],
        "to": event["newOwnerName"],
        "newOwnerType": event["newOwnerType"],
    }


KINDS: Mapping[str, tuple[str, Payload]] = {
    "repo.pushed": ("push", _pushed),
    "repo.created": ("repo_created", _created),
    "repo.forked": ("repo_forked", _forked),
    "repo.starred": ("repo_starred", _starred),
    "repo.transferred": ("repo_transferred", _transferred),
}
"""Event -> type of the activity (contract, trpc-notes.md) and what it says."""

_INSERT = insert(activities).from_select(
    ["id", "actor_id", "repo_id", "type", "payload", "created_at"],
    select(
        bindparam("event_id", type_=activities.c.id.type),
        bindparam("actor", type_=activities.c.actor_id.type),
        repositories.c.id,
        bindparam("kind", type_=activities.c.type.type),
        bindparam("said", type_=Json),
        bindparam("at", type_=activities.c.created_at.type),
    ).where(
        repositories.c.id == bindparam("repo"),
        or_(bindparam("kind") != "repo_created", repositories.c.is_fork == false()),
    ),
)
"""Nothing if the repository is gone by now; that a fork was created is told once, as a fork."""

_ACTOR = "actor__"
_REPOSITORY = "repository__"
_actor = [column.label(f"{_ACTOR}{column.name}") for column in users.c]
_repository = [column.label(f"{_REPOSITORY}{column.name}") for column in repositories.c]


def _page(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(activities, *_actor, *_repository)
        .join_from(activities, users, users.c.id == activities.c.actor_id)
        .join(repositories, repositories.c.id == activities.c.repo_id, isouter=True)
        .where(*conditions)
        .order_by(activities.c.created_at.desc(), activities.c.id)
        .limit(bindparam("count"))
        .offset(bindparam("skip"))
    )


def _seen(*conditions: ColumnElement[bool]) -> Seen:
    """What belongs to no repository is for everybody."""
    return Seen(lambda visible: _page(*conditions, or_(activities.c.repo_id.is_(None), visible)))


_watched = select(watches.c.repo_id).where(watches.c.user_id == bindparam("watcher"))
_OF_REPO = _page(activities.c.repo_id == bindparam("repo"))
_OF_USER = _seen(activities.c.actor_id == bindparam("person"))
_FEED = _seen(activities.c.repo_id.in_(_watched))
_PUBLIC = _page(PUBLIC)
_ONE = _seen(activities.c.id == bindparam("id"))


@attrs.frozen
class Shown:
    """One activity with the rows that it is about."""

    activity: Row
    actor: Row
    repository: Row | None


class Activities:
    """Lists have the newest first; activities of who is no user (any more) are left out."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def register(self, bus: EventBus) -> None:
        """Called once, before the bus starts."""
        bus.register("activities", KINDS, self._heard)

    async def _heard(self, event: Event, tx: Connection) -> None:
        kind, payload = KINDS[event.type]
        said = payload(event.payload)
        if said is not None:
            await tx.execute(
                _INSERT,
                event_id=event.id,
                actor=event.actor_id,
                kind=kind,
                said=said,
                at=event.created_at,
                repo=event.repo_id,
            )

    async def of_repository(self, repo_id: str, limit: int, offset: int) -> list[Shown]:
        """The caller has asked the gate."""
        return await self._shown(_OF_REPO, repo=repo_id, count=limit, skip=offset)

    async def of_user(self, actor: Actor, user_id: str, limit: int, offset: int) -> list[Shown]:
        """What a user did where ``actor`` may look."""
        statement, reader = _OF_USER.by(actor)
        return await self._shown(statement, person=user_id, count=limit, skip=offset, **reader)

    async def feed(self, actor: Actor, limit: int, offset: int) -> list[Shown]:
        """What happened in the repositories that ``actor`` watches, and may read."""
        statement, reader = _FEED.by(actor)
        return await self._shown(
            statement, watcher=actor.user_id, count=limit, skip=offset, **reader
        )

    async def public_feed(self, limit: int, offset: int) -> list[Shown]:
        """What happened in public repositories."""
        return await self._shown(_PUBLIC, count=limit, skip=offset)

    async def get(self, actor: Actor, activity_id: str) -> Shown | None:
        """None if there is none that ``actor`` may see."""
        statement, reader = _ONE.by(actor)
        found = await self._shown(statement, id=activity_id, count=1, skip=0, **reader)
        return found[0] if found else None

    async def _shown(self, statement: Executable, **parameters: Any) -> list[Shown]:
        return [_split(row) for row in await self._db.fetch_all(statement, **parameters)]


def _split(row: Row) -> Shown:
    def part(prefix: str) -> dict[str, Any]:
        return {
            name.removeprefix(prefix): value
            for name, value in row.items()
            if name.startswith(prefix)
        }

    return Shown(
        activity={column.name: row[column.name] for column in activities.c},
        actor=part(_ACTOR),
        repository=None if row[f"{_REPOSITORY}id"] is None else part(_REPOSITORY),
    )
