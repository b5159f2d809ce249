"""What happens around repositories (contract, trpc-notes.md, "activity (5)").

Every list is filtered by what the caller may read.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import Level
from wit.operations.access import Public, Repo, SignedIn
from wit.operations.call import Call
from wit.operations.inputs import ById, Offset, UserId, Uuid
from wit.operations.registry import Input, Router
from wit.operations.shapes import Repository, UserRef, repository, user_ref
from wit.repositories.activity import Shown

router = Router("activity")


class Page(Input):
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    offset: Offset = 0


class OfRepoPage(Page):
    repoId: Uuid


class OfUserPage(Page):
    userId: UserId


class Activity(TypedDict):
    id: str
    actorId: str
    repoId: str | None
    type: str
    payload: str | None
    createdAt: datetime


class WithActor(Activity):
    actor: UserRef


class WithRepo(Activity):
    repo: NotRequired[Repository]


class WithBoth(Activity):
    actor: UserRef
    repo: NotRequired[Repository]


def activity(shown: Shown) -> Activity:
    row = shown.activity
    payload = row["payload"]
    return {
        "id": row["id"],
        "actorId": row["actor_id"],
        "repoId": row["repo_id"],
        "type": row["type"],
        "payload": None if payload is None else json.dumps(payload, ensure_ascii=False),
        "createdAt": row["created_at"],
    }


def with_repo(shown: Shown) -> WithRepo:
    answer = cast(WithRepo, activity(shown))
    if shown.repository is not None:
        answer["repo"] = repository(shown.repository)
    return answer


def with_both(shown: Shown) -> WithBoth:
    answer = cast(WithBoth, with_repo(shown))
    answer["actor"] = user_ref(shown.actor)
    return answer


@router.query("forRepo", access=Repo(Level.READ, by="repoId"))
async def for_repo(call: Call, values: OfRepoPage) -> list[WithActor]:
    """What happened in one repository, the newest first."""
    found = await call.core.activities.of_repository(call.repo["id"], values.limit, values.offset)
    return [{**activity(shown), "actor": user_ref(shown.actor)} for shown in found]


@router.query("forUser", access=Public())
async def for_user(call: Call, values: OfUserPage) -> list[WithRepo]:
    """What one user did, where the caller may look; the newest first."""
    found = await call.core.activities.of_user(
        call.actor, values.userId, values.limit, values.offset
    )
    return [with_repo(shown) for shown in found]


@router.query("feed", access=SignedIn("user:read"))
async def feed(call: Call, values: Page) -> list[WithBoth]:
    """What happened in the repositories that the caller watches, the newest first."""
    found = await call.core.activities.feed(call.actor, values.limit, values.offset)
    return [with_both(shown) for shown in found]


@router.query("publicFeed", access=Public())
async def public_feed(call: Call, values: Page) -> list[WithBoth]:
    """What happened in public repositories, the newest first."""
    found = await call.core.activities.public_feed(values.limit, values.offset)
    return [with_both(shown) for shown in found]


@router.query("get", access=Public())
async def get(call: Call, values: ById) -> Activity | None:
    """One activity; null if there is none that the caller may see."""
    shown = await call.core.activities.get(call.actor, values.id)
    return None if shown is None else activity(shown)
