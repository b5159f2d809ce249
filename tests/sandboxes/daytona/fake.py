"""A fake of Daytona that its official SDK takes for the real thing (see test_sdk.py)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import attrs
from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.threads import deferToThread
from twisted.protocols.basic import FileSender
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from tests.sandboxes.daytona.boxes import (
    HOME,
    SLOW_CONSUMER,
    Box,
    PtySession,
    Session,
    SessionCommand,
    go_mode,
)

KEY = "dtn_a-key-of-the-tests"
_reactor: Any = reactor


class Answer(Exception):
    """An error that the fake answers with."""

    def __init__(self, status: int, message: str, *, plain: bool = False) -> None:
        self.status, self.message, self.plain = status, message, plain


@attrs.define
class Fault:
    """Answer so many matching requests with a status; ``after``: let the work be done first."""

    pattern: str
    status: int
    times: int = 1
    headers: dict[str, str] = attrs.field(factory=dict)
    after: bool = False


@attrs.frozen
class Seen:
    """A request, and the answer if it was JSON."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    route: str
    status: int
    answer: Any


@attrs.define
class Row:
    """A sandbox of the control plane."""

    box: Box
    made: dict[str, Any]
    key: str
    state: str
    polls: int
    """GETs until it reaches ``then``."""
    then: str = "started"
    error: str | None = None


