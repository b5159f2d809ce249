"""What the database says and what an engine has, brought together.

Done when a provider becomes ready (after a start, or when its engine is back) and now and then.
The row is written before the engine is asked to make something, and again when it has: so after a
crash at any point there is a row for everything, or something without a row that lives, which
nobody can have and which is removed. What an engine no longer has is lost, and said so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.logger import Logger

from wit.db.port import Row
from wit.errors import WitError
from wit.sandboxes.audit import CommandLog
from wit.sandboxes.engines import Engines
from wit.sandboxes.provider import Found, NeedsKey, SandboxProvider, State
from wit.sandboxes.records import Records, Stage

GONE = "the server was away, and {provider} no longer has it"
UNFINISHED = "the server stopped while it was being made"

log = Logger()


class Recovery:
    def __init__(
        self,
        records: Records,
        engines: Engines,
        commands: CommandLog,
        living: Callable[[], Awaitable[frozenset[str]]],
    ) -> None:
        """``living`` finds the names of this place's daemons that live, ours among them."""
        self._records = records
        self._engines = engines
        self._commands = commands
        self._living = living

    async def lose_commands(self) -> None:
        """Commands of daemons of this place that are no more: nobody knows how they ended."""
        daemons = await self._commands.daemons()
        living = await self._living()
        for daemon in daemons:
            if self._dead(daemon, living):
                await self._commands.lose(daemon)

    async def reconcile(self, provider: SandboxProvider) -> None:
        """Raises WitError if the engine does not answer; nothing is lost by that."""
        rows = [
            row
            for row in await self._records.of_here(
                Stage.WARM, Stage.CREATING, Stage.RUNNING, Stage.PAUSED
            )
            if row["provider"] == provider.name
        ]
        if isinstance(provider, NeedsKey):
            for row in rows:
                self._engines.of(row)
        found = {one.id: one for one in await provider.sandboxes()}
        living = await self._living()
        for row in rows:
            try:
                if row["state"] != Stage.CREATING:
                    await self._compare(provider, row, found.get(row["id"]))
                elif self._dead(row["daemon"], living):
                    # With what the engine made of it, which is nobody's then.
                    await self._records.over(row["id"], Stage.ENDED, UNFINISHED, Stage.CREATING)
            except WitError as error:
                log.warn("{id}: {error}", id=row["id"], error=error.message)
        held = await self._records.held(list(found))
        for one in found.values():
            if one.id not in held:
                log.info("{provider} has a sandbox that is nobody's", provider=provider.name)
                await provider.destroy(one.ref)

    async def _compare(self, provider: SandboxProvider, row: Row, found: Found | None) -> None:
        stage = row["state"]
        state = await provider.state(row["ref"]) if found is None else found.state
        if state is State.GONE:
            over = Stage.ENDED if stage == Stage.WARM else Stage.LOST
            reason = GONE.format(provider=provider.name)
            if await self._records.over(row["id"], over, reason, stage):
                log.warn("the sandbox {id} is lost: {reason}", id=row["id"], reason=reason)
        elif state is State.PAUSED and stage == Stage.RUNNING:
            await self._records.change(row["id"], Stage.RUNNING, state=Stage.PAUSED)
        elif state is State.RUNNING and stage == Stage.PAUSED:
            await self._records.change(row["id"], Stage.PAUSED, state=Stage.RUNNING)

    def _dead(self, daemon: str | None, living: frozenset[str]) -> bool:
        """Whether it was a process of this place, and is no more."""
        here = f"{self._records.here}/"
        return daemon is not None and daemon.startswith(here) and daemon not in living
