"""Environment variables of a repository's sandboxes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import Level
from wit.operations.access import Repo
from wit.operations.call import Call
from wit.operations.inputs import OfRepo
from wit.operations.registry import Router
from wit.operations.shapes import Success
from wit.operations.v1_shapes import route
from wit.sandboxes.variables import MAX_BYTES

ADMIN = Repo(Level.ADMIN)
PLACE = "/repos/{owner}/{repo}/sandbox-variables"

router = Router("sandboxes.variables")


class OfVariable(OfRepo):
    name: Annotated[str, Field(min_length=1, max_length=128)]


class Set(OfVariable):
    """The value of one that is ``secret`` is never shown again."""

    value: Annotated[str, Field(max_length=MAX_BYTES)]
    secret: bool = True


class VariableShape(TypedDict):
    """``value`` is null if it is secret."""

    name: str
    value: str | None
    secret: bool
    updatedAt: datetime


@router.query("list", access=ADMIN, rest=route("GET", PLACE))
async def list_(call: Call, values: OfRepo) -> list[VariableShape]:
    """The variables of a repository, by name; there are at most 64."""
    return [
        {
            "name": one.name,
            "value": one.value,
            "secret": one.secret,
            "updatedAt": one.updated_at,
        }
        for one in await call.core.sandboxes.variables.list(call.repo["id"])
    ]


@router.mutation("set", access=ADMIN, errors=("invalid",), rest=route("PUT", f"{PLACE}/{{name}}"))
async def set_(call: Call, values: Set) -> Success:
    """Make a variable, or change it. Commands that start from now on have it."""
    await call.core.sandboxes.variables.set(
        call.repo["id"], values.name, values.value, secret=values.secret, user_id=call.user_id
    )
    return {"success": True}


@router.mutation(
    "delete", access=ADMIN, errors=("not_found",), rest=route("DELETE", f"{PLACE}/{{name}}")
)
async def delete(call: Call, values: OfVariable) -> Success:
    """Remove a variable."""
    await call.core.sandboxes.variables.delete(call.repo["id"], values.name)
    return {"success": True}
