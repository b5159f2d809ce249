"""A fake of Daytona that its official SDK takes for the real thing (see test_sdk.py)."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.protocols.basic import FileSender
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.sandboxes.daytona import control, files, processes  # noqa: F401 (they add routes)
from tests.sandboxes.daytona.boxes import Box
from tests.sandboxes.daytona.service import ROUTES, Answer, Seen, Service
from tests.sandboxes.daytona.sockets import LogSocket, PtySocket

_reactor: Any = reactor


class FakeDaytona(Service):
    """The whole service on one port."""

    def listen(self) -> None:
        self.port = _reactor.listenTCP(0, Site(_Door(self)), interface="127.0.0.1")

    async def close(self) -> None:
        for row in list(self.rows.values()):
            await deferToThread(row.box.end)
        await self.port.stopListening()


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
            protocol = LogSocket(self.fake, session, command)
        elif pty:
            box = self._box(request, pty[1])
            if pty[2] == "create-connect":
                args = {key.decode(): values[0].decode() for key, values in request.args.items()}
                terminal = processes.new_pty(
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
            protocol = PtySocket(
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
