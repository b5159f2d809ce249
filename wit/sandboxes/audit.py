"""Who ran what in which sandbox, when, how long, and how it ended.

The output is counted and not kept. Terminals of a repository also become ``sandbox_sessions``,
which is how the contract knows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from wit.db.port import Database, Row
from wit.db.tables import sandbox_commands, sandbox_sessions
from wit.runtime import Runtime
from wit.sandboxes.provider import Exit

MAX_WORDS = 64
MAX_WORD = 1024
"""Of a command line that is kept: words, and characters of each."""

TERMINALS = frozenset({"terminal", "ssh"})
"""Kinds of commands that people sit before."""

_ADD = insert(sandbox_commands)
_ADD_SESSION = insert(sandbox_sessions)
_END = (
    update(sandbox_commands)
    .where(sandbox_commands.c.id == bindparam("which"))
    .where(sandbox_commands.c.state == "running")
)
_END_SESSION = (
    update(sandbox_sessions)
    .where(sandbox_sessions.c.id == bindparam("which"))
    .where(sandbox_sessions.c.state == "running")
)
_PAGE = (
    select(sandbox_commands)
    .where(sandbox_commands.c.sandbox_id == bindparam("sandbox"))
    .order_by(sandbox_commands.c.started_at.desc(), sandbox_commands.c.id)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
_OF_DAEMON = select(sandbox_commands.c.id).where(
    sandbox_commands.c.daemon == bindparam("daemon"), sandbox_commands.c.state == "running"
)
_UNFINISHED = (
    select(sandbox_commands.c.daemon).where(sandbox_commands.c.state == "running").distinct()
)
_SESSIONS = {
    (active, by_user): select(sandbox_sessions)
    .where(
        sandbox_sessions.c.repo_id == bindparam("repo"),
        *([sandbox_sessions.c.state == "running"] if active else []),
        *([sandbox_sessions.c.user_id == bindparam("user")] if by_user else []),
    )
    .order_by(sandbox_sessions.c.started_at.desc(), sandbox_sessions.c.id)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
    for active in (False, True)
    for by_user in (False, True)
}

_OWN_SESSIONS = (
    select(sandbox_sessions)
    .where(sandbox_sessions.c.user_id == bindparam("user"), sandbox_sessions.c.state == "running")
    .order_by(sandbox_sessions.c.started_at.desc(), sandbox_sessions.c.id)
    .limit(bindparam("limit"))
)


class CommandLog:
    """Rows of what was run."""

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def begin(
        self,
        sandbox: Row,
        user_id: str,
        kind: str,
        argv: Sequence[str],
        daemon: str,
    ) -> str:
        """A command starts now; its id. ``daemon`` is the process that looks after it."""
        command_id = self._runtime.new_id()
        now = self._runtime.now()
        values: dict[str, Any] = {
            "id": command_id,
            "sandbox_id": sandbox["id"],
            "user_id": user_id,
            "kind": kind,
            "argv": [word[:MAX_WORD] for word in argv[:MAX_WORDS]],
            "daemon": daemon,
            "started_at": now,
        }
        if kind not in TERMINALS or sandbox["repo_id"] is None:
            await self._db.execute(_ADD, **values)
            return command_id
        async with self._db.transaction() as tx:
            await tx.execute(_ADD, **values)
            await tx.execute(
                _ADD_SESSION,
                id=command_id,
                repo_id=sandbox["repo_id"],
                user_id=user_id,
                provider=sandbox["provider"],
                provider_id=sandbox["id"],
                branch=sandbox["branch"],
                started_at=now,
            )
        return command_id

    async def end(self, command_id: str, kind: str, how: Exit, output_bytes: int) -> None:
        """It ended now."""
        state = "lost" if how.reason == "lost" else "done"
        values = {"state": state, "ended_at": self._runtime.now(), "exit_code": how.code}
        await self._db.execute(
            _END, which=command_id, reason=how.reason, output_bytes=output_bytes, **values
        )
        if kind in TERMINALS:
            await self._db.execute(_END_SESSION, which=command_id, **values)

    async def lose(self, daemon: str) -> None:
        """What a process looked after that is no more: nobody knows how it ended."""
        for row in await self._db.fetch_all(_OF_DAEMON, daemon=daemon):
            values = {"which": row["id"], "state": "lost", "ended_at": self._runtime.now()}
            await self._db.execute(_END, reason="lost", **values)
            await self._db.execute(_END_SESSION, **values)

    async def daemons(self) -> list[str]:
        """The processes that have commands which have not ended."""
        return [row["daemon"] for row in await self._db.fetch_all(_UNFINISHED)]

    async def page(self, sandbox_id: str, limit: int, offset: int) -> list[Row]:
        """Newest first."""
        return await self._db.fetch_all(_PAGE, sandbox=sandbox_id, limit=limit, offset=offset)

    async def own_sessions(self, user_id: str, limit: int) -> list[Row]:
        """Terminal sessions of a user that run, newest first."""
        return await self._db.fetch_all(_OWN_SESSIONS, user=user_id, limit=limit)

    async def sessions(
        self, repo_id: str, user_id: str | None, *, active_only: bool, limit: int, offset: int
    ) -> list[Row]:
        """Terminal sessions of a repository (of one user), newest first."""
        who = {} if user_id is None else {"user": user_id}
        return await self._db.fetch_all(
            _SESSIONS[active_only, user_id is not None],
            repo=repo_id,
            limit=limit,
            offset=offset,
            **who,
        )
