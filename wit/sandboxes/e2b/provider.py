"""Sandboxes of E2B (e2b.dev), or of a server that speaks its protocol.

Settings: ``api_key`` (E2B_API_KEY), ``domain`` (E2B_DOMAIN; e2b.app), ``api_url`` (E2B_API_URL;
https://api.<domain>), ``template`` (base), ``sandbox_url`` (https://sandbox.<domain>, or a host for
each sandbox on a domain that has no such host), and ``allow``, the hosts that a restricted network
reaches.

A sandbox's size is its template's: limits are not kept. At the end of its time E2B pauses it, so
that its files are never lost by a daemon that was away; it is destroyed only when asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from twisted.logger import Logger

from wit.errors import Conflict, Invalid, PreconditionFailed, Unavailable, WitError
from wit.runtime import shielded
from wit.sandboxes.e2b import files
from wit.sandboxes.e2b.control import Control, check_id
from wit.sandboxes.e2b.envd import PORT, Access, Envd
from wit.sandboxes.e2b.execution import E2bExecution
from wit.sandboxes.e2b.http import Http
from wit.sandboxes.provider import (
    Command,
    Execution,
    Features,
    FileEntry,
    Found,
    Network,
    ProviderContext,
    Readiness,
    SandboxLost,
    SandboxSpec,
    State,
    Usage,
)
from wit.streams import ByteSource

DOMAIN = "e2b.app"
TEMPLATE = "base"
SHARED_HOSTS = frozenset({"e2b.app", "e2b.dev", "e2b.pro"})
"""Domains whose host ``sandbox.`` leads to every sandbox."""

EVERYWHERE = "0.0.0.0/0"

INSTANCE = "wit_instance"
SANDBOX = "wit_sandbox"
SECONDS = "wit_seconds"
"""Names in a sandbox's metadata."""

RESUMED_SECONDS = 3600
"""Life of a resumed sandbox whose metadata do not say how long it was made for."""

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?(:[0-9]{1,5})?", re.IGNORECASE)

log = Logger()


