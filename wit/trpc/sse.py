"""Subscriptions as Server-Sent Events (HTML standard, section 9.2), in the frames that the client
of tRPC 11 expects. Sans-IO.

    event: connected        then each item as ``data: <superjson>``, then     event: return
    data: {}                                                                  data:

A failure is ``event: serialized-error``; ``event: ping`` keeps proxies from hanging up.
"""

from __future__ import annotations

import re
from typing import Any

from wit.operations.tracked import Tracked
from wit.trpc import superjson
from wit.trpc.envelope import Failure

HEADERS = (
    (b"Cache-Control", b"no-cache, no-transform"),
    (b"X-Accel-Buffering", b"no"),
)

_NOT_IN_IDS = re.compile(r"[\0\r\n]")


def frame(event: str = "", data: str = "", event_id: str | None = None) -> str:
    lines = [f"event: {event}\n"] if event else []
    lines.append(f"data: {data}\n")
    if event_id is not None:
        lines.append(f"id: {event_id}\n")
    return "".join(lines) + "\n\n"


CONNECTED = frame("connected", "{}")
PING = frame("ping")
RETURN = frame("return")


def error_frame(failure: Failure) -> str:
    return frame("serialized-error", superjson.dumps(failure.shape))


class Events:
    """The frames of one subscription's items; ``last_event_id``: where the client goes on from."""

    def __init__(self, last_event_id: str = "") -> None:
        self._last_id = "" if _NOT_IN_IDS.search(last_event_id) else last_event_id

    def item(self, value: Any) -> str:
        """Raises TypeError if ``value`` has no form on the wire, ValueError for an id that cannot
        be sent.

        A browser gives an item without an id that of the one before. So such an item takes the
        id away, and a frame that nobody listens to brings it back for the next reconnection.
        """
        if isinstance(value, Tracked):
            if not value.id or _NOT_IN_IDS.search(value.id):
                raise ValueError(f"{value.id!r} is no id of an event")
            self._last_id = value.id
            return frame(data=superjson.dumps(value.data), event_id=value.id)
        data = superjson.dumps(value)
        if not self._last_id:
            return frame(data=data)
        return frame(data=data, event_id="") + frame("restore-id", event_id=self._last_id)
