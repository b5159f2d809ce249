"""Sandboxes as containers: the provider over a Docker or Podman engine.

Settings (``docker_...`` of ``[sandboxes]``): ``host`` (as DOCKER_HOST has it), ``tls_dir`` (as
DOCKER_CERT_PATH), ``image``, ``network``, ``pull`` (never or missing), ``runtime``; and as options
``docker.user`` (uid:gid) and ``docker.workspace`` (volume or memory).

A sandbox is a container without rights or network whose root cannot be written, and a volume at
/workspace. The container runs nothing but what is executed in it. Both carry labels, so that a
daemon that was restarted finds them; their name, which is the sandbox's ref, follows from its id.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wit.errors import Invalid, WitError
from wit.runtime import shielded
from wit.sandboxes.docker import archives, creation, files
from wit.sandboxes.docker.address import read_address
from wit.sandboxes.docker.container import Container, state_of
from wit.sandboxes.docker.creation import MEMORY, Labels, Traits
from wit.sandboxes.docker.engine import Engine, Refused, escaped, filters
from wit.sandboxes.docker.execution import DockerExecution
from wit.sandboxes.docker.images import Images
from wit.sandboxes.docker.probe import probe
from wit.sandboxes.docker.usage import usage_of
from wit.sandboxes.provider import (
    WORKSPACE,
    Command,
    Features,
    FileEntry,
    Found,
    Network,
    ProviderContext,
    Readiness,
    SandboxSpec,
    State,
    Usage,
)
from wit.streams import ByteSource

CREATE_SECONDS = 180.0
REMOVE_ATTEMPTS = 50


class DockerProvider:
    """See :class:`wit.sandboxes.provider.SandboxProvider`. Raises ConfigError for its settings."""

    name = "docker"
    log = Logger()

    def __init__(self, context: ProviderContext) -> None:
        self._runtime = context.runtime
        self._instance = context.instance
        self._settings = creation.read_settings(context.settings)
        address = read_address(
            context.settings.get("host", ""), context.settings.get("tls_dir", "")
        )
        self._engine = Engine(address, context.runtime.reactor)
        self._images = Images(self._engine, self._settings.pull)
        self._live: dict[str, set[DockerExecution]] = {}
        self._undoing: set[Deferred[Any]] = set()
        self._quota = False
        self.features = Features(
            pause=True,
            survives_restart=True,
            limited=frozenset({"memory", "cpu", "processes"}),
            slow_start=True,
            images=True,
        )

    # the provider itself

    async def start(self) -> None:
        """Look at the engine once, to know what it can do; it may come later."""
        await self.probe()

    async def stop(self) -> None:
        """Let go of the connections; containers and what runs in them are left alone."""
        for running in list(self._live.values()):
            for execution in list(running):
                execution.leave()
        self._live.clear()
        await self.settled()

    async def settled(self) -> None:
        """Until what was cancelled is undone."""
        while self._undoing:
            await self._runtime.sleep(0.05)

    async def probe(self) -> Readiness:
        try:
            found = await probe(self._engine, self._settings, self._images, self._runtime)
        except WitError as error:
            return Readiness(False, error.message, {"engine": self._engine.address.text})
        self._quota = found.quota
        in_memory = self._settings.workspace == MEMORY
        self.features = attrs.evolve(
            self.features,
            networks=frozenset({Network.NONE, *((Network.FULL,) if found.network else ())}),
            limited=frozenset(
                {"memory", "processes"}
                | ({"cpu"} if found.cpu else set())
                | ({"disk"} if found.quota or in_memory else set())
            ),
        )
        return found.readiness

    # sandboxes

    async def create(self, spec: SandboxSpec) -> str:
        if spec.network not in self.features.networks:
            raise Invalid(f"the container engine offers no network {spec.network.value!r}")
        making = Deferred.fromCoroutine(self._make(spec))
        made: Deferred[str] = Deferred()
        making.addBoth(made.callback)
        try:
            return await made
        except CancelledError:
            # The engine goes on with what it was told, so we see it through and undo it then.
            making.addCallback(lambda _: Deferred.fromCoroutine(self._undo(spec)))
            self._undoing.add(making)
            making.addBoth(lambda _: self._undoing.discard(making))
            raise

    async def _make(self, spec: SandboxSpec) -> str:
        name = creation.name_of(spec.id)
        traits = Traits(await self._engine.is_podman(), self._quota)
        body = creation.container_body(spec, self._settings, self._instance, traits)
        await self._images.need(body["Image"])
        try:
            volume = creation.volume_body(spec, self._settings, self._instance, traits)
            await self._engine.call("POST", "/volumes/create", body=volume)
            await self._engine.call(
                "POST", "/containers/create", {"name": name}, body, seconds=CREATE_SECONDS
            )
            container = self._container(name)
            if self._settings.workspace != MEMORY:
                owner = [int(part) for part in self._settings.user.split(":")]
                await container.call(
                    "PUT",
                    f"{container.path}/archive",
                    {"path": WORKSPACE},
                    archives.owned_folder(*owner),
                )
            await container.call("POST", f"{container.path}/start", seconds=CREATE_SECONDS)
        except BaseException:
            await shielded(self._undo(spec))
            raise
        return name

    async def _undo(self, spec: SandboxSpec) -> None:
        try:
            await self.destroy(creation.name_of(spec.id))
        except WitError as error:
            # Its labels stay: it is found and removed by whoever clears up.
            self.log.warn("a sandbox that failed is left: {error}", error=error.message)

    async def destroy(self, ref: str) -> None:
        for execution in list(self._live.get(ref, ())):
            execution.lose()
        await self._remove(f"/containers/{escaped(ref)}", {"force": "1", "v": "1"})
        await self._remove(f"/volumes/{escaped(ref)}", {"force": "1"})

    async def _remove(self, path: str, query: dict[str, str]) -> None:
        """Until it is gone: somebody else may be at it, and a volume may be held for a moment."""
        for _ in range(REMOVE_ATTEMPTS):
            try:
                await self._engine.call("DELETE", path, query)
            except Refused as refused:
                if refused.status == 404:
                    return
                if refused.status not in (409, 500):
                    raise
                problem = refused
                await self._runtime.sleep(0.1)
            else:
                return
        raise problem

    async def state(self, ref: str) -> State:
        return await self._container(ref).state()

    async def sandboxes(self) -> list[Found]:
        mine = filters(instance=self._instance)
        found: dict[str, Found] = {}
        for volume in (await self._engine.call("GET", "/volumes", mine)).get("Volumes") or []:
            # A volume alone is what is left when making or removing a sandbox broke off.
            self._note(found, volume["Name"], volume["Labels"], State.GONE)
        for one in await self._engine.call("GET", "/containers/json", {"all": "1", **mine}):
            labels = one["Labels"] or {}
            name = one["Names"][0].lstrip("/")
            self._note(found, name, labels, state_of(str(one["State"]), labels))
        return list(found.values())

    @staticmethod
    def _note(found: dict[str, Found], name: str, labels: dict[str, str], state: State) -> None:
        sandbox_id = labels.get(Labels.SANDBOX)
        if sandbox_id:
            found[name] = Found(sandbox_id, name, state)

    def _container(self, ref: str) -> Container:
        return Container(self._runtime, self._engine, escaped(ref), self._settings.user, self._live)

    # what happens in one

    async def execute(self, ref: str, command: Command) -> DockerExecution:
        return await self._container(ref).execute(command)

    async def read_file(self, ref: str, path: str, limit: int) -> bytes:
        return await files.read(self._container(ref), path, limit)

    async def write_file(self, ref: str, path: str, content: bytes, mode: int = 0o644) -> None:
        await files.write(self._container(ref), path, content, mode)

    async def list_files(self, ref: str, path: str) -> list[FileEntry]:
        return await files.listing(self._container(ref), path)

    async def remove_file(self, ref: str, path: str) -> None:
        await files.remove(self._container(ref), path)

    async def upload(self, ref: str, path: str, archive: ByteSource) -> None:
        await files.upload(self._container(ref), path, archive)

    async def download(self, ref: str, path: str) -> ByteSource:
        return await files.download(self._container(ref), path)

    async def usage(self, ref: str) -> Usage:
        return await usage_of(self._container(ref), "disk" in self.features.limited)

    async def pause(self, ref: str) -> None:
        container = self._container(ref)
        try:
            await container.call("POST", f"{container.path}/pause")
        except Refused:
            if await container.state() is not State.PAUSED:
                raise

    async def resume(self, ref: str) -> None:
        container = self._container(ref)
        found = await container.inspect()
        if found["State"]["Status"] == "paused":
            await container.call("POST", f"{container.path}/unpause")
        else:
            await container.wake()

    async def extend(self, ref: str, seconds: int) -> None:
        return None
