"""Answers as tRPC 11 has them: results, errors, and the status of a batch. Sans-IO.

``{"result": {"data": <superjson>}}`` or ``{"error": <superjson of {message, code, data}>}``; a
batch is a list of these (contract, trpc-notes.md, "Batch" and "Errors").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from wit.errors import ANSWERS, WitError, internal_error
from wit.trpc import superjson

CODES = {
    "PARSE_ERROR": -32700,
    "BAD_REQUEST": -32600,
    "INTERNAL_SERVER_ERROR": -32603,
    "NOT_IMPLEMENTED": -32603,
    "BAD_GATEWAY": -32603,
    "SERVICE_UNAVAILABLE": -32603,
    "GATEWAY_TIMEOUT": -32603,
    "UNAUTHORIZED": -32001,
    "PAYMENT_REQUIRED": -32002,
    "FORBIDDEN": -32003,
    "NOT_FOUND": -32004,
    "METHOD_NOT_SUPPORTED": -32005,
    "TIMEOUT": -32008,
    "CONFLICT": -32009,
    "PRECONDITION_FAILED": -32012,
    "PAYLOAD_TOO_LARGE": -32013,
    "UNSUPPORTED_MEDIA_TYPE": -32015,
    "UNPROCESSABLE_CONTENT": -32022,
    "PRECONDITION_REQUIRED": -32028,
    "TOO_MANY_REQUESTS": -32029,
    "CLIENT_CLOSED_REQUEST": -32099,
}
"""JSON-RPC numbers of tRPC's codes (tRPC 11, ``TRPC_ERROR_CODES_BY_KEY``)."""

MIXED = 207
"""Status of a batch whose parts have different ones (RFC 4918, section 11.1)."""


@attrs.frozen
class Success:
    """A procedure's answer, ready to be sent."""

    text: str
    status: int = attrs.field(default=200, init=False)


@attrs.frozen
class Failure:
    """What the client is told instead; ``path`` names the procedure, as the client called it."""

    status: int
    code: str
    message: str
    path: str | None = None
    retry_after: int | None = None

    @property
    def shape(self) -> dict[str, Any]:
        data = {"code": self.code, "httpStatus": self.status}
        if self.path is not None:
            data["path"] = self.path
        return {"message": self.message, "code": CODES[self.code], "data": data}

    @property
    def text(self) -> str:
        return f'{{"error":{superjson.dumps(self.shape)}}}'


Reply = Success | Failure


def result_text(data: Any) -> str:
    """The body of a success. Raises TypeError if ``data`` have no form on the wire."""
    return f'{{"result":{{"data":{superjson.dumps(data)}}}}}'


def failure(error: WitError, path: str | None = None, message: str | None = None) -> Failure:
    """``error`` for the client; ``message`` instead of its own sentence."""
    answer = error.answer
    retry_after = getattr(error, "retry_after", None)
    return Failure(answer.http, answer.trpc, message or error.message, path, retry_after)


def internal(request_id: str, path: str | None = None) -> Failure:
    """An unexpected exception: nothing of it but the id under which the log has it."""
    answer = ANSWERS["internal"]
    return Failure(answer.http, answer.trpc, internal_error(request_id), path)


def batch_status(replies: Iterable[Reply]) -> int:
    statuses = {reply.status for reply in replies}
    return statuses.pop() if len(statuses) == 1 else MIXED
