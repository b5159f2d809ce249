"""``wit sandbox``: what an operator sees and ends. Running programs in a sandbox is for its user,
through the daemon, which has the engines (docs/sandboxes.md)."""

from __future__ import annotations

import shlex
from argparse import Namespace
from typing import Any

import attrs

from wit.access.actor import Actor, Origin
from wit.cli.session import Session
from wit.core import Core
from wit.errors import NotFound
from wit.sandboxes.records import Sandbox

COLUMNS = ("id", "username", "repository", "provider", "state", "created_at", "used_at",
           "expires_at")  # fmt: skip
DETAILS = (*COLUMNS[:5], "reason", "branch", "commit", "network", "image", "memory_bytes", "cpus",
           "processes", "disk_bytes", *COLUMNS[5:], "ended_at")  # fmt: skip
LOG_COLUMNS = ("started_at", "username", "kind", "command", "state", "exit_code", "reason",
               "output_bytes", "ended_at")  # fmt: skip
PAGE = 100

_OPERATOR = Actor("operator", "operator", Origin.CLI, is_admin=True)


async def show(session: Session, arguments: Namespace) -> None:
    rows: list[dict[str, Any]] = []
    async with session.core() as core:
        names = _Names(core)
        while page := await core.sandboxes.list(
            _OPERATOR, mine=False, active_only=not arguments.all, limit=PAGE, offset=len(rows)
        ):
            rows += [await names.row(sandbox) for sandbox in page]
    session.table(rows, COLUMNS, as_json=arguments.json)


async def details(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        row = await _Names(core).row(await core.sandboxes.get(_OPERATOR, arguments.id))
    if arguments.json:
        session.table([row], DETAILS, as_json=True)
        return
    pairs = [{"what": name.replace("_", " "), "value": row[name]} for name in DETAILS]
    session.table(pairs, ("what", "value"), as_json=False)


async def log(session: Session, arguments: Namespace) -> None:
    limit = max(1, min(arguments.limit, 1000))
    rows: list[dict[str, Any]] = []
    async with session.core() as core:
        names = _Names(core)
        while len(rows) < limit and (
            page := await core.sandboxes.commands(
                _OPERATOR, arguments.id, min(PAGE, limit - len(rows)), len(rows)
            )
        ):
            rows += [
                {
                    **row,
                    "username": await names.user(row["user_id"]),
                    "command": shlex.join(row["argv"] or ()),
                }
                for row in page
            ]
    session.table(rows, LOG_COLUMNS, as_json=arguments.json)


async def destroy(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        sandbox = await core.sandboxes.get(_OPERATOR, arguments.id)
        session.confirm(f"ending the sandbox {sandbox.id} with its files", yes=arguments.yes)
        await core.sandboxes.destroy(_OPERATOR, sandbox.id)
    session.note(f"{sandbox.id} has ended; the daemon removes what is left of it within a minute")


class _Names:
    """Of users and repositories, each looked up once."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._known: dict[str, str] = {}

    async def row(self, sandbox: Sandbox) -> dict[str, Any]:
        return {
            **attrs.asdict(sandbox, recurse=False),
            **attrs.asdict(sandbox.limits),
            "network": sandbox.network.value,
            "username": await self.user(sandbox.user_id),
            "repository": await self._repository(sandbox.repo_id),
        }

    async def user(self, user_id: str) -> str:
        if user_id not in self._known:
            try:
                self._known[user_id] = (await self._core.users.get(user_id))["username"]
            except NotFound:
                self._known[user_id] = user_id  # somebody who is no more
        return self._known[user_id]

    async def _repository(self, repo_id: str | None) -> str | None:
        if repo_id is None:
            return None
        if repo_id not in self._known:
            self._known[repo_id] = (await self._core.repos.by_id(repo_id))["full_name"]
        return self._known[repo_id]
