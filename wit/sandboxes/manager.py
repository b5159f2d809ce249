"""Sandboxes of users: the one way to them, for every door; who may what is in
:mod:`.permissions`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from wit.access.actor import Actor, Level
from wit.access.gate import Gate
from wit.db.port import Row
from wit.errors import Conflict, Forbidden, Invalid, WitError
from wit.runtime import shielded
from wit.sandboxes.audit import CommandLog
from wit.sandboxes.engines import Engines
from wit.sandboxes.execution import TrackedExecution
from wit.sandboxes.keys import Keys
from wit.sandboxes.leases import Leases, check_alive
from wit.sandboxes.making import Maker, Progress, quiet
from wit.sandboxes.permissions import SCOPE, Permissions, user_of
from wit.sandboxes.provider import Command, Execution, Exit, FileEntry, Usage
from wit.sandboxes.records import Records, Sandbox, Stage, shown
from wit.sandboxes.registry import ProviderStatus, Registry
from wit.sandboxes.settings import RepoSettings
from wit.sandboxes.variables import Variables
from wit.sandboxes.wishes import NewSandbox
from wit.streams import ByteSource

if TYPE_CHECKING:
    from wit.config import Config

__all__ = ["SCOPE", "NewSandbox", "Sandbox", "Sandboxes", "Status"]

MAX_PAGE = 100
MAX_FILE = 64 * 1024 * 1024
"""Bytes of a file that is read or written at once; larger ones go by archive."""


@attrs.frozen
class Status:
    """Whether a repository's sandboxes can be used (contract: ``sandbox.getStatus``)."""

    configured: bool
    enabled: bool
    provider: str | None
    has_api_key: bool
    ready: bool
    reason: str
    """When not ready: why, a sentence."""


