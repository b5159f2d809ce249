"""The routes of a sandbox's toolbox for commands, sessions and terminals."""

from __future__ import annotations

import uuid
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.sandboxes.daytona.boxes import HOME, Box, PtySession, Session, SessionCommand
from tests.sandboxes.daytona.service import TOOLBOX, Answer, route

_reactor: Any = reactor


@route("POST", TOOLBOX + r"/process/execute", "execute")
async def _execute(box: Box, *, body: Any, **_: Any) -> Any:
    if not body.get("command"):
        raise Answer(400, "empty command")
    seconds = body.get("timeout") or 360
    done = await deferToThread(
        box.execute, body["command"], body.get("cwd"), body.get("envs") or {}, seconds
    )
    if done is None:
        raise Answer(408, "command execution timeout")
    return {"exitCode": done[0], "result": done[1]}


@route("POST", TOOLBOX + r"/process/session", "session-create")
async def _new_session(box: Box, *, body: Any, **_: Any) -> Any:
    if body["sessionId"] in box.sessions:
        raise Answer(409, "session already exists")
    box.sessions[body["sessionId"]] = Session(box, body["sessionId"])
    return 201, None


def _session(box: Box, session_id: str) -> Session:
    if session_id not in box.sessions:
        raise Answer(404, "session not found")
    return box.sessions[session_id]


def _described(command: SessionCommand) -> dict[str, Any]:
    code = {} if command.code is None else {"exitCode": command.code}
    return {"id": command.id, "command": command.text, **code}


@route("GET", TOOLBOX + r"/process/session/([^/]+)", "session")
async def _get_session(box: Box, session_id: str, **_: Any) -> Any:
    session = _session(box, session_id)
    return {
        "sessionId": session_id,
        "commands": [_described(one) for one in session.commands.values()],
    }


@route("DELETE", TOOLBOX + r"/process/session/([^/]+)", "session-delete")
async def _end_session(box: Box, session_id: str, **_: Any) -> Any:
    await deferToThread(_session(box, session_id).end)
    return 204, None


def _split(log: bytes) -> dict[str, str]:
    lines = {"out": "", "err": ""}
    for line in log.splitlines(keepends=True):
        lines["out" if line[:1] == b"\x01" else "err"] += line[3:].decode(errors="replace")
    return {"output": lines["out"] + lines["err"], "stdout": lines["out"], "stderr": lines["err"]}


@route("POST", TOOLBOX + r"/process/session/([^/]+)/exec", "session-exec")
async def _exec(box: Box, session_id: str, *, body: Any, **_: Any) -> Any:
    session = _session(box, session_id)
    background = bool(body.get("runAsync"))
    command = session.run(
        str(uuid.uuid4()),
        body["command"],
        suppress_echo=bool(body.get("suppressInputEcho")),
        wait_for_input=background,
    )
    if background:
        return 202, {"cmdId": command.id}
    while command.code is None:
        await _pause(0.01)
    return {"cmdId": command.id, "exitCode": command.code, **_split(command.log.read_bytes())}


async def _pause(seconds: float) -> None:
    done: Deferred[None] = Deferred()
    _reactor.callLater(seconds, done.callback, None)
    await done


def _command(box: Box, session_id: str, command_id: str) -> SessionCommand:
    command = _session(box, session_id).commands.get(command_id)
    if command is None:
        raise Answer(404, "command not found")
    return command


@route("GET", TOOLBOX + r"/process/session/([^/]+)/command/([^/]+)", "command")
async def _get_command(box: Box, session_id: str, command_id: str, **_: Any) -> Any:
    return _described(_command(box, session_id, command_id))


@route("GET", TOOLBOX + r"/process/session/([^/]+)/command/([^/]+)/logs", "logs")
async def _logs(box: Box, session_id: str, command_id: str, **_: Any) -> Any:
    return _split(_command(box, session_id, command_id).log.read_bytes())


@route("POST", TOOLBOX + r"/process/session/([^/]+)/command/([^/]+)/input", "input")
async def _input(box: Box, session_id: str, command_id: str, *, body: Any, **_: Any) -> Any:
    command = _command(box, session_id, command_id)
    if command.code is not None:
        raise Answer(410, "command has already completed")
    try:
        await deferToThread(box.sessions[session_id].send_input, command, body["data"])
    except OSError as error:
        raise Answer(500, f"failed to write to input pipe: {error}") from None
    return 204, None


def new_pty(
    box: Box, terminal_id: str, cwd: str | None, env: dict[str, str], columns: int, rows: int
) -> PtySession:
    if terminal_id in box.terminals:
        raise Answer(409, "PTY session exists")
    if columns > 1000 or rows > 1000:
        raise Answer(400, "invalid value for cols - must be less than 1000")
    terminal = PtySession(box, terminal_id, cwd or HOME, env, columns, rows)
    box.terminals[terminal_id] = terminal
    return terminal


@route("POST", TOOLBOX + r"/process/pty", "pty-create")
async def _create_pty(box: Box, *, body: Any, **_: Any) -> Any:
    new_pty(
        box,
        body["id"],
        body.get("cwd"),
        body.get("envs") or {},
        body.get("cols") or 80,
        body.get("rows") or 24,
    )
    return 201, {"sessionId": body["id"]}


def _pty(box: Box, terminal_id: str) -> PtySession:
    if terminal_id not in box.terminals:
        raise Answer(404, "PTY session not found")
    return box.terminals[terminal_id]


def _pty_info(terminal: PtySession) -> dict[str, Any]:
    return {
        "id": terminal.id,
        "cwd": terminal.cwd,
        "envs": terminal.envs,
        "cols": terminal.columns,
        "rows": terminal.rows,
        "createdAt": "2026-11-22T00:00:00Z",
        "active": terminal.exit_code is None,
        "lazyStart": False,
    }


@route("GET", TOOLBOX + r"/process/pty", "pty-list")
async def _list_ptys(box: Box, **_: Any) -> Any:
    return {"sessions": [_pty_info(one) for one in box.terminals.values()]}


@route("GET", TOOLBOX + r"/process/pty/([^/]+)", "pty")
async def _get_pty(box: Box, terminal_id: str, **_: Any) -> Any:
    return _pty_info(_pty(box, terminal_id))


@route("POST", TOOLBOX + r"/process/pty/([^/]+)/resize", "pty-resize")
async def _resize(box: Box, terminal_id: str, *, body: Any, **_: Any) -> Any:
    terminal = box.terminals.get(terminal_id)
    if terminal is None:
        raise Answer(410, "PTY session is not active")
    terminal.resize(body["cols"], body["rows"])
    return _pty_info(terminal)


@route("DELETE", TOOLBOX + r"/process/pty/([^/]+)", "pty-delete")
async def _delete_pty(box: Box, terminal_id: str, **_: Any) -> Any:
    await deferToThread(_pty(box, terminal_id).kill)
    return {"message": "PTY session deleted"}
