"""The API of wit: all routers, and the one way to call a procedure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic import ValidationError

from wit.errors import WitError
from wit.operations.call import Call
from wit.operations.registry import Kind, Operation, Registry, load

ALIASES = {
    "repository": "repos",
    "pullRequest": "pulls",
    "issue": "issues",
    "user": "users",
    "organization": "organizations",
    "webhook": "webhooks",
    "notification": "notifications",
    "cycle": "cycles",
    "project": "projects",
}
"""What the documentation page calls some routers."""


class BadInput(WitError):
    """The input does not fit its schema; ``issues`` are pydantic's, for the door to word."""

    code = "invalid"

    def __init__(self, error: ValidationError) -> None:
        self.issues = error.errors(include_url=False)
        first = self.issues[0]
        where = ".".join(str(part) for part in first["loc"]) or "input"
        super().__init__(f"{where}: {first['msg']}")


def wit_api() -> Registry:
    """Everything that is below ``wit/operations/routers`` and ``wit/operations/v1``."""
    return load("wit.operations.routers", "wit.operations.v1", aliases=ALIASES)


async def admit(operation: Operation, call: Call, values: Any) -> Any:
    """All that comes before a procedure: sign-in and scope, the input, rights. The checked input.

    ``values`` is decoded data, or None for no input. It is taken as it is: "5" is no number, 1 no
    boolean, a text no date. A door whose values are text turns them into what the input asks for
    beforehand (:mod:`wit.operations.texts`).

    Raises Unauthorized, Forbidden, NotFound, BadInput.
    """
    operation.access.admit(call.actor)
    checked = _checked(operation, values)
    await operation.access.authorise(call, checked)
    return checked


async def invoke(operation: Operation, call: Call, values: Any) -> Any:
    """Call a query or a mutation. Raises what :func:`admit` and the procedure raise."""
    assert operation.kind is not Kind.SUBSCRIPTION
    checked = await admit(operation, call, values)
    if operation.input is None:
        return await operation.procedure(call)  # type: ignore[misc]
    return await operation.procedure(call, checked)  # type: ignore[misc]


async def subscribe(operation: Operation, call: Call, values: Any) -> AsyncIterator[Any]:
    """Open a subscription: what it yields is sent one by one; closing it ends it."""
    assert operation.kind is Kind.SUBSCRIPTION
    checked = await admit(operation, call, values)
    if operation.input is None:
        return operation.procedure(call)  # type: ignore[return-value]
    return operation.procedure(call, checked)  # type: ignore[return-value]


def _checked(operation: Operation, values: Any) -> Any:
    if operation.input is None:
        return None
    if values is None and operation.input_optional:
        values = {}
    try:
        return operation.input.model_validate(values, strict=True)
    except ValidationError as error:
        raise BadInput(error) from None
