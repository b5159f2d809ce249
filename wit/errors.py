"""Every error that a client can see, and the one table that maps it to each protocol.

Domain code raises a :class:`WitError` subclass with a sentence that says what to do. A door
looks its code up in :data:`ANSWERS` and never invents a status of its own.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Answer:
    """How one error code looks on each protocol."""

    http: int
    """HTTP status."""
    trpc: str
    """tRPC error code (tRPC 11, ``TRPC_ERROR_CODE_KEY``)."""
    ssh_exit: int
    """Exit status of an SSH exec request; 128 is what git itself uses for a fatal error."""
    ws_close: int
    """WebSocket close code (RFC 6455, section 7.4)."""


ANSWERS: dict[str, Answer] = {
    "invalid": Answer(400, "BAD_REQUEST", 128, 4400),
    "unauthorized": Answer(401, "UNAUTHORIZED", 128, 4401),
    "forbidden": Answer(403, "FORBIDDEN", 128, 4403),
    "not_found": Answer(404, "NOT_FOUND", 128, 4404),
    "method": Answer(405, "METHOD_NOT_SUPPORTED", 128, 4405),
    "timeout": Answer(408, "TIMEOUT", 128, 4408),
    "conflict": Answer(409, "CONFLICT", 128, 4409),
    "precondition_failed": Answer(412, "PRECONDITION_FAILED", 128, 4412),
    "too_large": Answer(413, "PAYLOAD_TOO_LARGE", 128, 1009),
    "media_type": Answer(415, "UNSUPPORTED_MEDIA_TYPE", 128, 1003),
    "rate_limited": Answer(429, "TOO_MANY_REQUESTS", 128, 4429),
    "internal": Answer(500, "INTERNAL_SERVER_ERROR", 128, 1011),
    "unavailable": Answer(503, "SERVICE_UNAVAILABLE", 128, 1013),
}


class WitError(Exception):
    """Base of all errors that are meant for the client. ``message`` is shown as it is."""

    code = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def answer(self) -> Answer:
        return ANSWERS[self.code]


class Invalid(WitError):
    """The request is malformed; the sentence names the part and what was expected."""

    code = "invalid"


class Unauthorized(WitError):
    """No valid credential came with a request that needs one."""

    code = "unauthorized"


class Forbidden(WitError):
    """The actor may see the thing but not do this to it."""

    code = "forbidden"


class NotFound(WitError):
    """There is no such thing, or the actor may not know that there is."""

    code = "not_found"


class MethodNotSupported(WitError):
    code = "method"


class TimedOut(WitError):
    code = "timeout"


class Conflict(WitError):
    """The thing exists already, or changed meanwhile."""

    code = "conflict"


class PreconditionFailed(WitError):
    """Something else has to be set up or done first; the sentence says what."""

    code = "precondition_failed"


class TooLarge(WitError):
    code = "too_large"


class UnsupportedMediaType(WitError):
    code = "media_type"


class RateLimited(WitError):
    """The caller asked too often; ``retry_after`` is in seconds."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(WitError):
    """The server is full, stopping, or lost a part it needs; ``retry_after`` is in seconds."""

    code = "unavailable"

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ConfigError(WitError):
    """A configuration value is wrong; the sentence names source, key and what was expected."""

    code = "invalid"


def internal_error(request_id: str) -> str:
    """The only sentence a client reads about an unexpected exception."""
    return f"internal error, request id {request_id}"
