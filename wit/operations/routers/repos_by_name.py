"""REST routes that name a repository by its path, where the procedure wants an id."""

from __future__ import annotations

from wit.access.actor import Level
from wit.operations.access import Repo
from wit.operations.call import Call
from wit.operations.inputs import OfRepo
from wit.operations.registry import Rest, Router
from wit.operations.routers.repos import Settings
from wit.operations.shapes import Repository, Success, repository

PLACE = "/api/repos/{owner}/{repo}"

router = Router("reposByName", trpc=False)


class Update(Settings, OfRepo):
    pass


@router.mutation(
    "update",
    access=Repo(Level.ADMIN),
    errors=("invalid", "conflict", "unavailable"),
    rest=Rest("PATCH", PLACE),
)
async def update(call: Call, values: Update) -> Repository:
    """Change what is given. An empty description or homepage removes it."""
    row = await call.core.settings.change(call.repo, values.changes(), call.user_id)
    return repository(row)


@router.mutation(
    "delete", access=Repo(Level.OWNER), errors=("unavailable",), rest=Rest("DELETE", PLACE)
)
async def delete(call: Call, values: OfRepo) -> Success:
    """Remove a repository for good, with all that is in it."""
    await call.core.repos.delete_by_id(call.repo["id"])
    return {"success": True}
