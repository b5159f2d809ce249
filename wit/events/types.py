"""Events as values. Their types and payloads are listed in docs/events.md."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

SYSTEM = "system"
"""The actor of what wit does by itself."""

ANONYMOUS = "anonymous"
"""The actor whom nobody knows."""


@attrs.frozen
class NewEvent:
    """Something that happened, before the journal gave it an id and a place.

    ``actor_id`` is a user id, ``system`` or ``anonymous``; ``payload`` is JSON data with the
    contract's (camel-case) keys; ``repo_id`` names the repository whose history it belongs to.
    """

    type: str
    actor_id: str
    payload: Mapping[str, Any]
    repo_id: str | None = None


@attrs.frozen
class Event:
    """An entry of the journal. ``seq`` ascends in the order in which entries were written."""

    seq: int
    id: str
    type: str
    actor_id: str
    repo_id: str | None
    payload: Mapping[str, Any]
    created_at: datetime
