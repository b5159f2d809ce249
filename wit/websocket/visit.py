"""What somebody who opens a WebSocket wants, and whether he may. Everything that can be found out
before the upgrade is: what is wrong then is kept, and said over the WebSocket, because a page is
told nothing of a refused upgrade."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import parse_qsl

import attrs

from wit.access.actor import ANONYMOUS, Actor, Level
from wit.access.gate import Gate
from wit.db.port import Row
from wit.errors import Invalid, NotFound, Unauthorized, WitError
from wit.sandboxes.provider import TerminalSize
from wit.sandboxes.terminals.sizes import clamp
from wit.sandboxes.terminals.terminals import SCOPE, Terminal, Terminals

SIGN_IN = "Not authenticated"
"""The contract's words."""

_MAX_DIGITS = 15


class OneSandbox(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def repo_id(self) -> str | None: ...


class SandboxFinder(Protocol):
    """wit.sandboxes.manager.Sandboxes, as far as it is used here."""

    async def get(self, actor: Actor, sandbox_id: str) -> OneSandbox: ...

    async def for_repository(self, actor: Actor, repo: Row) -> OneSandbox: ...


class Core(Protocol):
    """wit.core.Core, as far as it is used here."""

    gate: Gate
    terminals: Terminals

    @property
    def sandboxes(self) -> SandboxFinder: ...


@attrs.frozen
class Visit:
    actor: Actor = ANONYMOUS
    repo_id: str | None = None
    sandbox_id: str | None = None
    terminal_id: str | None = None
    offset: int | None = None
    """Where the viewer had stopped before."""
    view_only: bool = False
    size: TerminalSize | None = None
    refused: WitError | None = None
    """Why nothing comes of it."""
    request_id: str = ""


def asked(query: bytes) -> dict[str, str]:
    """The query's parameters; of two with one name the last."""
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=20))


def with_parameters(visit: Visit, parameters: dict[str, str]) -> Visit:
    """``terminal``, ``from``, ``view``, ``cols``, ``rows``. Raises Invalid."""
    numbers = {}
    for name in ("from", "cols", "rows"):
        if (text := parameters.get(name)) is not None:
            if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
                raise Invalid(f"{name} must be a whole number")
            numbers[name] = int(text)
    size = None
    if "cols" in numbers and "rows" in numbers:
        size = clamp(numbers["cols"], numbers["rows"])
    return attrs.evolve(
        visit,
        terminal_id=visit.terminal_id or parameters.get("terminal"),
        offset=numbers.get("from"),
        view_only=visit.view_only or parameters.get("view") in ("1", "true"),
        size=size,
    )


async def sandbox_of(core: Core, visit: Visit) -> str:
    """The id of the sandbox that is meant; one is made for a repository that has none.

    Raises Unauthorized, NotFound, Forbidden, and what making one raises.
    """
    if visit.actor.anonymous:
        raise Unauthorized(SIGN_IN)
    if visit.sandbox_id is not None:
        return visit.sandbox_id
    if visit.repo_id is None:
        raise NotFound("there is no such sandbox")
    repo = await core.gate.repository_by_id(visit.actor, visit.repo_id, Level.WRITE, SCOPE)
    return (await core.sandboxes.for_repository(visit.actor, repo)).id


async def terminal_for(core: Core, visit: Visit, size: TerminalSize) -> Terminal:
    """The terminal that is asked for; else for a watcher the newest, and for others a new one."""
    if visit.terminal_id is not None:
        return await terminal_of(core, visit)
    sandbox_id = await sandbox_of(core, visit)
    if not visit.view_only:
        return await core.terminals.open(visit.actor, sandbox_id, size)
    found = await core.terminals.list(visit.actor, sandbox_id)
    running = [terminal for terminal in found if terminal.ended is None]
    if not running:
        raise NotFound("there is no terminal to be watched")
    return running[-1]


async def terminal_of(core: Core, visit: Visit) -> Terminal:
    """The terminal that is asked for by its id. Raises Unauthorized, NotFound, Forbidden."""
    assert visit.terminal_id is not None
    if visit.actor.anonymous:
        raise Unauthorized(SIGN_IN)
    terminal = await core.terminals.get(visit.actor, visit.terminal_id)
    if visit.sandbox_id not in (None, terminal.sandbox_id):
        raise NotFound("this terminal belongs to another sandbox")
    return terminal