class FakeDaytona:
    """The whole service on one port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {KEY}
        self.rows: dict[str, Row] = {}
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.slow_polls = 1
        self.next_end = "started"
        self.log_clients: list[Any] = []
        self.cut_after: int | None = None
        """Bytes after which the next connections that follow a log are cut, each once."""
        self.port: Any = None

    def listen(self) -> None:
        self.port = _reactor.listenTCP(0, Site(_Door(self)), interface="127.0.0.1")

    async def close(self) -> None:
        for row in list(self.rows.values()):
            await deferToThread(row.box.end)
        await self.port.stopListening()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port.getHost().port}"

    def describe(self, row_id: str) -> dict[str, Any]:
        row = self.rows[row_id]
        made = row.made
        return {
            "id": row_id,
            "organizationId": "org",
            "name": made.get("name") or row_id,
            "user": made.get("user") or "daytona",
            "env": made.get("env") or {},
            "labels": made.get("labels") or {},
            "public": bool(made.get("public")),
            "networkBlockAll": bool(made.get("networkBlockAll")),
            "kvm": False,
            "target": made.get("target") or "us",
            "cpu": made.get("cpu") or 1,
            "gpu": 0,
            "memory": made.get("memory") or 1,
            "disk": made.get("disk") or 3,
            "state": row.state,
            "desiredState": row.then,
            "errorReason": row.error,
            "autoStopInterval": made.get("autoStopInterval", 15),
            "createdAt": "2026-11-22T00:00:00.000Z",
            "toolboxProxyUrl": f"{self.origin}/toolbox",
        }


Handler = Callable[..., Awaitable[Any]]
ROUTES: list[tuple[str, re.Pattern[str], str, Handler]] = []


def route(method: str, pattern: str, name: str) -> Callable[[Handler], Handler]:
    def add(handler: Handler) -> Handler:
        ROUTES.append((method, re.compile(pattern + r"\Z"), name, handler))
        return handler

    return add


class _Door(Resource):
    isLeaf = True

    def __init__(self, fake: FakeDaytona) -> None:
        super().__init__()
        self.fake = fake

    def render(self, request: Any) -> Any:
        if request.getHeader("upgrade"):
            try:
                self._admit(request)
                return self._socket(request)
            except Answer as answer:
                request.setResponseCode(answer.status)
                return b"{}"
        working = Deferred.fromCoroutine(self._answer(request)).addErrback(_report)
        if not working.called:
            request.notifyFinish().addErrback(lambda _: working.cancel())
        return NOT_DONE_YET

    def _admit(self, request: Any) -> None:
        header = request.getHeader("authorization") or ""
        if header.removeprefix("Bearer ") not in self.fake.keys or not header.startswith("Bearer "):
            raise Answer(401, "Invalid credentials")

    def _box(self, request: Any, box_id: str) -> Box:
        row = self.fake.rows.get(box_id)
        key = (request.getHeader("authorization") or "").removeprefix("Bearer ")
        if row is None or row.key != key:
            raise Answer(404, f"Sandbox {box_id} not found")
        if row.state != "started":
            raise Answer(400, "Sandbox is not running")
        return row.box

    async def _answer(self, request: Any) -> None:
        path = request.path.decode()
        method = request.method.decode()
        query = (
            {name.decode(): values[0].decode() for name, values in request.args.items()}
            if b"?" in request.uri
            else {}
        )
        content = request.content.read()
        is_json = (request.getHeader("content-type") or "").startswith("application/json")
        body = json.loads(content) if content and is_json else content
        name, status, answer = "", 200, None
        try:
            self._admit(request)
            fault = next(
                (one for one in self.fake.faults if re.search(one.pattern, f"{method} {path}")),
                None,
            )
            if fault is not None:
                fault.times -= 1
                if not fault.times:
                    self.fake.faults.remove(fault)
                for header, value in fault.headers.items():
                    request.setHeader(header, value)
                if not fault.after:
                    raise Answer(fault.status, "on purpose")
            for of_method, pattern, name, handler in ROUTES:
                found = pattern.match(path)
                if found and of_method == method:
                    parts = [unquote(part) for part in found.groups()]
                    if path.startswith("/toolbox/"):
                        subject: Any = self._box(request, parts.pop(0))
                    else:
                        subject = self.fake
                    answer = await handler(subject, *parts, query=query, body=body, request=request)
                    break
            else:
                raise Answer(404, f"Cannot {method} {path}")
            if fault is not None:
                raise Answer(fault.status, "on purpose, but it was done")
            if isinstance(answer, tuple):
                status, answer = answer
        except Answer as error:
            status = error.status
            now = datetime.now(UTC).isoformat()
            answer = {
                "statusCode": status,
                "message": error.message,
                "path": path,
                "timestamp": now,
                "error": error.message,
                "method": method,
            }
        headers = {
            key.decode().lower(): values[0].decode()
            for key, values in request.requestHeaders.getAllRawHeaders()
        }
        recorded = answer if not isinstance(answer, Path) else None
        self.fake.seen.append(Seen(method, path, query, headers, body, name, status, recorded))
        if isinstance(answer, Path):
            file = answer.open("rb")
            request.setHeader("content-type", "application/octet-stream")
            request.setHeader("content-length", str(os.fstat(file.fileno()).st_size))
            with file:
                await FileSender().beginFileTransfer(file, request)
            request.finish()
            return
        request.setResponseCode(status)
        if isinstance(answer, bytes):
            request.write(answer)
        elif answer is not None:
            request.setHeader("content-type", "application/json")
            request.write(json.dumps(answer).encode())
        request.finish()

    def _socket(self, request: Any) -> Any:
        path = request.path.decode()
        log = re.fullmatch(r"/toolbox/([^/]+)/process/session/([^/]+)/command/([^/]+)/logs", path)
        pty = re.fullmatch(r"/toolbox/([^/]+)/process/pty/([^/]+)(?:/connect)?", path)
        subprotocols = (request.getHeader("sec-websocket-protocol") or "").split(",")
        protocol: Any
        if log:
            box = self._box(request, log[1])
            session = box.sessions.get(unquote(log[2]))
            command = session.commands.get(unquote(log[3])) if session else None
            if session is None or command is None:
                raise Answer(404, "command not found")
            protocol = _LogSocket(self.fake, session, command)
        elif pty:
            box = self._box(request, pty[1])
            if pty[2] == "create-connect":
                args = {key.decode(): values[0].decode() for key, values in request.args.items()}
                terminal = _new_pty(
                    box,
                    args["id"],
                    args.get("cwd"),
                    {},
                    int(args.get("cols", 80)),
                    int(args.get("rows", 24)),
                )
            else:
                found = box.terminals.get(unquote(pty[2]))
                if found is None:
                    raise Answer(404, "PTY session not found")
                terminal = found
            protocol = _PtySocket(
                self.fake, terminal, any("Exit-Control" in one for one in subprotocols)
            )
        else:
            raise Answer(404, "no such socket")
        method = "GET"
        headers = {
            key.decode().lower(): values[0].decode()
            for key, values in request.requestHeaders.getAllRawHeaders()
        }
        self.fake.seen.append(Seen(method, path, {}, headers, None, "socket", 101, None))
        factory: Any = WebSocketServerFactory(
            protocols=[one.strip() for one in subprotocols if one.strip()]
        )
        factory.protocol = lambda: protocol
        factory.setProtocolOptions(maxMessagePayloadSize=65536, failByDrop=False)
        return WebSocketResource(factory).render(request)


def _report(failure: Any) -> None:
    """What went wrong in the fake itself; a client that went away is nothing."""
    if failure.check(CancelledError) is None:
        failure.printTraceback()


class _Socket(WebSocketServerProtocol):
    transport: Any

    def __init__(self, fake: FakeDaytona) -> None:
        super().__init__()
        self.fake = fake
        self.paused = False
        self.gone = False

    def onConnect(self, request: Any) -> str | None:
        chosen = [one for one in request.protocols if "Exit-Control" in one or "SDK-Version" in one]
        return chosen[0] if chosen else None

    def onOpen(self) -> None:
        with contextlib.suppress(Exception):
            self.transport.unregisterProducer()
        self.transport.registerProducer(_Flow(self), True)

    def onClose(self, wasClean: bool, code: Any, reason: Any) -> None:
        self.gone = True

    def flow(self) -> None:
        """It may be written again."""

    def close(self, code: int, reason: str) -> None:
        if not self.gone:
            self.gone = True
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode()[:120], isReply=False)
            self.transport.loseConnection()

    def cut(self) -> None:
        self.gone = True
        self.transport.abortConnection()


@implementer(IPushProducer)
class _Flow:
    def __init__(self, socket: _Socket) -> None:
        self.socket = socket

    def pauseProducing(self) -> None:
        self.socket.paused = True

    def resumeProducing(self) -> None:
        self.socket.paused = False
        self.socket.flow()

    def stopProducing(self) -> None:
        self.socket.gone = True


class _LogSocket(_Socket):
    def __init__(self, fake: FakeDaytona, session: Session, command: SessionCommand) -> None:
        super().__init__(fake)
        self.session, self.command = session, command
        self.at = 0

    def onOpen(self) -> None:
        super().onOpen()
        self.log_file = self.command.log.open("rb")
        self.cut_at, self.fake.cut_after = self.fake.cut_after, None
        self.tick()

    def tick(self) -> None:
        if self.gone:
            self.log_file.close()
            return
        if not self.paused:
            ended = self.command.code is not None or self.session.ended
            for _ in range(16):
                data = self.log_file.read(8191)
                if data:
                    self.at += len(data)
                    self.sendMessage(data, isBinary=True)
                if self.cut_at is not None and self.at >= self.cut_at:
                    self.cut()
                    break
                if not data:
                    if ended:
                        self.close(1000, "")
                    break
                if self.paused:
                    break
        _reactor.callLater(0.005, self.tick)


class _PtySocket(_Socket):
    def __init__(self, fake: FakeDaytona, terminal: PtySession, exit_control: bool) -> None:
        super().__init__(fake)
        self.terminal, self.exit_control = terminal, exit_control
        self.queue: deque[bytes] = deque()

    def onOpen(self) -> None:
        super().onOpen()
        self.sendMessage(json.dumps({"type": "control", "status": "connected"}).encode())
        self.terminal.clients.append(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.terminal.write(payload)

    def onClose(self, wasClean: bool, code: Any, reason: Any) -> None:
        super().onClose(wasClean, code, reason)
        if self in self.terminal.clients:
            self.terminal.clients.remove(self)

    def show(self, data: bytes) -> None:
        self.queue.append(data)
        self.flow()
        if len(self.queue) > SLOW_CONSUMER:
            self.terminal.clients.remove(self)
            self.queue.clear()
            self.close(1008, "slow consumer")

    def flow(self) -> None:
        while self.queue and not self.paused and not self.gone:
            self.sendMessage(self.queue.popleft(), isBinary=True)

    def over(self, code: int) -> None:
        if self.exit_control and not self.gone:
            self.sendMessage(
                json.dumps({"type": "control", "status": "exited", "exitCode": code}).encode()
            )
        self.close(1000 if code == 0 else 1011, json.dumps({"exitCode": code}))


# the control plane


@route("POST", r"/api/sandbox", "create")
async def _create(fake: FakeDaytona, *, body: Any, request: Any, **_: Any) -> Any:
    row_id = str(uuid.uuid4())
    network = not body.get("networkBlockAll")
    box = Box(row_id, fake.folder / row_id, body.get("env") or {}, network)
    key = request.getHeader("authorization").removeprefix("Bearer ")
    state = "building_snapshot" if "buildInfo" in body else "creating"
    row = Row(
        box, body, key, state if fake.slow_polls else "started", fake.slow_polls, fake.next_end
    )
    if fake.next_end != "started":
        row.error = "the image is broken"
    fake.rows[row_id] = row
    return fake.describe(row_id)


def _row(fake: FakeDaytona, row_id: str, request: Any) -> Row:
    key = request.getHeader("authorization").removeprefix("Bearer ")
    row = fake.rows.get(row_id)
    if row is None or row.key != key:
        raise Answer(404, f"Sandbox with ID {row_id} not found")
    return row


@route("GET", r"/api/sandbox", "list")
async def _list(fake: FakeDaytona, *, query: Any, request: Any, **_: Any) -> Any:
    labels = json.loads(query.get("labels", "{}"))
    key = request.getHeader("authorization").removeprefix("Bearer ")
    found = [
        row_id
        for row_id, row in fake.rows.items()
        if row.key == key and labels.items() <= (row.made.get("labels") or {}).items()
    ]
    start, size = int(query.get("cursor") or 0), min(int(query.get("limit") or 100), 3)
    more = str(start + size) if start + size < len(found) else None
    return {
        "items": [fake.describe(one) for one in found[start : start + size]],
        "nextCursor": more,
    }


@route("GET", r"/api/sandbox/([^/]+)", "get")
async def _get(fake: FakeDaytona, row_id: str, *, request: Any, **_: Any) -> Any:
    row = _row(fake, row_id, request)
    if row.polls:
        row.polls -= 1
    else:
        row.state = row.then
    return fake.describe(row_id)


@route("DELETE", r"/api/sandbox/([^/]+)", "delete")
async def _delete(fake: FakeDaytona, row_id: str, *, request: Any, **_: Any) -> Any:
    row = _row(fake, row_id, request)
    row.state = row.then = "destroyed"
    answer = fake.describe(row_id)
    del fake.rows[row_id]
    await deferToThread(row.box.end)
    return answer


@route("POST", r"/api/sandbox/([^/]+)/(start|stop)", "start-stop")
async def _change(fake: FakeDaytona, row_id: str, what: str, *, request: Any, **_: Any) -> Any:
    row = _row(fake, row_id, request)
    row.state, row.then = ("starting", "started") if what == "start" else ("stopping", "stopped")
    row.polls = fake.slow_polls
    if what == "stop":
        await deferToThread(row.box.end)
    return fake.describe(row_id)


@route("PUT", r"/api/sandbox/([^/]+)/labels", "labels")
async def _labels(fake: FakeDaytona, row_id: str, *, body: Any, request: Any, **_: Any) -> Any:
    _row(fake, row_id, request).made["labels"] = body["labels"]
    return {"labels": body["labels"]}


@route("POST", r"/api/sandbox/([^/]+)/autostop/([0-9]+)", "autostop")
async def _autostop(fake: FakeDaytona, row_id: str, minutes: str, *, request: Any, **_: Any) -> Any:
    _row(fake, row_id, request).made["autoStopInterval"] = int(minutes)
    return fake.describe(row_id)


# the toolbox

T = r"/toolbox/([^/]+)"


@route("POST", T + r"/process/execute", "execute")
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


@route("POST", T + r"/process/session", "session-create")
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


@route("GET", T + r"/process/session/([^/]+)", "session")
async def _get_session(box: Box, session_id: str, **_: Any) -> Any:
    session = _session(box, session_id)
    return {
        "sessionId": session_id,
        "commands": [_described(one) for one in session.commands.values()],
    }


@route("DELETE", T + r"/process/session/([^/]+)", "session-delete")
async def _end_session(box: Box, session_id: str, **_: Any) -> Any:
    await deferToThread(_session(box, session_id).end)
    return 204, None


def _split(log: bytes) -> dict[str, str]:
    lines = {"out": "", "err": ""}
    for line in log.splitlines(keepends=True):
        lines["out" if line[:1] == b"\x01" else "err"] += line[3:].decode(errors="replace")
    return {"output": lines["out"] + lines["err"], "stdout": lines["out"], "stderr": lines["err"]}


@route("POST", T + r"/process/session/([^/]+)/exec", "session-exec")
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


@route("GET", T + r"/process/session/([^/]+)/command/([^/]+)", "command")
async def _get_command(box: Box, session_id: str, command_id: str, **_: Any) -> Any:
    return _described(_command(box, session_id, command_id))


@route("GET", T + r"/process/session/([^/]+)/command/([^/]+)/logs", "logs")
async def _logs(box: Box, session_id: str, command_id: str, **_: Any) -> Any:
    return _split(_command(box, session_id, command_id).log.read_bytes())


@route("POST", T + r"/process/session/([^/]+)/command/([^/]+)/input", "input")
async def _input(box: Box, session_id: str, command_id: str, *, body: Any, **_: Any) -> Any:
    command = _command(box, session_id, command_id)
    if command.code is not None:
        raise Answer(410, "command has already completed")
    try:
        await deferToThread(box.sessions[session_id].send_input, command, body["data"])
    except OSError as error:
        raise Answer(500, f"failed to write to input pipe: {error}") from None
    return 204, None


def _new_pty(
    box: Box, terminal_id: str, cwd: str | None, env: dict[str, str], columns: int, rows: int
) -> PtySession:
    if terminal_id in box.terminals:
        raise Answer(409, "PTY session exists")
    if columns > 1000 or rows > 1000:
        raise Answer(400, "invalid value for cols - must be less than 1000")
    terminal = PtySession(box, terminal_id, cwd or HOME, env, columns, rows)
    box.terminals[terminal_id] = terminal
    return terminal


@route("POST", T + r"/process/pty", "pty-create")
async def _create_pty(box: Box, *, body: Any, **_: Any) -> Any:
    _new_pty(
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


@route("GET", T + r"/process/pty", "pty-list")
async def _list_ptys(box: Box, **_: Any) -> Any:
    return {"sessions": [_pty_info(one) for one in box.terminals.values()]}


@route("GET", T + r"/process/pty/([^/]+)", "pty")
async def _get_pty(box: Box, terminal_id: str, **_: Any) -> Any:
    return _pty_info(_pty(box, terminal_id))


@route("POST", T + r"/process/pty/([^/]+)/resize", "pty-resize")
async def _resize(box: Box, terminal_id: str, *, body: Any, **_: Any) -> Any:
    terminal = box.terminals.get(terminal_id)
    if terminal is None:
        raise Answer(410, "PTY session is not active")
    terminal.resize(body["cols"], body["rows"])
    return _pty_info(terminal)


@route("DELETE", T + r"/process/pty/([^/]+)", "pty-delete")
async def _delete_pty(box: Box, terminal_id: str, **_: Any) -> Any:
    await deferToThread(_pty(box, terminal_id).kill)
    return {"message": "PTY session deleted"}


def _file_info(box: Box, path: str) -> dict[str, Any]:
    try:
        info = box.host(path).stat()
    except FileNotFoundError:
        raise Answer(404, f"stat {path}: no such file or directory") from None
    except OSError as error:
        raise Answer(400, str(error)) from None
    modified = datetime.fromtimestamp(info.st_mtime, UTC).isoformat()
    return {
        "name": path.rstrip("/").rpartition("/")[2],
        "isDir": os.path.isdir(box.host(path)),
        "size": info.st_size,
        "modTime": modified,
        "mode": go_mode(info.st_mode),
        "permissions": f"{info.st_mode & 0o777:04o}",
        "owner": str(info.st_uid),
        "group": str(info.st_gid),
    }


@route("GET", T + r"/files/info", "file-info")
async def _info(box: Box, *, query: Any, **_: Any) -> Any:
    return _file_info(box, _absolute(query["path"]))


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"{HOME}/{path}"


@route("GET", T + r"/files", "files")
async def _files(box: Box, *, query: Any, **_: Any) -> Any:
    path = _absolute(query.get("path") or ".")
    _file_info(box, path)
    infos = []
    for name in sorted(os.listdir(box.host(path))):
        with contextlib.suppress(Answer):
            infos.append(_file_info(box, f"{path}/{name}"))
    return infos


@route("DELETE", T + r"/files", "file-delete")
async def _remove(box: Box, *, query: Any, **_: Any) -> Any:
    os.unlink(box.host(_absolute(query["path"]), follow=False))
    return 204, None


@route("GET", T + r"/files/download", "download")
async def _download(box: Box, *, query: Any, **_: Any) -> Any:
    path = _absolute(query["path"])
    if _file_info(box, path)["isDir"]:
        raise Answer(400, "path must be a file")
    return box.host(path)


@route("POST", T + r"/files/bulk-upload", "bulk-upload")
async def _upload(box: Box, *, body: Any, request: Any, **_: Any) -> Any:
    paths: dict[str, str] = {}
    for name, content in _multipart(request.getHeader("content-type"), body):
        index, _dot, what = name.rpartition(".")
        if what == "path":
            paths[index] = content.decode().strip()
            continue
        if index not in paths:
            raise Answer(400, f"{name}: missing .path metadata")
        target = box.host(_absolute(paths[index]))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return {"files": [{"path": path, "bytes": 0} for path in paths.values()]}


def _multipart(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    assert boundary is not None
    parts = []
    for piece in body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]+)"', head)
        assert name is not None
        parts.append((name[1].decode(), content.removesuffix(b"\r\n")))
    return parts


@route("POST", T + r"/files/bulk-download", "bulk-download")
async def _bulk_download(box: Box, *, body: Any, request: Any, **_: Any) -> Any:
    boundary = uuid.uuid4().hex
    answer = b""
    for path in body["paths"]:
        found = box.host(_absolute(path))
        part, content = (
            ("file", found.read_bytes()) if found.is_file() else ("error", b"no such file")
        )
        answer += (
            (
                f'--{boundary}\r\nContent-Disposition: form-data; name="{part}"; filename="{path}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            ).encode()
            + content
            + b"\r\n"
        )
    request.setHeader("content-type", f"multipart/form-data; boundary={boundary}")
    return answer + f"--{boundary}--\r\n".encode()


@route("GET", T + r"/(work-dir|user-home-dir)", "dir")
async def _dir(box: Box, which: str, **_: Any) -> Any:
    return {"dir": HOME}