class Sandboxes:
    """``core.sandboxes``. Every method raises NotFound for a sandbox that the actor may not see;
    those that use one raise SandboxOver (it is lost or has ended) and Unavailable as
    :meth:`wit.sandboxes.leases.Leases.use` does."""

    def __init__(
        self,
        config: Config,
        gate: Gate,
        *,
        records: Records,
        registry: Registry,
        engines: Engines,
        leases: Leases,
        maker: Maker,
        commands: CommandLog,
        settings: RepoSettings,
        keys: Keys,
        variables: Variables,
    ) -> None:
        self._config = config.sandboxes
        self._gate = gate
        self._permissions = Permissions(gate, records)
        self._records = records
        self._registry = registry
        self._engines = engines
        self._leases = leases
        self._maker = maker
        self._commands = commands
        self.settings = settings
        self.keys = keys
        self.variables = variables

    # Making

    async def create(self, actor: Actor, new: NewSandbox, progress: Progress = quiet) -> Sandbox:
        """A new one, ready to be used, with the repository's files in it.

        ``progress`` is told what is being done, in words. Raises Forbidden, PreconditionFailed
        (switched off for the repository), Conflict (too many), Invalid, NotFound (no such ref),
        Unavailable with the provider's reason.
        """
        user_id = user_of(actor)
        repo = new.repo
        if repo is None:
            if not (self._config.anyone or actor.is_admin):
                raise Forbidden("sandboxes are made from a repository on this server")
        else:
            repo = await self._permissions.writable(actor, repo["id"])
        return shown(await self._maker.make(user_id, actor.username, repo, new, progress))

    async def for_repository(self, actor: Actor, repo: Row, progress: Progress = quiet) -> Sandbox:
        """The actor's sandbox of this repository: the one there is, or a new one.

        Raises Conflict if the last one was lost, once, so that nobody takes a fresh one for it:
        who asks again, knowing that, gets one. Else raises as :meth:`create`.
        """
        user_id = user_of(actor)
        repo = await self._permissions.writable(actor, repo["id"])
        async with self._maker.one_at_a_time(user_id, repo["id"]):
            row = await self._records.latest(user_id, repo["id"])
            if row is not None and row["state"] == Stage.LOST:
                await self._records.change(row["id"], Stage.LOST, state=Stage.ENDED)
                raise Conflict(
                    f"your sandbox of {repo['full_name']} was lost with its files: "
                    f"{row['reason']}. Ask again for a new one"
                )
            if row is not None and row["state"] != Stage.ENDED:
                if row["state"] != Stage.PAUSED:
                    check_alive(row)
                return shown(row)
            return await self.create(actor, NewSandbox(repo=repo), progress)

    # Looking

    async def get(self, actor: Actor, sandbox_id: str) -> Sandbox:
        """One's own, or any for administrators of its repository or the site."""
        return shown(await self._permissions.seen(actor, sandbox_id))

    async def list(
        self,
        actor: Actor,
        *,
        repo_id: str | None = None,
        mine: bool = True,
        active_only: bool = True,
        limit: int = 50,
        offset: int = 0,
    ) -> Sequence[Sandbox]:
        """Newest first: one's own; not ``mine``: all of a repository, for its administrators, or
        all, for the site's. Raises Forbidden, NotFound."""
        user_id = user_of(actor)
        if not mine and not actor.is_admin:
            if repo_id is None:
                raise Forbidden("only administrators may see everybody's sandboxes")
            await self._gate.repository_by_id(actor, repo_id, Level.ADMIN, SCOPE)
        rows = await self._records.page(
            user_id=user_id if mine else None,
            repo_id=repo_id,
            active_only=active_only,
            limit=max(1, min(limit, MAX_PAGE)),
            offset=max(0, offset),
        )
        return [shown(row) for row in rows]

    async def commands(
        self, actor: Actor, sandbox_id: str, limit: int = 50, offset: int = 0
    ) -> Sequence[Row]:
        """What was run in it, newest first: rows of ``sandbox_commands``."""
        row = await self._permissions.seen(actor, sandbox_id)
        return await self._commands.page(row["id"], max(1, min(limit, MAX_PAGE)), max(0, offset))

    async def sessions(
        self,
        actor: Actor,
        repo: Row,
        *,
        active_only: bool = True,
        limit: int = 50,
        offset: int = 0,
    ) -> Sequence[Row]:
        """Terminal sessions in the repository's sandboxes, newest first, in the contract's form:
        one's own, for administrators everybody's."""
        user_id = user_of(actor)
        everybody = actor.is_admin or await self._gate.level(actor, repo) >= Level.ADMIN
        return await self._commands.sessions(
            repo["id"],
            None if everybody else user_id,
            active_only=active_only,
            limit=max(1, min(limit, MAX_PAGE)),
            offset=max(0, offset),
        )

    async def own_sessions(self, actor: Actor) -> Sequence[Row]:
        """The actor's own terminal sessions that run, newest first, in the contract's form."""
        return await self._commands.own_sessions(user_of(actor), MAX_PAGE)

    async def status(self, repo: Row) -> Status:
        """Whether a sandbox of the repository can be made now, and if not, why."""
        settings = await self.settings.get(repo["id"])
        keys = await self.keys.providers(repo["id"])
        name = settings.provider
        ready, reason = True, ""
        try:
            name = (await self._registry.choose(name, keys)).name
        except WitError as error:
            ready, reason = False, error.message
        if not settings.enabled:
            ready, reason = False, "sandboxes are switched off for this repository"
        own = name is not None and (name in keys or name in self.server_keys())
        return Status(
            configured=settings.configured,
            enabled=settings.enabled,
            provider=name,
            has_api_key=own,
            ready=ready,
            reason=reason,
        )

    def providers(self) -> Sequence[ProviderStatus]:
        """All, as they were when they were last tried."""
        return self._registry.statuses()

    def server_keys(self) -> frozenset[str]:
        """The hosted providers that the server has a key of, for everybody."""
        keys = {"e2b": self._config.e2b_api_key, "daytona": self._config.daytona_api_key}
        return frozenset(name for name, key in keys.items() if key)

    # Life

    async def destroy(self, actor: Actor, sandbox_id: str) -> None:
        """End it, with everything in it. Fine when it is over already."""
        row = await self._permissions.seen(actor, sandbox_id)
        who = "its user" if row["user_id"] == actor.user_id else "an administrator"
        await shielded(self._destroy(row, f"{who} destroyed it"))

    async def pause(self, actor: Actor, sandbox_id: str) -> Sandbox:
        """Raises PreconditionFailed where that cannot be, or while something runs."""
        row = await self._permissions.own(actor, sandbox_id)
        check_alive(row)
        return shown(row if row["state"] == Stage.PAUSED else await self._leases.pause(row))

    async def resume(self, actor: Actor, sandbox_id: str) -> Sandbox:
        """Any use resumes a paused one, too."""
        return shown(await self._leases.use(await self._permissions.own(actor, sandbox_id)))

    async def extend(self, actor: Actor, sandbox_id: str, seconds: int) -> Sandbox:
        """A lease of so many seconds from now on, which it also gets when it is resumed.
        Raises Invalid."""
        longest = self._config.max_life_seconds
        if not 60 <= seconds <= longest:
            raise Invalid(f"a sandbox lives 60 to {longest} seconds at a time")
        row = await self._permissions.own(actor, sandbox_id)
        check_alive(row)
        return shown(await self._leases.extend(row, seconds))

    # Use

    async def execute(
        self, actor: Actor, sandbox_id: str, command: Command, kind: str = "exec"
    ) -> Execution:
        """Run a command, which keeps the sandbox in use and is written down; with the variables of
        its repository. ``kind``: exec, terminal, ssh. Raises Invalid."""
        row = await self._permissions.own(actor, sandbox_id)
        longest = float(self._config.command_seconds)
        seconds = command.seconds
        if command.terminal is None:
            seconds = longest if seconds is None else min(seconds, longest)
        if not command.argv:
            raise Invalid("there is no program to run")
        self._leases.begin(row["id"])
        started = False
        try:
            row = await self._leases.use(row)
            env = await self._maker.environment(row)
            command = attrs.evolve(command, env={**env, **command.env}, seconds=seconds)
            await self._maker.provide_origin(row)
            command_id = await self._commands.begin(
                row, user_of(actor), kind, command.argv, self._records.daemon
            )
            try:
                inner = await self._engines.execute(row, command)
            except BaseException:
                await shielded(self._commands.end(command_id, kind, Exit(255, reason="lost"), 0))
                raise
            started = True
        finally:
            if not started:
                self._leases.end(row["id"])

        async def ended(how: Exit, output_bytes: int) -> None:
            try:
                await self._commands.end(command_id, kind, how, output_bytes)
                if how.reason == "lost":
                    await self._look(row)
            finally:
                self._leases.end(row["id"])

        return TrackedExecution(command_id, inner, ended)

    async def read_file(
        self, actor: Actor, sandbox_id: str, path: str, limit: int = MAX_FILE
    ) -> bytes:
        """Raises NotFound, Invalid (not a file), TooLarge."""
        row = await self._usable(actor, sandbox_id)
        async with self._engines.using(row) as provider:
            return await provider.read_file(row["ref"], path, min(limit, MAX_FILE))

    async def write_file(
        self, actor: Actor, sandbox_id: str, path: str, content: bytes, mode: int = 0o644
    ) -> None:
        """Raises Invalid, TooLarge."""
        row = await self._usable(actor, sandbox_id)
        async with self._engines.using(row) as provider:
            await provider.write_file(row["ref"], path, content, mode)

    async def list_files(self, actor: Actor, sandbox_id: str, path: str) -> Sequence[FileEntry]:
        """Raises NotFound, Invalid (not a directory)."""
        row = await self._usable(actor, sandbox_id)
        async with self._engines.using(row) as provider:
            return await provider.list_files(row["ref"], path)

    async def remove_file(self, actor: Actor, sandbox_id: str, path: str) -> None:
        """Raises NotFound."""
        row = await self._usable(actor, sandbox_id)
        async with self._engines.using(row) as provider:
            await provider.remove_file(row["ref"], path)

    async def upload(self, actor: Actor, sandbox_id: str, path: str, archive: ByteSource) -> None:
        """Unpack a tar archive below a directory. Raises Invalid, TooLarge."""
        row = await self._permissions.own(actor, sandbox_id)
        with self._leases.at_work(row["id"]):
            row = await self._leases.use(row)
            command_id = await self._commands.begin(
                row, user_of(actor), "upload", [path], self._records.daemon
            )
            how = Exit(255)
            try:
                async with self._engines.using(row) as provider:
                    await provider.upload(row["ref"], path, archive)
                how = Exit(0)
            finally:
                await shielded(self._commands.end(command_id, "upload", how, 0))

    async def download(self, actor: Actor, sandbox_id: str, path: str) -> ByteSource:
        """A file or directory as a tar archive. Raises NotFound."""
        row = await self._usable(actor, sandbox_id)
        async with self._engines.using(row) as provider:
            source = await provider.download(row["ref"], path)
        command_id = await self._commands.begin(
            row, user_of(actor), "download", [path], self._records.daemon
        )
        await self._commands.end(command_id, "download", Exit(0), 0)
        return _UsedSource(source, self._leases, row)

    async def usage(self, actor: Actor, sandbox_id: str) -> Usage:
        """What it uses now; looking is no use."""
        row = await self._permissions.seen(actor, sandbox_id)
        check_alive(row)
        async with self._engines.using(row) as provider:
            return await provider.usage(row["ref"])

    # Steps

    async def _usable(self, actor: Actor, sandbox_id: str) -> Row:
        return await self._leases.use(await self._permissions.own(actor, sandbox_id))

    async def _destroy(self, row: Row, reason: str) -> None:
        await self._records.over(row["id"], Stage.ENDED, reason)
        current = await self._records.find(row["id"])
        if current is not None:
            await self._engines.remove(current)

    async def _look(self, row: Row) -> None:
        """A command was lost: perhaps its sandbox was."""
        async with self._engines.using(row) as provider:
            await provider.usage(row["ref"])


class _UsedSource:
    """A ByteSource whose reading is use of the sandbox."""

    def __init__(self, source: ByteSource, leases: Leases, row: Row) -> None:
        self._source = source
        self._leases = leases
        self._row = row

    async def read(self) -> bytes:
        self._row = await self._leases.use(self._row)
        return await self._source.read()
