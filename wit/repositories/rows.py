"""The rows of repositories: the statements over them, and the events that go with a change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, insert, or_, select, tuple_, update

from wit.db.port import Connection, Row
from wit.db.tables import collaborators, namespaces, repositories, team_repositories
from wit.errors import NotFound
from wit.events.types import SYSTEM, NewEvent
from wit.git.names import RepoName

_ALL = select(
    repositories,
    namespaces.c.name.label("owner_name"),
    (namespaces.c.name + "/" + repositories.c.name).label("full_name"),
).join_from(repositories, namespaces, namespaces.c.owner_id == repositories.c.owner_id)
BY_NAME = _ALL.where(
    namespaces.c.name_key == bindparam("owner"), repositories.c.name_key == bindparam("name")
)
BY_ID = _ALL.where(repositories.c.id == bindparam("id")).execution_options(quick=True)
_LOCKED = BY_ID.with_for_update(of=repositories)
PAGE = (
    _ALL.where(
        tuple_(namespaces.c.name_key, repositories.c.name_key)
        > tuple_(bindparam("after_owner"), bindparam("after_name"))
    )
    .where(or_(bindparam("owner") == "", namespaces.c.name_key == bindparam("owner")))
    .order_by(namespaces.c.name_key, repositories.c.name_key)
    .limit(bindparam("limit"))
)
_OWNER = (
    select(namespaces).where(namespaces.c.name_key == bindparam("key")).with_for_update(read=True)
)
INSERT = insert(repositories)
PLACE = (
    update(repositories)
    .where(repositories.c.id == bindparam("repo"))
    .values(
        owner_id=bindparam("owner_id"),
        owner_type=bindparam("owner_type"),
        name=bindparam("name"),
        name_key=bindparam("name_key"),
        disk_path=bindparam("disk_path"),
        updated_at=bindparam("now"),
    )
)
_fork = repositories.alias("fork")
COUNT_FORK = (
    update(repositories)
    .where(repositories.c.id == bindparam("repo"))
    .values(forks_count=repositories.c.forks_count + 1)
)
COUNT_FORK_GONE = (
    update(repositories)
    .where(
        repositories.c.id
        == select(_fork.c.forked_from_id).where(_fork.c.id == bindparam("repo")).scalar_subquery(),
        repositories.c.forks_count > 0,
    )
    .values(forks_count=repositories.c.forks_count - 1)
)
READ_ONLY = (
    update(repositories)
    .where(repositories.c.id == bindparam("repo"))
    .values(read_only_reason=bindparam("reason"), updated_at=bindparam("now"))
)
DAMAGED = READ_ONLY.where(repositories.c.read_only_reason.is_(None))
DELETE = delete(repositories).where(repositories.c.id == bindparam("repo"))
NO_COLLABORATOR = delete(collaborators).where(
    collaborators.c.repo_id == bindparam("repo"), collaborators.c.user_id == bindparam("user")
)
NO_TEAMS = delete(team_repositories).where(team_repositories.c.repo_id == bindparam("repo"))
"""Teams are an organization's own; what they had is not for the next owner's to keep."""


async def lock_repository(tx: Connection, repo_id: str) -> Row:
    row = await tx.fetch_one(_LOCKED, id=repo_id)
    if row is None:
        raise NotFound("repository not found")
    return row


async def lock_owner(tx: Connection, name: str) -> Row:
    """The row of ``namespaces``, which then stays until the transaction ends. Raises NotFound."""
    row = await tx.fetch_one(_OWNER, key=name.lower())
    if row is None:
        raise NotFound(f"there is no user or organization {name[:40]!r}")
    return row


def forked(repo_id: str, name: RepoName, origin: Row, actor_id: str) -> NewEvent:
    payload = {
        "repoId": repo_id,
        "repoFullName": str(name),
        "forkedFromId": origin["id"],
        "forkedFromFullName": origin["full_name"],
        "ownerId": origin["owner_id"],
    }
    return NewEvent("repo.forked", actor_id, payload, repo_id)


def damaged(repo: Row, reason: str) -> NewEvent:
    payload = {"repoId": repo["id"], "repoFullName": repo["full_name"], "reason": reason}
    return NewEvent("repo.damaged", SYSTEM, payload, repo["id"])


def transferred(repo: Row, owner: Row, actor_id: str) -> NewEvent:
    payload = {
        "repoId": repo["id"],
        "repoName": repo["name"],
        "previousOwnerId": repo["owner_id"],
        "previousOwnerName": repo["owner_name"],
        "newOwnerId": owner["owner_id"],
        "newOwnerName": owner["name"],
        "newOwnerType": owner["owner_type"],
    }
    return NewEvent("repo.transferred", actor_id, payload, repo["id"])


def created(values: Mapping[str, Any], actor_id: str) -> NewEvent:
    payload = {
        "repoId": values["id"],
        "repoName": values["name"],
        "ownerId": values["owner_id"],
        "ownerType": values["owner_type"],
        "isPrivate": values["is_private"],
    }
    return NewEvent("repo.created", actor_id, payload, values["id"])
