"""How a sandbox comes into being: its row, the engine's part, its files.

The row is there before the engine hears of it, and is taken back if anything fails, also when
whoever asked for it has gone: nothing is left that nobody knows of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import attrs
from sqlalchemy import bindparam, select
from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IProtocolFactory

from wit.config import Config
from wit.db.port import Row
from wit.db.tables import users
from wit.errors import NotFound, WitError
from wit.metrics import Metrics
from wit.repositories.manager import RepoManager
from wit.runtime import Runtime, shielded
from wit.sandboxes.audit import CommandLog
from wit.sandboxes.checkout import GIT_PORT, Author, Checkouts, Origin, origin_url
from wit.sandboxes.engines import Engines
from wit.sandboxes.leases import Leases
from wit.sandboxes.pool import Pool
from wit.sandboxes.provider import Exit, ServesInside
from wit.sandboxes.records import Records, Room, Stage
from wit.sandboxes.tokens import SandboxTokens
from wit.sandboxes.variables import Variables
from wit.sandboxes.wishes import NewSandbox, Wish, Wishes

Progress = Callable[[str], object]

_AUTHOR = select(users.c.name, users.c.username, users.c.email).where(
    users.c.id == bindparam("user")
)


def quiet(_: str) -> None:
    """Progress that nobody looks at."""


class Maker:
    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        metrics: Metrics,
        *,
        records: Records,
        engines: Engines,
        leases: Leases,
        pool: Pool,
        wishes: Wishes,
        variables: Variables,
        tokens: SandboxTokens,
        commands: CommandLog,
        checkouts: Checkouts,
        repos: RepoManager,
    ) -> None:
        self._site = config
        self._config = config.sandboxes
        self._runtime = runtime
        self._metrics = metrics
        self._records = records
        self._engines = engines
        self._leases = leases
        self._pool = pool
        self._wishes = wishes
        self._variables = variables
        self._tokens = tokens
        self._commands = commands
        self._checkouts = checkouts
        self._repos = repos
        self.git_door: IProtocolFactory | None = None
        """What is served inside sandboxes on GIT_PORT; the daemon hangs it in."""
        self._provided: set[tuple[str, str]] = set()
        self._locks: defaultdict[tuple[str, str], DeferredLock] = defaultdict(DeferredLock)

    @asynccontextmanager
    async def one_at_a_time(self, user_id: str, repo_id: str) -> AsyncIterator[None]:
        """So that two windows that are opened at once do not get two sandboxes."""
        key = (user_id, repo_id)
        lock = self._locks[key]
        await lock.acquire()
        try:
            yield
        finally:
            lock.release()
            if not lock.locked and not lock.waiting:
                self._locks.pop(key, None)

    async def make(
        self,
        user_id: str,
        username: str,
        repo: Row | None,
        new: NewSandbox,
        progress: Progress,
    ) -> Row:
        """The row of a new sandbox that runs. For what is raised see Sandboxes.create."""
        started = self._runtime.reactor.seconds()
        wish = await self._wishes.settle(user_id, username, repo, new)
        sandbox_id = await self._enter(wish)
        self._leases.begin(sandbox_id)
        try:
            progress(f"making a sandbox ({wish.provider.name})")
            ref = await self._engage(wish, sandbox_id)
            if wish.target is not None:
                progress("checking out the repository")
                await self._fill(wish, sandbox_id, ref)
            row = await self._finish(wish, sandbox_id)
        except BaseException as error:
            await shielded(self._take_back(sandbox_id, error))
            raise
        finally:
            self._leases.end(sandbox_id)
        taken = self._runtime.reactor.seconds() - started
        self._metrics.sandbox_seconds.labels(wish.provider.name).observe(taken)
        return row

    async def environment(self, row: Row) -> dict[str, str]:
        """Of the commands in a sandbox: its repository's variables, and where it is."""
        env = {"WIT_SANDBOX": "1"}
        if row["repo_id"] is not None:
            repo = await self._repos.by_id(row["repo_id"])
            env = {**await self._variables.environment(row["repo_id"]), **env}
            env["WIT_REPOSITORY"] = repo["full_name"]
        return env

    async def provide_origin(self, row: Row) -> None:
        """See to it that the sandbox reaches its origin, where that is served inside; once for
        each sandbox and process is enough."""
        key = (row["provider"], row["ref"])
        if row["repo_id"] is None or self.git_door is None or key in self._provided:
            return
        async with self._engines.using(row) as provider:
            if isinstance(provider, ServesInside):
                await provider.provide_port(row["ref"], GIT_PORT, self.git_door)
        self._provided.add(key)

    # Steps

    async def _enter(self, wish: Wish) -> str:
        """Its row: a warm one's, if there is one that fits, else a new one's."""
        spec, now = wish.spec, self._runtime.now()
        target = wish.target
        room = Room(self._config.max_per_user, self._config.max_total)
        values = {
            "repo_id": None if wish.repo is None else wish.repo["id"],
            "user_id": wish.user_id,
            "branch": None if target is None else target.branch,
            "commit_oid": None if target is None else target.commit,
            "idle_seconds": wish.idle_seconds,
            "life_seconds": spec.seconds,
            "daemon": self._records.daemon,
            "created_at": now,
            "used_at": now,
            "expires_at": now + timedelta(seconds=spec.seconds),
        }
        if wish.provider.features.slow_start:
            warm = await self._pool.candidates(wish.provider.name, spec)
            if warm:
                claimed = await self._records.claim([row["id"] for row in warm], room, values)
                if claimed is not None:
                    return claimed
        await self._records.add(
            {
                **values,
                "id": spec.id,
                "provider": wish.provider.name,
                "host": None if wish.provider.features.hosted else self._records.here,
                "state": Stage.CREATING,
                "image": spec.image,
                "network": spec.network.value,
                "memory_bytes": spec.limits.memory_bytes,
                "cpus": spec.limits.cpus,
                "processes": spec.limits.processes,
                "disk_bytes": spec.limits.disk_bytes,
                "sealed_key": wish.sealed_key,
            },
            room,
        )
        return spec.id

    async def _engage(self, wish: Wish, sandbox_id: str) -> str:
        """The engine's part; its ref, which is in the row then."""
        row = await self._records.find(sandbox_id)
        if row is None:
            raise NotFound("sandbox not found")
        if row["ref"] is not None and await self._pool.awake(row):
            await wish.provider.extend(row["ref"], wish.spec.seconds)
            return str(row["ref"])
        if row["ref"] is not None:
            await self._engines.remove({**row, "ref": row["ref"]})
        ref = await wish.provider.create(attrs.evolve(wish.spec, id=sandbox_id))
        if not await self._records.change(sandbox_id, Stage.CREATING, ref=ref):
            await wish.provider.destroy(ref)
            raise NotFound("this sandbox was destroyed while it was being made")
        return ref

    async def _fill(self, wish: Wish, sandbox_id: str, ref: str) -> None:
        repo, target, bare = wish.repo, wish.target, wish.bare
        assert repo is not None and target is not None and bare is not None
        row = await self._records.find(sandbox_id)
        if row is None:
            raise NotFound("sandbox not found")
        token = await self._tokens.issue(
            sandbox_id, wish.user_id, repo["id"], can_write=True, until=row["expires_at"]
        )
        inside = self.git_door is not None and isinstance(wish.provider, ServesInside)
        url = origin_url(
            self._site.public_url,
            repo["full_name"],
            wish.spec.network,
            inside=inside,
        )
        await self.provide_origin(row)
        argv = ["checkout", target.branch or target.commit or ""]
        command_id = await self._commands.begin(
            row, wish.user_id, "checkout", argv, self._records.daemon
        )
        how = Exit(1)
        try:
            await self._checkouts.fill(
                wish.provider,
                ref,
                bare,
                target,
                origin=Origin(url, token),
                author=await self._author(wish),
                user_key=wish.user_key,
            )
            how = Exit(0)
        finally:
            await shielded(self._commands.end(command_id, "checkout", how, 0))

    async def _finish(self, wish: Wish, sandbox_id: str) -> Row:
        now = self._runtime.now()
        row = await self._records.find(sandbox_id)
        if row is None or not await self._records.lease(
            row,
            now + timedelta(seconds=wish.spec.seconds),
            Stage.CREATING,
            state=Stage.RUNNING,
            used_at=now,
        ):
            raise NotFound("this sandbox was destroyed while it was being made")
        found = await self._records.find(sandbox_id)
        if found is None:
            raise NotFound("sandbox not found")
        return found

    async def _take_back(self, sandbox_id: str, error: BaseException) -> None:
        reason = error.message if isinstance(error, WitError) else "it could not be made"
        await self._records.over(sandbox_id, Stage.ENDED, reason[:500])
        row = await self._records.find(sandbox_id)
        if row is not None:
            await self._engines.remove(row)

    async def _author(self, wish: Wish) -> Author:
        row = await self._records.db.fetch_one(_AUTHOR, user=wish.user_id)
        if row is None:
            raise NotFound("user not found")
        return Author(row["name"] or row["username"] or wish.username, row["email"])
