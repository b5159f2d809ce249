"""What administrators of the site see and do (contract, trpc-notes.md, "admin (19)").

Numbers and health are in admin_site.py, feature flags and settings in admin_settings.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AwareDatetime, Field
from typing_extensions import TypedDict

from wit.accounts.administration import RepositoryFilter, UserFilter, View
from wit.accounts.audit import OPERATOR, AuditFilter
from wit.accounts.sign_in_log import AttemptFilter
from wit.db.port import Row
from wit.operations.access import Administrator, SignedIn
from wit.operations.audited import operator
from wit.operations.call import Call
from wit.operations.inputs import Limit, Maybe, Offset, UserId
from wit.operations.registry import Input, Router
from wit.operations.shapes import Repository, Success, repository

Role = Literal["user", "admin", "superadmin"]
SortOrder = Literal["asc", "desc"]
Search = Annotated[str, Field(max_length=200)]
Word = Annotated[str, Field(max_length=255)]

router = Router("admin")


class Paged(Input):
    limit: Limit = 50
    offset: Offset = 0


class ListUsers(Paged):
    search: Maybe[Search] = None
    role: Maybe[Role] = None
    suspended: Maybe[bool] = None
    sortBy: Literal["createdAt", "name", "email"] = "createdAt"
    sortOrder: SortOrder = "desc"


class OfUserId(Input):
    userId: UserId


class UpdateUserRole(OfUserId):
    role: Role


class SuspendUser(OfUserId):
    reason: Annotated[str, Field(min_length=1, max_length=1000)]


class ListRepositories(Paged):
    search: Maybe[Search] = None
    isPrivate: Maybe[bool] = None
    sortBy: Literal["createdAt", "name", "starsCount"] = "createdAt"
    sortOrder: SortOrder = "desc"


class GetAuditLogs(Paged):
    adminId: Maybe[UserId] = None
    action: Maybe[Word] = None
    targetType: Maybe[Word] = None
    targetId: Maybe[Word] = None
    startDate: Maybe[AwareDatetime] = None
    endDate: Maybe[AwareDatetime] = None


class GetLoginAttempts(Paged):
    email: Maybe[Word] = None
    success: Maybe[bool] = None
    startDate: Maybe[AwareDatetime] = None
    endDate: Maybe[AwareDatetime] = None


class Powers(TypedDict):
    isAdmin: bool
    isSuperAdmin: bool


class AdminUser(TypedDict):
    id: str
    email: str
    name: str
    username: str | None
    role: Role
    suspended: bool
    suspendedAt: datetime | None
    suspendedReason: str | None
    createdAt: datetime
    updatedAt: datetime
    repoCount: int
    prCount: int
    issueCount: int
    lastActive: datetime | None


class UserPage(TypedDict):
    users: list[AdminUser]
    total: int


class RepositoryPage(TypedDict):
    repos: list[Repository]
    total: int


class AuditEntry(TypedDict):
    id: str
    adminId: str
    action: str
    targetType: str
    targetId: str | None
    description: str
    metadata: dict[str, Any] | None
    ipAddress: str | None
    userAgent: str | None
    createdAt: datetime
    adminName: NotRequired[str]
    adminEmail: NotRequired[str]


class AuditPage(TypedDict):
    logs: list[AuditEntry]
    total: int


class LoginAttempt(TypedDict):
    id: str
    email: str
    userId: str | None
    success: bool
    ipAddress: str | None
    userAgent: str | None
    failureReason: str | None
    createdAt: datetime


class LoginAttemptPage(TypedDict):
    attempts: list[LoginAttempt]
    total: int


def admin_user(row: Row) -> AdminUser:
    """From a row of Administration.users; there are no issues and pull requests to count yet."""
    return {
        "id": row["id"],
        "email": row["email"],
        "name": row["name"],
        "username": row["username"],
        "role": row["role"],
        "suspended": row["suspended"],
        "suspendedAt": row["suspended_at"],
        "suspendedReason": row["suspended_reason"],
        "createdAt": row["created_at"],
        "updatedAt": row["updated_at"],
        "repoCount": row["repo_count"],
        "prCount": 0,
        "issueCount": 0,
        "lastActive": row["last_active"],
    }


@router.query("checkAccess", access=SignedIn("user:read"))
async def check_access(call: Call) -> Powers:
    """Whether the caller is an administrator, with the credential that it came with."""
    return {"isAdmin": call.actor.is_admin, "isSuperAdmin": call.actor.is_superadmin}


# Users


@router.query("listUsers", access=Administrator())
async def list_users(call: Call, values: ListUsers) -> UserPage:
    """Users, by a part of their names or e-mail addresses, by role, suspended or not."""
    rows, total = await call.core.administration.users(
        UserFilter(values.search, values.role, values.suspended), _view(values)
    )
    return {"users": [admin_user(row) for row in rows], "total": total}


@router.query("getUser", access=Administrator(), errors=("not_found",))
async def get_user(call: Call, values: OfUserId) -> AdminUser:
    """One user."""
    return admin_user(await call.core.administration.user(values.userId))


@router.mutation(
    "updateUserRole",
    access=Administrator(superior=True),
    errors=("invalid", "not_found", "conflict", "forbidden"),
)
async def update_user_role(call: Call, values: UpdateUserRole) -> Success:
    """Give a user another role; nobody lowers themselves, and the last superadmin stays one."""
    await call.core.administration.set_role(operator(call), values.userId, values.role)
    return {"success": True}


@router.mutation(
    "suspendUser",
    access=Administrator(),
    errors=("invalid", "not_found", "conflict", "forbidden"),
)
async def suspend_user(call: Call, values: SuspendUser) -> Success:
    """Lock a user out at once, whatever the credential; the user is told the reason."""
    await call.core.administration.suspend(operator(call), values.userId, values.reason)
    return {"success": True}


@router.mutation(
    "unsuspendUser",
    access=Administrator(),
    errors=("not_found", "conflict", "forbidden"),
)
async def unsuspend_user(call: Call, values: OfUserId) -> Success:
    """End a suspension."""
    await call.core.administration.resume(operator(call), values.userId)
    return {"success": True}


# The site


@router.query("listRepositories", access=Administrator())
async def list_repositories(call: Call, values: ListRepositories) -> RepositoryPage:
    """Repositories of everybody: that they exist, not what is in them."""
    rows, total = await call.core.administration.repositories(
        RepositoryFilter(values.search, values.isPrivate), _view(values)
    )
    return {"repos": [repository(row) for row in rows], "total": total}


@router.query("getAuditLogs", access=Administrator())
async def get_audit_logs(call: Call, values: GetAuditLogs) -> AuditPage:
    """What administrators changed, the latest first."""
    wanted = AuditFilter(
        admin_id=values.adminId,
        action=values.action,
        target_type=values.targetType,
        target_id=values.targetId,
        start=values.startDate,
        end=values.endDate,
    )
    rows, total = await call.core.audit.list(wanted, values.limit, values.offset)
    return {"logs": [_audit_entry(row) for row in rows], "total": total}


@router.query("getLoginAttempts", access=Administrator())
async def get_login_attempts(call: Call, values: GetLoginAttempts) -> LoginAttemptPage:
    """Who signed in, or tried to, in the last 30 days; the latest first."""
    wanted = AttemptFilter(values.email, values.success, values.startDate, values.endDate)
    rows, total = await call.core.sign_in_log.list(wanted, values.limit, values.offset)
    return {"attempts": [_attempt(row) for row in rows], "total": total}


def _view(values: ListUsers | ListRepositories) -> View:
    return View(values.sortBy, values.sortOrder == "desc", values.limit, values.offset)


def _audit_entry(row: Row) -> AuditEntry:
    """Without a name if the administrator has been deleted; the command line is no user."""
    entry: AuditEntry = {
        "id": row["id"],
        "adminId": row["admin_id"] or "",
        "action": row["action"],
        "targetType": row["target_type"],
        "targetId": row["target_id"],
        "description": row["description"],
        "metadata": row["metadata"],
        "ipAddress": row["ip_address"],
        "userAgent": row["user_agent"],
        "createdAt": row["created_at"],
    }
    if row["admin_name"] is not None:
        entry["adminName"] = row["admin_name"]
        entry["adminEmail"] = row["admin_email"]
    elif (row["metadata"] or {}).get("actor") == OPERATOR:
        entry["adminName"] = OPERATOR
    return entry


def _attempt(row: Row) -> LoginAttempt:
    return {
        "id": row["id"],
        "email": row["email"],
        "userId": row["user_id"],
        "success": row["success"],
        "ipAddress": row["ip_address"],
        "userAgent": row["user_agent"],
        "failureReason": row["failure_reason"],
        "createdAt": row["created_at"],
    }
