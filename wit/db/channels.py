"""Who listens to which channel within this process."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

Heard = Callable[[str], object]


class Channels:
    """Listeners by channel. Used on the reactor only."""

    log = Logger()

    def __init__(self) -> None:
        self._heard: dict[str, list[tuple[Heard]]] = {}

    def names(self) -> list[str]:
        return list(self._heard)

    def add(self, channel: str, heard: Heard) -> Callable[[], None]:
        """Returns the way to stop, which may be called more than once."""
        entry = (heard,)  # an identity of its own: the same function may listen twice
        self._heard.setdefault(channel, []).append(entry)

        def stop() -> None:
            listeners = self._heard.get(channel, [])
            listeners[:] = [other for other in listeners if other is not entry]
            if not listeners:
                self._heard.pop(channel, None)

        return stop

    def tell(self, channel: str, payload: str) -> None:
        """Call everybody who listens; an exception of one is logged and hurts no other."""
        for (heard,) in list(self._heard.get(channel, ())):
            try:
                heard(payload)
            except Exception:
                self.log.failure("a listener of channel {channel} failed", channel=channel)
