"""What runs in sandboxes: commands, terminals, and the list of what ran."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from wit.errors import Conflict
from wit.operations.call import Call
from wit.operations.inputs import Limit, Maybe, Offset
from wit.operations.registry import EVENTS, Input, Rest, Router, Style
from wit.operations.routers.sandboxes import ONE, PLACE
from wit.operations.sandbox_runs import RunEvent, collect, events
from wit.operations.sandbox_shapes import FINDING, SIGNED_IN, USING, OfSandbox, Path, Word
from wit.operations.shapes import Success
from wit.operations.tracked import Tracked
from wit.operations.v1_shapes import V1, route
from wit.sandboxes.provider import WORKSPACE, Command
from wit.sandboxes.terminals.terminals import Terminal

MAX_COLLECTED = 1024 * 1024
MAX_SECONDS = 86_400
EXEC = f"{ONE}/exec"

TerminalId = Annotated[str, Field(min_length=1, max_length=64)]
Variable = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

router = Router("sandboxes")


class Run(OfSandbox):
    """``argv`` is a program and its arguments, each as it is: no shell reads them."""

    argv: Annotated[list[Word], Field(min_length=1, max_length=1000)]
    cwd: Path = WORKSPACE
    env: Maybe[Annotated[dict[Variable, Word], Field(max_length=64)]] = None
    """In addition to the repository's variables."""
    stdin: Maybe[Annotated[str, Field(max_length=512 * 1024)]] = None
    seconds: Maybe[Annotated[float, Field(gt=0, le=MAX_SECONDS)]] = None
    """After which it is killed; the server has a limit of its own."""


class Exec(Run):
    maxOutput: Annotated[int, Field(ge=0, le=MAX_COLLECTED)] = MAX_COLLECTED
    """Bytes that are kept of each output; what follows is dropped."""


class Stream(Run):
    lastEventId: Annotated[str, Field(max_length=64)] | None = None
    """What a client sends by itself that has lost its connection."""


class ExecResult(TypedDict):
    """``code``: the exit status; with ``signal``, 128 and its number. ``reason``: timeout, memory,
    disk or lost, if it did not end by itself."""

    id: str
    code: int
    signal: str | None
    reason: str | None
    stdout: str
    stderr: str
    truncated: bool


class Page(OfSandbox):
    limit: Limit = 50
    offset: Offset = 0


class CommandShape(TypedDict):
    """``kind``: exec, terminal, ssh, upload, download or checkout."""

    id: str
    userId: str
    kind: str
    argv: list[str] | None
    state: str
    startedAt: datetime
    endedAt: datetime | None
    exitCode: int | None
    reason: str | None
    outputBytes: int


class OfTerminal(OfSandbox):
    terminalId: TerminalId


class Ticket(Input):
    """``id``: of a terminal, or of a sandbox for a new terminal in it."""

    id: TerminalId
    viewOnly: bool = False


class TerminalShape(TypedDict):
    id: str
    sandboxId: str
    title: str
    columns: int
    rows: int
    exitCode: int | None
    """null as long as it runs."""


class TicketShape(TypedDict):
    ticket: str
    """Good for one WebSocket, for a minute."""


def _command(values: Run) -> Command:
    return Command(
        argv=tuple(values.argv), cwd=values.cwd, env=values.env or {}, seconds=values.seconds
    )


@router.mutation("exec", access=SIGNED_IN, errors=USING, rest=route("POST", EXEC))
async def exec_(call: Call, values: Exec) -> ExecResult:
    """Run a program and wait for its end. It is killed when the caller goes away."""
    execution = await call.core.sandboxes.execute(call.actor, values.sandboxId, _command(values))
    done = await collect(execution, values.stdin, values.maxOutput)
    return {
        "id": done.id,
        "code": done.exit.code,
        "signal": done.exit.signal,
        "reason": done.exit.reason,
        "stdout": done.stdout,
        "stderr": done.stderr,
        "truncated": done.truncated,
    }


@router.subscription(
    "run",
    access=SIGNED_IN,
    errors=USING,
    rest=Rest("POST", f"{V1}{EXEC}", style=Style.V1, gives=EVENTS),
)
async def run(call: Call, values: Stream) -> AsyncIterator[Tracked[RunEvent]]:
    """Run a program and tell what it writes as it writes it: started, stdout and stderr, exit.

    It is killed when the caller goes away, and waits for a caller that does not read. A client
    that connects again is told so (conflict): it is not run a second time.
    """
    if values.lastEventId:
        raise Conflict(
            "the connection was lost, and the command was ended; run it again if need be"
        )
    execution = await call.core.sandboxes.execute(call.actor, values.sandboxId, _command(values))
    async for event in events(execution, values.stdin):
        yield Tracked(execution.id, event)


@router.query("commands", access=SIGNED_IN, errors=FINDING, rest=route("GET", f"{ONE}/commands"))
async def commands(call: Call, values: Page) -> list[CommandShape]:
    """What was run in a sandbox, by whom and how long, newest first."""
    rows = await call.core.sandboxes.commands(
        call.actor, values.sandboxId, values.limit, values.offset
    )
    return [
        {
            "id": row["id"],
            "userId": row["user_id"],
            "kind": row["kind"],
            "argv": row["argv"],
            "state": row["state"],
            "startedAt": row["started_at"],
            "endedAt": row["ended_at"],
            "exitCode": row["exit_code"],
            "reason": row["reason"],
            "outputBytes": row["output_bytes"],
        }
        for row in rows
    ]


@router.query("terminals", access=SIGNED_IN, errors=FINDING, rest=route("GET", f"{ONE}/terminals"))
async def terminals(call: Call, values: OfSandbox) -> list[TerminalShape]:
    """The terminals of a sandbox, oldest first; those that are over only for a while."""
    found = await call.core.terminals.list(call.actor, values.sandboxId)
    return [_terminal(terminal) for terminal in found]


@router.mutation(
    "closeTerminal",
    access=SIGNED_IN,
    errors=FINDING,
    rest=route("DELETE", f"{ONE}/terminals/{{terminalId}}"),
)
async def close_terminal(call: Call, values: OfTerminal) -> Success:
    """Hang up: the program in the terminal is ended."""
    await call.core.terminals.close(call.actor, values.terminalId)
    return {"success": True}


@router.mutation(
    "ticket", access=SIGNED_IN, errors=FINDING, rest=route("POST", f"{PLACE}/tickets", 201)
)
async def ticket(call: Call, values: Ticket) -> TicketShape:
    """A ticket that opens one WebSocket to a terminal, for clients without a session."""
    given = await call.core.terminals.ticket(call.actor, values.id, view_only=values.viewOnly)
    return {"ticket": given}


def _terminal(terminal: Terminal) -> TerminalShape:
    return {
        "id": terminal.id,
        "sandboxId": terminal.sandbox_id,
        "title": terminal.title,
        "columns": terminal.size.columns,
        "rows": terminal.size.rows,
        "exitCode": None if terminal.ended is None else terminal.ended.code,
    }
