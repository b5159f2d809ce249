"""Numbers of the site, and how it is (contract, trpc-notes.md, "admin (19)").

What wit does not have yet (pull requests, issues, workflows, agents) counts as none.
"""

from __future__ import annotations

import platform
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from wit.db.port import DatabaseUnavailable, Pool
from wit.memory import memory
from wit.operations.access import Administrator
from wit.operations.call import Call
from wit.operations.registry import Input, Router

router = Router("admin")


class GetDailyActivity(Input):
    days: Annotated[int, Field(ge=7, le=90)] = 30


class UserNumbers(TypedDict):
    total: int
    active30Days: int
    admins: int
    suspended: int
    newThisMonth: int


class RepoNumbers(TypedDict):
    total: int
    public: int
    private: int
    newThisMonth: int


class PullNumbers(TypedDict):
    total: int
    open: int
    merged: int
    newThisMonth: int


class IssueNumbers(TypedDict):
    total: int
    open: int
    closed: int
    newThisMonth: int


class OrgNumbers(TypedDict):
    total: int
    newThisMonth: int


class RunNumbers(TypedDict):
    totalRuns: int
    successful: int
    failed: int


class AiNumbers(TypedDict):
    totalSessions: int
    totalTokens: int


class Stats(TypedDict):
    users: UserNumbers
    repos: RepoNumbers
    prs: PullNumbers
    issues: IssueNumbers
    orgs: OrgNumbers
    workflows: RunNumbers
    ai: AiNumbers


class DayActivity(TypedDict):
    date: str
    users: int
    repos: int
    prs: int
    issues: int


class DatabaseHealth(TypedDict):
    ok: bool
    latency: float
    poolSize: int
    idleConnections: int
    waitingConnections: int


class Memory(TypedDict):
    rss: int
    heapTotal: int
    heapUsed: int
    external: int
    arrayBuffers: int


class ServerHealth(TypedDict):
    uptime: float
    memory: Memory
    nodeVersion: str


class Health(TypedDict):
    database: DatabaseHealth
    server: ServerHealth


@router.query("getStats", access=Administrator())
async def get_stats(call: Call) -> Stats:
    """Numbers of the site; zero for what wit does not have yet."""
    totals = await call.core.statistics.totals()
    people, repos, orgs = totals.users, totals.repositories, totals.organizations
    return {
        "users": {
            "total": people["total"],
            "active30Days": totals.active_users,
            "admins": people["admins"],
            "suspended": people["suspended"],
            "newThisMonth": people["new_this_month"],
        },
        "repos": {
            "total": repos["total"],
            "public": repos["public"],
            "private": repos["private"],
            "newThisMonth": repos["new_this_month"],
        },
        "prs": {"total": 0, "open": 0, "merged": 0, "newThisMonth": 0},
        "issues": {"total": 0, "open": 0, "closed": 0, "newThisMonth": 0},
        "orgs": {"total": orgs["total"], "newThisMonth": orgs["new_this_month"]},
        "workflows": {"totalRuns": 0, "successful": 0, "failed": 0},
        "ai": {"totalSessions": 0, "totalTokens": 0},
    }


@router.query("getDailyActivity", access=Administrator())
async def get_daily_activity(call: Call, values: GetDailyActivity) -> list[DayActivity]:
    """What was made on each of the last days, in UTC, oldest first."""
    return [
        {
            "date": str(day.date),
            "users": day.users,
            "repos": day.repositories,
            "prs": 0,
            "issues": 0,
        }
        for day in await call.core.statistics.days(values.days)
    ]


@router.query("getHealth", access=Administrator())
async def get_health(call: Call) -> Health:
    """How the database and this process are. Latency in milliseconds, uptime in seconds."""
    core = call.core
    try:
        latency, ok = await core.db.ping(), True
    except DatabaseUnavailable:
        latency, ok = 0.0, False
    used = memory()
    return {
        "database": _database_health(ok, latency, core.db.pool()),
        "server": {
            "uptime": core.runtime.reactor.seconds() - core.made_at,
            "memory": {
                "rss": used.resident,
                "heapTotal": used.data,
                "heapUsed": used.data,
                "external": 0,
                "arrayBuffers": 0,
            },
            "nodeVersion": f"Python {platform.python_version()}",
        },
    }


def _database_health(ok: bool, latency: float, pool: Pool) -> DatabaseHealth:
    return {
        "ok": ok,
        "latency": latency,
        "poolSize": pool.size,
        "idleConnections": pool.idle,
        "waitingConnections": pool.waiting,
    }
