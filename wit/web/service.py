"""The part of the service tree that listens for HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from wit.errors import ConfigError
from wit.runtime import Runtime
from wit.web.endpoints import make_endpoint, show_address
from wit.web.site import WebSite
from wit.web.tls import ReloadableTls

POLL_SECONDS = 0.05
"""How often stopping looks whether the last connection has gone."""

ABORT_SECONDS = 5.0
"""How long cancelled handlers may take to clean up."""


class HttpService:
    """One site on its endpoints.

    ``addresses`` are those it listens on, as people would type them. ``grace_seconds`` may be
    changed while it runs. ``on_stop`` is called when stopping begins, before anything else.
    """

    log = Logger()

    def __init__(
        self,
        site: WebSite,
        endpoints: Sequence[str],
        runtime: Runtime,
        *,
        grace_seconds: float = 0.0,
        name: str = "http",
        on_stop: Callable[[], object] | None = None,
    ) -> None:
        self.site = site
        self.addresses: list[str] = []
        self._endpoints = endpoints
        self._runtime = runtime
        self.grace_seconds = grace_seconds
        self._name = name
        self._on_stop = on_stop
        self._ports: list[IListeningPort] = []
        self._tls: list[ReloadableTls] = []

    async def start(self) -> None:
        """Listen. Raises ConfigError, and then listens nowhere."""
        self.site.stopping = False
        try:
            for description in self._endpoints:
                await self._listen(description)
        except BaseException:
            await self._stop_listening()
            raise

    async def _listen(self, description: str) -> None:
        endpoint, tls = make_endpoint(self._runtime.reactor, description)
        try:
            port = await endpoint.listen(self.site)
        except (CannotListenError, OSError) as error:
            raise ConfigError(f"cannot listen on {description}: {error}") from error
        self._ports.append(port)
        if tls is not None:
            self._tls.append(tls)
        address = show_address(port.getHost(), "https" if tls else "http")
        self.addresses.append(address)
        self.log.info("{name} listens on {address}", name=self._name, address=address)

    def reload_tls(self) -> None:
        """Read the certificates again. Raises ConfigError; the old ones then stay in use."""
        for tls in self._tls:
            tls.reload()

    async def stop(self, grace: float | None = None) -> None:
        """Stop accepting; let running requests end within ``grace`` seconds; cut the rest."""
        if self._on_stop is not None:
            self._on_stop()
        await self._stop_listening()
        self.site.finish_up()
        await self._wait_for_none(self.grace_seconds if grace is None else grace)
        if self.site.connections:
            self.log.warn(
                "{name}: {count} requests did not end in time",
                name=self._name,
                count=len(self.site.connections),
            )
            self.site.abort_all()
            await self._wait_for_none(ABORT_SECONDS)

    async def _stop_listening(self) -> None:
        ports, self._ports = self._ports, []
        self.addresses = []
        for port in ports:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped

    async def _wait_for_none(self, seconds: float) -> None:
        end = self._runtime.reactor.seconds() + seconds
        while self.site.connections and self._runtime.reactor.seconds() < end:
            await self._runtime.sleep(POLL_SECONDS)