class E2bProvider:
    """A SandboxProvider, and a NeedsKey: the ref is E2B's id of the sandbox."""

    name = "e2b"
    features = Features(
        pause=True,
        survives_restart=True,
        networks=frozenset(Network),
        limited=frozenset(),
        slow_start=True,
        images=True,
        hosted=True,
    )

    def __init__(self, context: ProviderContext) -> None:
        self._runtime = context.runtime
        self._instance = context.instance
        self._settings = context.settings
        self._domain = context.settings.get("domain") or DOMAIN
        self._http = Http(context.runtime)
        url = context.settings.get("api_url") or f"https://api.{self._domain}"
        self._control = Control(self._http, context.runtime, url)
        self._keys: dict[str, str] = {}
        self._daemons: dict[str, Envd] = {}
        self._running: dict[str, set[E2bExecution]] = {}

    async def start(self) -> None:
        """Nothing to be done: connections are made when they are needed."""

    async def stop(self) -> None:
        for running in list(self._running.values()):
            for execution in list(running):
                execution.let_go()
        await self._http.close()

    def use_key(self, ref: str, key: str) -> None:
        self._keys[ref] = key

    def _key(self, ref: str | None = None) -> str:
        """The sandbox's key, else the site's. Raises PreconditionFailed."""
        key = self._keys.get(ref or "") or self._settings.get("api_key", "")
        if not key:
            raise PreconditionFailed(
                "there is no API key for e2b: set E2B_API_KEY, or give the repository its own key"
            )
        return key

    async def probe(self) -> Readiness:
        detail = {"domain": self._domain, "template": self._template}
        try:
            await self._control.check(self._key())
        except WitError as error:
            return Readiness(ready=False, reason=error.message, detail=detail)
        return Readiness(ready=True, detail=detail)

    @property
    def _template(self) -> str:
        return self._settings.get("template") or TEMPLATE

    # Lives

    async def create(self, spec: SandboxSpec) -> str:
        key = spec.key or self._key()
        body = {
            "templateID": spec.image or self._template,
            "timeout": spec.seconds,
            "autoPause": True,
            "metadata": {
                INSTANCE: self._instance,
                SANDBOX: spec.id,
                SECONDS: str(spec.seconds),
            },
            "envVars": dict(spec.env),
            **self._network(spec.network),
        }
        try:
            made = await self._control.create(key, body, f"wit-{spec.id.lower()}")
            ref = check_id(made.get("sandboxID"))
            self._keys[ref] = key
            await files.make_workspace(self._daemon(ref, self._access(made)))
        except (Invalid, PreconditionFailed):
            raise
        except BaseException:
            await shielded(self._undo(key, spec.id))
            raise
        return ref

    def _network(self, network: Network) -> dict[str, Any]:
        """What creation is told of the network. Host names in ``allowOut`` need all else denied."""
        hosts = [host for host in self._settings.get("allow", "").split(",") if host]
        if network is Network.RESTRICTED and hosts:
            rules = {"allowOut": hosts, "denyOut": [EVERYWHERE]}
            return {"allow_internet_access": True, "network": rules}
        return {"allow_internet_access": network is Network.FULL}

    async def _undo(self, key: str, wit_id: str) -> None:
        """Remove what a creation that failed may have made."""
        try:
            for one in await self._control.listing(key, self._label(wit_id)):
                ref = check_id(one.get("sandboxID"))
                await self._control.delete(key, ref)
                self._forget(ref)
        except WitError as error:
            log.warn("a sandbox at e2b may be left over: {error}", error=error)

    def _label(self, wit_id: str | None = None) -> dict[str, str]:
        return {INSTANCE: self._instance, **({SANDBOX: wit_id} if wit_id else {})}

    async def destroy(self, ref: str) -> None:
        try:
            await self._control.delete(self._key(ref), ref)
        except SandboxLost:
            log.debug("{ref} was gone already", ref=ref)
        for execution in list(self._running.get(ref, ())):
            execution.lose()
        self._forget(ref)

    def _forget(self, ref: str) -> None:
        self._daemons.pop(ref, None)
        self._running.pop(ref, None)

    async def state(self, ref: str) -> State:
        try:
            return _state(await self._control.get(self._key(ref), ref))
        except SandboxLost:
            return State.GONE

    async def sandboxes(self) -> list[Found]:
        site_key = self._settings.get("api_key", "")
        found: dict[str, Found] = {}
        for key in {site_key, *self._keys.values()} - {""}:
            try:
                listed = await self._control.listing(key, self._label())
            except PreconditionFailed:
                if key == site_key:
                    raise
                log.warn("e2b no longer accepts a key that sandboxes were made with")
                continue
            for one in listed:
                metadata = one.get("metadata")
                if not isinstance(metadata, dict) or metadata.get(INSTANCE) != self._instance:
                    continue
                ref, wit_id = check_id(one.get("sandboxID")), metadata.get(SANDBOX)
                if isinstance(wit_id, str):
                    found[ref] = Found(wit_id, ref, _state(one))
                    self._keys.setdefault(ref, key)
        return list(found.values())

    async def pause(self, ref: str) -> None:
        try:
            await self._control.pause(self._key(ref), ref)
        except Conflict:
            if await self.state(ref) is not State.PAUSED:
                raise

    async def resume(self, ref: str) -> None:
        detail = await self._control.get(self._key(ref), ref)
        if _state(detail) is State.PAUSED:
            made = await self._control.connect(self._key(ref), ref, _seconds(detail))
            self._daemon(ref, self._access(made))

    async def extend(self, ref: str, seconds: int) -> None:
        await self._control.set_timeout(self._key(ref), ref, seconds)

    async def usage(self, ref: str) -> Usage:
        metrics = await self._control.metrics(self._key(ref), ref)
        if not metrics:
            return Usage()
        newest: Mapping[str, Any] = max(
            metrics, key=lambda one: _whole(one.get("timestampUnix")) or 0
        )
        return Usage(
            memory_bytes=_whole(newest.get("memUsed")),
            memory_limit=_whole(newest.get("memTotal")),
            disk_bytes=_whole(newest.get("diskUsed")),
            disk_limit=_whole(newest.get("diskTotal")),
        )

    # Commands and files

    async def execute(self, ref: str, command: Command) -> Execution:
        envd = await self._reach(ref)
        running = self._running.setdefault(ref, set())
        execution = E2bExecution(envd, command, running.discard)
        running.add(execution)
        await execution.start()
        return execution

    async def read_file(self, ref: str, path: str, limit: int) -> bytes:
        return await files.read_file(await self._reach(ref), path, limit)

    async def write_file(self, ref: str, path: str, content: bytes, mode: int = 0o644) -> None:
        await files.write_file(await self._reach(ref), path, content, mode)

    async def list_files(self, ref: str, path: str) -> list[FileEntry]:
        return await files.list_files(await self._reach(ref), path)

    async def remove_file(self, ref: str, path: str) -> None:
        await files.remove_file(await self._reach(ref), path)

    async def upload(self, ref: str, path: str, archive: ByteSource) -> None:
        await files.upload(await self._reach(ref), path, archive)

    async def download(self, ref: str, path: str) -> ByteSource:
        return await files.download(await self._reach(ref), path)

    # The daemon in a sandbox

    async def _reach(self, ref: str) -> Envd:
        envd = self._daemons.get(ref)
        if envd is None:
            envd = self._daemon(ref, await self._renew(ref))
        return envd

    def _daemon(self, ref: str, access: Access) -> Envd:
        """The one Envd of a sandbox, with this access from now on."""
        envd = self._daemons.get(ref)
        if envd is None:
            envd = self._daemons[ref] = Envd(
                self._http,
                self._runtime,
                access,
                renew=lambda: self._renew(ref),
                gone=lambda: self._gone(ref),
            )
        envd.access = access
        return envd

    async def _renew(self, ref: str) -> Access:
        detail = await self._control.get(self._key(ref), ref)
        if _state(detail) is State.PAUSED:
            raise _paused()
        return self._access(detail)

    async def _gone(self, ref: str) -> None:
        """Called when E2B's proxy does not find the sandbox. Always raises."""
        state = await self.state(ref)
        if state is State.PAUSED:
            raise _paused()
        if state is State.GONE:
            self._forget(ref)
            raise SandboxLost("E2B no longer has this sandbox; its files are gone")
        raise Unavailable("the sandbox runs, but cannot be reached at E2B now; try again")

    def _access(self, made: Mapping[str, Any]) -> Access:
        """What create, get and connect say of how to reach a sandbox's daemon."""
        ref = check_id(made.get("sandboxID"))
        domain = made.get("domain") or self._domain
        if not isinstance(domain, str) or not _HOST.fullmatch(domain):
            raise Unavailable("E2B named a host in a way that was not expected")
        if configured := self._settings.get("sandbox_url"):
            url = configured.rstrip("/")
        elif domain in SHARED_HOSTS:
            url = f"https://sandbox.{domain}"
        else:
            url = f"https://{PORT}-{ref}.{domain}"
        headers = {"E2b-Sandbox-Id": ref, "E2b-Sandbox-Port": str(PORT)}
        token = made.get("envdAccessToken")
        if isinstance(token, str) and token.isascii() and token.isprintable():
            headers["X-Access-Token"] = token
        return Access(url, headers)


def _paused() -> Conflict:
    return Conflict("the sandbox is paused; resume it first")


def _state(detail: Mapping[str, Any]) -> State:
    return State.PAUSED if detail.get("state") == "paused" else State.RUNNING


def _seconds(detail: Mapping[str, Any]) -> int:
    """How long the sandbox was made for, by its metadata."""
    metadata = detail.get("metadata")
    text = metadata.get(SECONDS) if isinstance(metadata, dict) else None
    if isinstance(text, str) and re.fullmatch(r"[0-9]{1,7}", text):
        return max(1, int(text))
    return RESUMED_SECONDS


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value >= 0 else None
