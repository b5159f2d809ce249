"""The answer of a batch as JSON lines, each call's as soon as it is there. Sans-IO.

The first line has a place for each call, and names the chunk that will fill it; a chunk may have
places again. tRPC's server sends a result in three steps, because a procedure's data may be a
promise inside the result; its clients (``httpBatchStreamLink``) read it step by step.
"""

from __future__ import annotations

from typing import Any

from wit.trpc import superjson
from wit.trpc.envelope import Failure

PROMISE = 0
FULFILLED = 0
_LATER = 0
"""What stands in the place of something that comes later."""


def head(count: int) -> str:
    """The first line: the chunk of call ``n`` has the number ``n``."""
    return _line({str(n): [[_LATER], [None, PROMISE, n]] for n in range(count)})


def result_lines(index: int, count: int, data: Any) -> str:
    """Of a success of call ``index``. Raises TypeError if ``data`` have no form on the wire."""
    result, inner = count + 2 * index, count + 2 * index + 1
    held = [[]] if data is superjson.UNDEFINED else [[data]]
    return (
        _line([index, FULFILLED, [[{"result": _LATER}], ["result", PROMISE, result]]])
        + _line([result, FULFILLED, [[{"data": _LATER}], ["data", PROMISE, inner]]])
        + _line([inner, FULFILLED, held])
    )


def error_line(index: int, failure: Failure) -> str:
    return _line([index, FULFILLED, [[{"error": failure.shape}]]])


def _line(value: Any) -> str:
    return superjson.dumps(value) + "\n"
