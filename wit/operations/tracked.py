"""Items of a subscription that a client can go on from when its connection breaks."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Tracked(NamedTuple, Generic[T]):
    """An item and its id: yield it from a subscription whose input has ``lastEventId``.

    A client that reconnects sends the id of the last item it got there. The id is not empty and
    has no line breaks or NULs.
    """

    id: str
    data: T
