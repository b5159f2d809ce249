"""How much of what was sent has been taken by the other end. Pure."""

from __future__ import annotations


class Flow:
    """Counts one connection's bytes.

    They are taken when they have left our memory, and, if the other end acknowledges, when it has
    said so: a browser reads everything at once and is then busy with it for a while, and a client
    that says so without reading gains nothing by it.
    """

    def __init__(self, *, acknowledges: bool) -> None:
        self._acknowledges = acknowledges
        self._flowing = True
        self._sent = 0
        self._gone = 0
        self._acknowledged = 0
        self._taken = 0

    def sent(self, count: int) -> None:
        self._sent += count
        if self._flowing:
            self._gone = self._sent

    def stuck(self) -> None:
        """The transport is full."""
        self._flowing = False

    def flowing(self) -> None:
        """The transport is empty again."""
        self._flowing = True
        self._gone = self._sent

    def acknowledged(self, total: int) -> None:
        """The other end has dealt with ``total`` bytes since the beginning."""
        self._acknowledged = max(self._acknowledged, min(total, self._sent))

    def acknowledge_all(self) -> None:
        """The other end cannot say anything just now, because we do not listen to it."""
        self._acknowledged = self._sent

    def newly_taken(self) -> int:
        """Bytes taken since this was asked last."""
        total = min(self._gone, self._acknowledged) if self._acknowledges else self._gone
        count = max(0, total - self._taken)
        self._taken += count
        return count
