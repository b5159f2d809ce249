"""The provider ``daytona``.

Settings (``[sandboxes.daytona]`` and the environment): ``api_key``, ``api_url``, ``target`` (a
region), ``domains`` and ``addresses`` (comma separated; what a restricted network reaches).

A sandbox is stopped by Daytona itself when nothing was asked of it for as long as its life was to
be, and deleted a day later. Pausing is stopping: files stay, what runs ends. A snapshot brings its
own limits; an image (``image:debian:12``) is built with those of the spec.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from urllib.parse import quote, urlsplit

from twisted.internet.defer import CancelledError

from wit.errors import (
    ConfigError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    RateLimited,
    Unavailable,
    WitError,
)
from wit.runtime import shielded
from wit.sandboxes.daytona import scripts
from wit.sandboxes.daytona.control import Control, Remote
from wit.sandboxes.daytona.execution import Piped, Running
from wit.sandboxes.daytona.files import Files, usage, workspace_path
from wit.sandboxes.daytona.pty import OnTerminal
from wit.sandboxes.daytona.toolbox import Toolbox
from wit.sandboxes.daytona.wire import Refused, Wire
from wit.sandboxes.provider import (
    WORKSPACE,
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

API_URL = "https://app.daytona.io/api"
LABEL_INSTANCE = "wit-instance"
LABEL_SANDBOX = "wit-sandbox"
CREATE_SECONDS = 300.0
CHANGE_SECONDS = 120.0
DELETE_MINUTES = 24 * 60
GIB = 1024**3
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}\Z")


class DaytonaProvider:
    name = "daytona"

    def __init__(self, context: ProviderContext) -> None:
        settings = context.settings
        self._context = context
        self._key = settings.get("api_key", "")
        self._target = settings.get("target", "")
        self._domains = settings.get("domains", "")
        self._addresses = settings.get("addresses", "")
        base = (settings.get("api_url") or API_URL).rstrip("/")
        self._scheme = urlsplit(base).scheme
        if self._scheme not in ("https", "http") or not urlsplit(base).hostname:
            raise ConfigError("sandboxes.daytona.api_url must be an https address")
        self._wire = Wire.make(context.runtime)
        self._control = Control(self._wire, base)
        self._keys: dict[str, str] = {}
        self._toolboxes: dict[str, Toolbox] = {}
        networks = {Network.NONE, Network.FULL}
        if self._domains or self._addresses:
            networks.add(Network.RESTRICTED)
        self.features = Features(
            pause=True,
            survives_restart=True,
            networks=frozenset(networks),
            limited=frozenset(),
            slow_start=True,
            images=True,
            hosted=True,
        )

    def use_key(self, ref: str, key: str) -> None:
        self._keys[ref] = key
        self._toolboxes.pop(ref, None)

    async def start(self) -> None:
        self._context.folder.mkdir(parents=True, exist_ok=True)

    async def stop(self) -> None:
        await self._wire.close()

    async def probe(self) -> Readiness:
        detail = {"address": self._control.base}
        if not self._key:
            return Readiness(
                False,
                "Daytona needs an API key: set DAYTONA_API_KEY, or a repository's own",
                detail,
            )
        try:
            await self._control.labelled(self._key, {LABEL_SANDBOX: "none"})
        except Refused as error:
            return Readiness(False, _words(error).message, detail)
        except Unavailable as error:
            return Readiness(False, error.message, detail)
        return Readiness(True, detail=detail)

    async def create(self, spec: SandboxSpec) -> str:
        key = spec.key or self._key
        if not key:
            raise Unavailable(
                "Daytona needs an API key: set DAYTONA_API_KEY, or the repository's own"
            )
        wanted = self._wanted(spec)
        try:
            remote = await self._control.create(key, wanted)
            remote = await self._control.until(
                key, remote.id, {"started"}, CREATE_SECONDS, first=remote
            )
            toolbox = self._toolbox_of(remote, key)
            code, said = await toolbox.run(scripts.PREPARE, seconds=60)
            if code:
                raise Unavailable(f"the sandbox at Daytona cannot be used: {said.strip()[-200:]}")
        except (Refused, Unavailable, CancelledError) as error:
            await shielded(self._remove_failed(key, spec.id))
            raise _words(error) if isinstance(error, Refused) else error from None
        if spec.key:
            self._keys[remote.id] = spec.key
        self._toolboxes[remote.id] = toolbox
        return remote.id

    def _wanted(self, spec: SandboxSpec) -> dict[str, object]:
        wanted: dict[str, object] = {
            "env": scripts.checked_environment(spec.env),
            "labels": {LABEL_INSTANCE: self._context.instance, LABEL_SANDBOX: spec.id},
            "public": False,
            "autoStopInterval": _minutes(spec.seconds),
            "autoDeleteInterval": DELETE_MINUTES,
        }
        if self._target:
            wanted["target"] = self._target
        if spec.network not in self.features.networks:
            raise Invalid(f"sandboxes at Daytona cannot have the network {spec.network.value!r}")
        if spec.network is Network.NONE:
            wanted["networkBlockAll"] = True
        elif spec.network is Network.RESTRICTED:
            if self._domains:
                wanted["domainAllowList"] = self._domains
            if self._addresses:
                wanted["networkAllowList"] = self._addresses
        if spec.image is None:
            return wanted
        if not spec.image.startswith("image:"):
            wanted["snapshot"] = spec.image
            return wanted
        image = spec.image.removeprefix("image:")
        if not IMAGE.match(image):
            raise Invalid(f"{image!r} is not the name of a container image")
        wanted |= {
            "buildInfo": {"dockerfileContent": f"FROM {image}\n"},
            "cpu": max(1, ceil(spec.limits.cpus)),
            "memory": max(1, ceil(spec.limits.memory_bytes / GIB)),
            "disk": max(1, ceil(spec.limits.disk_bytes / GIB)),
        }
        return wanted

    async def _remove_failed(self, key: str, sandbox_id: str) -> None:
        """Whatever was made, though we may not have been told so."""
        labels = {LABEL_INSTANCE: self._context.instance, LABEL_SANDBOX: sandbox_id}
        try:
            for remote in await self._control.labelled(key, labels):
                await self._control.delete(key, remote.id)
        except (Refused, Unavailable):
            return  # it stops, and is deleted, by itself

    async def destroy(self, ref: str) -> None:
        async with self._asking(ref):
            await self._control.delete(self._key_of(ref), ref)
        self._forget(ref)

    async def state(self, ref: str) -> State:
        try:
            remote = await self._control.get(self._key_of(ref), ref)
        except Refused as error:
            if error.status == 404:
                return State.GONE
            raise _words(error) from None
        return remote.known_state

    async def sandboxes(self) -> list[Found]:
        found: dict[str, Found] = {}
        labels = {LABEL_INSTANCE: self._context.instance}
        for key in {key for key in (self._key, *self._keys.values()) if key}:
            try:
                remotes = await self._control.labelled(key, labels)
            except Refused as error:
                raise _words(error) from None
            for remote in remotes:
                sandbox_id = remote.labels.get(LABEL_SANDBOX)
                if sandbox_id and remote.state not in ("destroyed", "destroying"):
                    found[remote.id] = Found(sandbox_id, remote.id, remote.known_state)
                    if key != self._key:
                        self._keys[remote.id] = key
        return list(found.values())

    async def execute(self, ref: str, command: Command) -> Execution:
        async with self._asking(ref):
            toolbox = await self._toolbox(ref)
            cwd = _cwd(command.cwd)

            async def gone() -> bool:
                try:
                    return await self.state(ref) is not State.RUNNING
                except (Unavailable, RateLimited, Forbidden):
                    return False

            made: Running
            parts = (self._context.runtime, toolbox, gone, command.seconds)
            if command.terminal is not None:
                made = terminal = OnTerminal(*parts)
                await terminal.start(command, cwd, command.terminal)
            else:
                made = piped = Piped(*parts)
                await piped.start(command, cwd)
            return made

    async def read_file(self, ref: str, path: str, limit: int) -> bytes:
        async with self._asking(ref, path):
            return await (await self._files(ref)).read(workspace_path(path), limit)

    async def write_file(self, ref: str, path: str, content: bytes, mode: int = 0o644) -> None:
        async with self._asking(ref, path):
            await (await self._files(ref)).write(workspace_path(path), content, mode)

    async def list_files(self, ref: str, path: str) -> list[FileEntry]:
        async with self._asking(ref, path):
            return await (await self._files(ref)).list(workspace_path(path))

    async def remove_file(self, ref: str, path: str) -> None:
        async with self._asking(ref, path):
            await (await self._files(ref)).remove(workspace_path(path))

    async def upload(self, ref: str, path: str, archive: ByteSource) -> None:
        async with self._asking(ref, path):
            await (await self._files(ref)).upload(workspace_path(path), archive)

    async def download(self, ref: str, path: str) -> ByteSource:
        async with self._asking(ref, path):
            return await (await self._files(ref)).download(workspace_path(path))

    async def usage(self, ref: str) -> Usage:
        async with self._asking(ref):
            _, said = await (await self._toolbox(ref)).run(scripts.USAGE)
            return usage(said)

    async def pause(self, ref: str) -> None:
        async with self._asking(ref, paused=True):
            key = self._key_of(ref)
            await self._control.stop(key, ref)
            await self._control.until(key, ref, {"stopped", "archived"}, CHANGE_SECONDS)

    async def resume(self, ref: str) -> None:
        async with self._asking(ref, paused=True):
            key = self._key_of(ref)
            remote = await self._control.get(key, ref)
            if remote.state == "started":
                return
            if remote.state in ("stopping", "archiving"):
                await self._control.until(key, ref, {"stopped", "archived"}, CHANGE_SECONDS)
            await self._control.start(key, ref)
            await self._control.until(key, ref, {"started"}, CREATE_SECONDS)

    async def extend(self, ref: str, seconds: int) -> None:
        async with self._asking(ref, paused=True):
            await self._control.stop_after(self._key_of(ref), ref, _minutes(seconds))

    def _key_of(self, ref: str) -> str:
        key = self._keys.get(ref) or self._key
        if not key:
            raise Unavailable("the API key of this sandbox at Daytona is not known")
        return key

    def _forget(self, ref: str) -> None:
        self._keys.pop(ref, None)
        self._toolboxes.pop(ref, None)

    async def _files(self, ref: str) -> Files:
        toolbox = await self._toolbox(ref)
        return Files(toolbox, self._context.runtime, self._context.folder)

    async def _toolbox(self, ref: str) -> Toolbox:
        toolbox = self._toolboxes.get(ref)
        if toolbox is None:
            key = self._key_of(ref)
            toolbox = self._toolbox_of(await self._control.get(key, ref), key)
            self._toolboxes[ref] = toolbox
        return toolbox

    def _toolbox_of(self, remote: Remote, key: str) -> Toolbox:
        """The key goes where Daytona says the toolbox is, but never unprotected."""
        parts = urlsplit(remote.toolbox_url)
        if not parts.hostname or parts.scheme not in ("https", self._scheme):
            raise Refused(502, "the sandbox's toolbox has no https address")
        return Toolbox(self._wire, f"{remote.toolbox_url}/{quote(remote.id, safe='')}", key)

    @asynccontextmanager
    async def _asking(
        self, ref: str, path: str = "", *, paused: bool = False
    ) -> AsyncIterator[None]:
        """Says in words what went wrong; ``paused``: it is fine that the sandbox is."""
        try:
            yield
        except (Refused, Unavailable) as error:
            await self._say_if_gone(ref, paused)
            if isinstance(error, Unavailable):
                raise
            if error.status == 404 and path:
                raise NotFound(f"there is no {path}") from None
            raise _words(error) from None

    async def _say_if_gone(self, ref: str, paused: bool) -> None:
        try:
            state = await self.state(ref)
        except WitError:
            return  # not known; the first error is the one to tell
        if state is State.GONE:
            self._forget(ref)
            raise SandboxLost("Daytona no longer has this sandbox; its files are gone") from None
        if state is State.PAUSED and not paused:
            raise Conflict("this sandbox at Daytona is stopped; resume it first") from None


def _words(error: Refused) -> WitError:
    """What Daytona answered, as an error of ours."""
    said = f"Daytona says: {error.message}"
    if error.status == 401:
        return PreconditionFailed("Daytona does not take the API key; set another one")
    if error.status in (402, 403):
        return Forbidden(said)
    if error.status == 429:
        return RateLimited(said, ceil(error.retry_after or 1))
    if error.status in (400, 409, 422):
        return Invalid(said)
    return Unavailable(said)


def _minutes(seconds: int) -> int:
    return max(1, ceil(seconds / 60))


def _cwd(path: str) -> str:
    if "\0" in path:
        raise Invalid("a path cannot hold a NUL character")
    return posixpath.normpath(posixpath.join(WORKSPACE, path))
