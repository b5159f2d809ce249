"""From a sandbox's row to its provider, ready to be asked about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from twisted.logger import Logger

from wit.db.port import Row
from wit.errors import Unavailable
from wit.sandboxes.keys import Keys
from wit.sandboxes.provider import Command, Execution, NeedsKey, SandboxLost, SandboxProvider
from wit.sandboxes.records import ALIVE, Records, Stage, over
from wit.sandboxes.registry import Registry
from wit.sandboxes.terminals.line_mode import line_mode

log = Logger()


class Engines:
    def __init__(self, records: Records, registry: Registry, keys: Keys) -> None:
        self._records = records
        self._registry = registry
        self._keys = keys

    def of(self, row: Row) -> SandboxProvider:
        """The provider, which knows the sandbox's key if it has one of its own.

        Raises Unavailable, also for a sandbox that another machine has; CannotOpen.
        """
        if row["host"] not in (None, self._records.here):
            machine = row["host"].partition("/")[0]
            raise Unavailable(f"this sandbox is on the machine {machine}; ask the server there")
        provider = self._registry.get(row["provider"])
        if row["sealed_key"] and row["ref"] and isinstance(provider, NeedsKey):
            provider.use_key(row["ref"], self._keys.open(row["sealed_key"]))
        return provider

    @asynccontextmanager
    async def using(self, row: Row) -> AsyncIterator[SandboxProvider]:
        """The provider for one act on the sandbox. If it turns out that the sandbox is lost, that
        is written down. Raises SandboxOver with the reason, and what :meth:`of` does."""
        provider = self.of(row)
        try:
            yield provider
        except SandboxLost as error:
            reason = f"{provider.name} no longer has it"
            await self._records.over(row["id"], Stage.LOST, reason, *ALIVE)
            raise over({**row, "state": Stage.LOST, "reason": reason}) from error

    async def execute(self, row: Row, command: Command) -> Execution:
        """Start a command; a shell on a terminal that the engine cannot have is a line mode.

        Raises Invalid, and what :meth:`using` does.
        """
        async with self.using(row) as provider:
            if command.terminal is None or provider.features.terminals:
                return await provider.execute(row["ref"], command)
        return line_mode(partial(self.execute, row), command)

    async def remove(self, row: Row) -> bool:
        """Have the engine remove what it has of a sandbox that is over; whether that went well.
        What did not is tried again later."""
        if row["ref"] is None:
            return True
        try:
            await self.of(row).destroy(row["ref"])
        except Exception:
            log.failure("the sandbox {id} cannot be removed yet", id=row["id"])
            return False
        await self._records.removed(row["id"])
        return True
