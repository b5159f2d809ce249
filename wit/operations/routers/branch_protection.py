"""Rules that protect branches (contract, trpc.json, ``branchProtection``).

They are enforced by the engine that judges every push, web edit and merge; ``canPush`` asks it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import Level
from wit.db.port import Row
from wit.operations.access import Repo
from wit.operations.call import Call
from wit.operations.inputs import Maybe, OfRepoId, Uuid
from wit.operations.registry import Router
from wit.operations.shapes import Success

READER = Repo(Level.READ, by="repoId", signed_in=True)
WRITER = Repo(Level.WRITE, by="repoId")
MANAGER = Repo(Level.ADMIN, by="repoId")

Pattern = Annotated[str, Field(min_length=1, max_length=255)]
Reviewers = Annotated[int, Field(ge=0, le=10)]
CheckNames = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=255)]], Field(max_length=100)
]

router = Router("branchProtection")


class OfRule(OfRepoId):
    id: Uuid


class Create(OfRepoId):
    pattern: Pattern
    requirePullRequest: bool = True
    requiredReviewers: Reviewers = 1
    requireStatusChecks: bool = False
    requiredStatusChecks: Maybe[CheckNames] = None
    allowForcePush: bool = False
    allowDeletion: bool = False


class Update(OfRule):
    pattern: Maybe[Pattern] = None
    requirePullRequest: Maybe[bool] = None
    requiredReviewers: Maybe[Reviewers] = None
    requireStatusChecks: Maybe[bool] = None
    requiredStatusChecks: Maybe[CheckNames] = None
    allowForcePush: Maybe[bool] = None
    allowDeletion: Maybe[bool] = None


class OfBranch(OfRepoId):
    branch: Annotated[str, Field(min_length=1, max_length=1024)]


class CanPush(OfBranch):
    isForcePush: bool = False
    isDeletion: bool = False
    isPRMerge: bool = False


class ShortRule(TypedDict):
    id: str
    pattern: str
    requirePullRequest: bool
    requiredReviewers: int
    requireStatusChecks: bool
    requiredStatusChecks: list[str]
    allowForcePush: bool
    allowDeletion: bool


class Rule(ShortRule):
    createdAt: datetime
    updatedAt: datetime


class Checked(TypedDict):
    protected: bool
    rule: ShortRule | None


class Forecast(TypedDict):
    allowed: bool
    reason: str | None
    ruleId: str | None


_COLUMNS = {
    "pattern": "pattern",
    "requirePullRequest": "require_pull_request",
    "requiredReviewers": "required_reviewers",
    "requireStatusChecks": "require_status_checks",
    "requiredStatusChecks": "required_status_checks",
    "allowForcePush": "allow_force_push",
    "allowDeletion": "allow_deletion",
}


def short_rule(row: Row) -> ShortRule:
    return {
        "id": row["id"],
        "pattern": row["pattern"],
        "requirePullRequest": row["require_pull_request"],
        "requiredReviewers": row["required_reviewers"],
        "requireStatusChecks": row["require_status_checks"],
        "requiredStatusChecks": row["required_status_checks"] or [],
        "allowForcePush": row["allow_force_push"],
        "allowDeletion": row["allow_deletion"],
    }


def rule(row: Row) -> Rule:
    return {**short_rule(row), "createdAt": row["created_at"], "updatedAt": row["updated_at"]}


def columns(values: Create | Update) -> dict[str, Any]:
    """What is given, by column."""
    given = ((column, getattr(values, field)) for field, column in _COLUMNS.items())
    return {column: value for column, value in given if value is not None}


@router.query("list", access=WRITER)
async def list_(call: Call, values: OfRepoId) -> list[Rule]:
    """The rules of a repository, by pattern."""
    return [rule(row) for row in await call.core.protection.list(call.repo["id"])]


@router.query("get", access=WRITER, errors=("not_found",))
async def get(call: Call, values: OfRule) -> Rule:
    """One rule."""
    return rule(await call.core.protection.get(call.repo["id"], values.id))


@router.mutation("create", access=MANAGER, errors=("invalid", "conflict"))
async def create(call: Call, values: Create) -> Rule:
    """Protect the branches that match a pattern (``*``, ``**`` and ``?`` stand for parts)."""
    return rule(await call.core.protection.create(call.repo["id"], **columns(values)))


@router.mutation("update", access=MANAGER, errors=("invalid", "not_found", "conflict"))
async def update(call: Call, values: Update) -> Rule:
    """Change what is given of a rule."""
    return rule(await call.core.protection.change(call.repo["id"], values.id, **columns(values)))


@router.mutation("delete", access=MANAGER, errors=("not_found",))
async def delete(call: Call, values: OfRule) -> Success:
    """Remove a rule."""
    await call.core.protection.delete(call.repo["id"], values.id)
    return {"success": True}


@router.query("check", access=READER)
async def check(call: Call, values: OfBranch) -> Checked:
    """Whether a branch is protected, and the rule that speaks of it most exactly."""
    row = await call.core.protection.covering(call.repo["id"], values.branch)
    return {"protected": row is not None, "rule": None if row is None else short_rule(row)}


@router.query("canPush", access=READER, errors=("unavailable",))
async def can_push(call: Call, values: CanPush) -> Forecast:
    """What a push of the branch by the caller would be told, and which rule is in the way."""
    found = await call.core.protection.forecast(
        call.actor,
        call.repo,
        values.branch,
        is_forced=values.isForcePush,
        is_deletion=values.isDeletion,
        is_merge=values.isPRMerge,
    )
    return {"allowed": found.reason is None, "reason": found.reason, "ruleId": found.rule_id}
