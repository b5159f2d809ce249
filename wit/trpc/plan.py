"""Which procedures a request calls, and how it wants the answer. Sans-IO.

``GET /trpc/repos.get?input=...``, ``POST /trpc/repos.create``, ``/trpc/a,b,c?batch=1`` (contract,
trpc-notes.md, "Single call", "Batch"). Everything that is refused here is refused as a whole, with
one error and no path; what concerns one call is left to the door.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, unquote

import attrs

from wit.errors import Invalid, UnsupportedMediaType
from wit.operations.json_text import parse_json
from wit.operations.registry import Kind, Operation, Registry
from wit.trpc.superjson import UNDEFINED, deserialize

MAX_BATCH = 50
"""Calls of one request."""

_NO_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")

METHODS = {Kind.QUERY: "GET", Kind.MUTATION: "POST", Kind.SUBSCRIPTION: "GET"}


@attrs.frozen
class Planned:
    """One call. ``path`` is the procedure's name as the client wrote it."""

    index: int
    path: str
    operation: Operation | None


@attrs.frozen
class Plan:
    method: str
    calls: tuple[Planned, ...]
    batch: bool
    stream: bool
    """Whether each answer of a batch is to be sent as soon as it is there."""
    query_input: str
    """The input of a GET, as JSON; empty: none."""
    last_event_id: str = ""

    @property
    def subscription(self) -> bool:
        """Whether the answer is a stream of events."""
        operation = self.calls[0].operation
        return not self.batch and operation is not None and operation.kind is Kind.SUBSCRIPTION


def make_plan(
    registry: Registry,
    method: str,
    path: bytes,
    query: bytes,
    *,
    content_type: str | None,
    accept: str,
    last_event_id: str,
) -> Plan:
    """``path`` is what follows ``/trpc/``. Raises Invalid, UnsupportedMediaType."""
    _check_content_type(method, content_type)
    try:
        names = _decoded(path.removesuffix(b"/").decode("ascii"))
        fields = parse_qs(query.decode("ascii"), errors="strict")
    except ValueError:
        raise Invalid("the address is not in URL encoding (of UTF-8)") from None
    batch = fields.get("batch", [""])[0] == "1"
    paths = names.split(",") if batch else [names]
    if len(paths) > MAX_BATCH:
        raise Invalid(f"a batch has at most {MAX_BATCH} calls; this one has {len(paths)}")
    calls = tuple(Planned(index, name, _find(registry, name)) for index, name in enumerate(paths))
    kinds = {call.operation.kind.value: None for call in calls if call.operation is not None}
    if len(kinds) > 1:
        raise Invalid(f"Cannot mix procedure types in call: {', '.join(kinds)}")
    stream = accept == "application/jsonl"
    if stream and not batch:
        raise Invalid("Streaming requests must be batched (you can do a batch of 1)")
    event_id = (
        last_event_id or (fields.get("lastEventId") or fields.get("Last-Event-Id") or [""])[0]
    )
    return Plan(method, calls, batch, stream, fields.get("input", [""])[0], event_id)


def accepted(trpc_accept: str | None, accept: str | None) -> str:
    """How the client wants the answers of a batch: ``application/jsonl``, or anything else."""
    if trpc_accept is not None:
        return trpc_accept
    kinds = [kind.strip() for kind in (accept or "").split(",")]
    return "application/jsonl" if "application/jsonl" in kinds else ""


def read_inputs(plan: Plan, text: str) -> dict[int, Any]:
    """The input of each call by its position; a missing position has none.

    Raises Invalid: JSON that is malformed is so for every call.
    """
    if not text:
        return {}
    given = parse_json(text)
    if not plan.batch:
        return {0: deserialize(given)}
    if not isinstance(given, dict):
        raise Invalid('"input" needs to be an object when doing a batch call')
    return {
        call.index: deserialize(given[str(call.index)])
        for call in plan.calls
        if str(call.index) in given
    }


def with_event_id(value: Any, last_event_id: str) -> Any:
    """The input of a subscription that goes on after ``last_event_id``."""
    if last_event_id and value is UNDEFINED:
        return {"lastEventId": last_event_id}
    if last_event_id and isinstance(value, dict):
        return {**value, "lastEventId": last_event_id}
    return value


def _decoded(path: str) -> str:
    """Raises ValueError."""
    if _NO_ESCAPE.search(path):
        raise ValueError(path)
    return unquote(path, errors="strict")


def _find(registry: Registry, name: str) -> Operation | None:
    operation = registry.get(name)
    return operation if operation is not None and operation.trpc else None


def _check_content_type(method: str, content_type: str | None) -> None:
    """Only a GET may do without ``application/json``. A page of another site cannot send that
    type without asking first (the Fetch standard, CORS-safelisted request-header)."""
    if method == "GET":
        return
    if content_type is None:
        raise UnsupportedMediaType("Missing content-type header")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType(f'Unsupported content-type "{content_type}')
