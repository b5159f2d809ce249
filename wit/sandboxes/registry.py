"""The providers of this server: wit's own, and those that others have registered.

A plug-in names a factory in the entry point group ``wit.sandbox_providers``. Whether a provider can
be used is tried when the daemon starts and again now and then; what it answered is remembered, and
``wit doctor``, the metrics and everybody who asks for a sandbox are told the reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wit.config import Config
from wit.errors import Invalid, Unavailable, WitError
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.sandboxes.provider import (
    ENTRY_POINTS,
    Features,
    ProviderContext,
    Readiness,
    SandboxProvider,
)

BUILT_IN: Mapping[str, str] = {
    "local": "wit.sandboxes.local.provider:LocalProvider",
    "docker": "wit.sandboxes.docker.provider:DockerProvider",
    "e2b": "wit.sandboxes.e2b.provider:E2bProvider",
    "daytona": "wit.sandboxes.daytona.provider:DaytonaProvider",
}
"""Name -> ``module:class``, in the order in which one is chosen for whoever has not."""

PROBE_SECONDS = 300.0
"""How long "ready" is believed."""

RETRY_SECONDS = 20.0
"""How long "not ready" is believed."""

NOWHERE = "none"
"""As ``[sandboxes] provider``: this server makes no sandboxes."""

log = Logger()

Factory = Callable[[ProviderContext], SandboxProvider]
Factories = Mapping[str, Factory]
Ready = Callable[[SandboxProvider], Awaitable[None]]


@attrs.frozen
class ProviderStatus:
    """One provider as it was when it was last tried."""

    name: str
    ready: bool
    reason: str
    """When not ready: what is missing, a sentence."""
    features: Features
    detail: Mapping[str, str]


_UNTRIED = Readiness(False, "it has not been tried yet")


@attrs.define
class _Entry:
    provider: SandboxProvider
    readiness: Readiness = _UNTRIED
    tried_at: float | None = None
    probing: Deferred[None] | None = None


class Registry:
    """Times are seconds of the reactor's clock."""

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        metrics: Metrics,
        factories: Factories | None = None,
    ) -> None:
        """``factories`` instead of the built-in and registered ones, for tests."""
        self._config = config
        self._runtime = runtime
        self._metrics = metrics
        self._factories = factories
        self._entries: dict[str, _Entry] = {}
        self._broken: dict[str, str] = {}
        self.on_ready: Ready | None = None
        """Called with a provider that has become ready, before anybody uses it."""

    async def start(self, folder: Path, instance: str) -> None:
        """Make the providers; which of them are ready is found out by :meth:`probe_all`.

        ``folder`` is where each has a folder of its own, ``instance`` names this installation.
        """
        factories = self._factories
        if factories is None:
            factories = await self._runtime.in_thread(self._find)
        for name, factory in factories.items():
            settings = provider_settings(self._config, name)
            context = ProviderContext(
                runtime=self._runtime,
                folder=Path(settings.get("dir") or folder / name),
                instance=instance,
                settings=settings,
            )
            try:
                provider = factory(context)
                await provider.start()
            except Exception as error:
                log.failure("the sandbox provider {name} cannot start", name=name)
                self._broken[name] = error.message if isinstance(error, WitError) else str(error)
            else:
                self._entries[name] = _Entry(provider)

    async def stop(self) -> None:
        for name, entry in self._entries.items():
            if entry.probing is not None:
                entry.probing.cancel()
            try:
                await entry.provider.stop()
            except Exception:
                log.failure("the sandbox provider {name} did not stop cleanly", name=name)
        self._entries.clear()

    async def probe_all(self) -> None:
        """Try every provider whose last trial is too long ago."""
        for name in list(self._entries):
            await self.status(name)

    async def status(self, name: str) -> ProviderStatus:
        """How the provider is, tried again if that is due. Raises Invalid for an unknown one."""
        entry = self._entry(name)
        if entry is not None and self._due(entry):
            if entry.probing is None:
                entry.probing = Deferred.fromCoroutine(self._probe(name, entry))
            await _done(entry.probing)
        return self._status(name)

    def statuses(self) -> list[ProviderStatus]:
        """All of them, as they were when they were last tried."""
        return [self._status(name) for name in (*self._entries, *self._broken)]

    def get(self, name: str) -> SandboxProvider:
        """Raises Unavailable if it cannot be asked anything now."""
        entry = self._entries.get(name)
        if entry is None:
            reason = self._broken.get(name, "this server has no such provider")
            raise Unavailable(f"the sandbox provider {name[:40]!r} is not available: {reason}")
        return entry.provider

    async def choose(self, wanted: str | None, keys: frozenset[str]) -> SandboxProvider:
        """The provider ``wanted``, or the first that is ready and costs nobody money.

        ``keys`` are the hosted providers that the caller brings a key of. Raises Invalid for an
        unknown one, Unavailable with the reason why it, or every one, is not ready.
        """
        wanted = wanted or self._config.sandboxes.provider or None
        if NOWHERE in (wanted, self._config.sandboxes.provider):
            raise Unavailable(
                "this server makes no sandboxes: its administrator has switched them off"
            )
        if wanted is not None:
            status = await self.status(wanted)
            if not self._usable(status, keys):
                raise Unavailable(f"{wanted} is not ready: {status.reason}", retry_after=60)
            return self.get(wanted)
        reasons = []
        for name in self._entries:
            status = await self.status(name)
            if not status.features.hosted or name in keys:
                if self._usable(status, keys):
                    return self.get(name)
                reasons.append(f"{name}: {status.reason}")
        raise Unavailable(
            "no sandbox provider is ready: " + ("; ".join(reasons) or "there is none"),
            retry_after=60,
        )

    def _usable(self, status: ProviderStatus, keys: frozenset[str]) -> bool:
        """A hosted one without a key of the server's is as good as the caller's own key."""
        return status.ready or (status.name in self._entries and status.name in keys)

    def _entry(self, name: str) -> _Entry | None:
        if name not in self._entries and name not in self._broken:
            known = ", ".join(self._entries) or "none"
            raise Invalid(f"this server has no provider {name[:40]!r}; it has {known}")
        return self._entries.get(name)

    def _status(self, name: str) -> ProviderStatus:
        entry = self._entries.get(name)
        if entry is None:
            return ProviderStatus(name, False, self._broken[name], Features(), {})
        found = entry.readiness
        return ProviderStatus(
            name, found.ready, found.reason, entry.provider.features, found.detail
        )

    def _due(self, entry: _Entry) -> bool:
        if entry.tried_at is None:
            return True
        believed = PROBE_SECONDS if entry.readiness.ready else RETRY_SECONDS
        return bool(self._runtime.reactor.seconds() - entry.tried_at >= believed)

    async def _probe(self, name: str, entry: _Entry) -> None:
        try:
            readiness = await self._try(name, entry)
        finally:
            entry.probing = None
        if readiness != entry.readiness and not readiness.ready:
            log.info(
                "{name} is not ready for sandboxes: {reason}", name=name, reason=readiness.reason
            )
        entry.readiness = readiness
        entry.tried_at = self._runtime.reactor.seconds()
        self._metrics.sandbox_providers.labels(name).set(readiness.ready)

    async def _try(self, name: str, entry: _Entry) -> Readiness:
        """What the provider says; the first time it is ready, what it still has is looked at."""
        try:
            readiness = await entry.provider.probe()
            if readiness.ready and not entry.readiness.ready and self.on_ready is not None:
                await self.on_ready(entry.provider)
            return readiness
        except WitError as error:
            return Readiness(False, error.message)
        except CancelledError:
            return Readiness(False, "the server is stopping")
        except Exception as error:
            log.failure("probing the sandbox provider {name} failed", name=name)
            return Readiness(False, f"its probe failed: {type(error).__name__}")

    def _find(self) -> dict[str, Factory]:
        """Built-in ones and plug-ins. Blocks: modules are imported."""
        found: dict[str, Factory] = {}
        points = [EntryPoint(name, where, ENTRY_POINTS) for name, where in BUILT_IN.items()]
        for point in (*points, *entry_points(group=ENTRY_POINTS)):
            try:
                found[point.name] = point.load()
            except Exception as error:
                log.failure("the sandbox provider {name} cannot be loaded", name=point.name)
                self._broken[point.name] = f"it cannot be loaded: {error}"
        return found


def provider_settings(config: Config, name: str) -> dict[str, str]:
    """What a provider is told: the keys of ``[sandboxes]`` that begin with its name, without it,
    those of ``options`` that name it, and ``allow``, the hosts of a restricted network."""
    section = config.sandboxes
    settings: dict[str, str] = {}
    for field in attrs.fields(type(section)):
        prefix, _, key = field.name.partition("_")
        value = getattr(section, field.name)
        if prefix == name and key and value not in ("", 0):
            settings[key] = str(value)
    for option in section.options:
        key, _, text = option.partition("=")
        owner, _, key = key.partition(".")
        if owner.strip() == name:
            settings[key.strip()] = text.strip()
    settings["allow"] = ",".join(section.allowed_hosts)
    return settings


async def _done(work: Deferred[None]) -> None:
    """Wait for work that others wait for as well, without ending it when we are cancelled."""
    waiter: Deferred[None] = Deferred()

    def pass_on(result: object) -> object:
        if not waiter.called:
            waiter.callback(None)
        return result

    work.addBoth(pass_on)
    await waiter
