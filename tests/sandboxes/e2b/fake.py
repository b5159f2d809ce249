"""E2B, as its official clients see it: a control plane, and the way to the daemons, on one port.

Answers hold what E2B's openapi.yml requires; E2B's own client, which reads them strictly, is run
against it in ``test_official_client.py``. All requests are recorded.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests.sandboxes.e2b.daemons import abort, ask_daemon, forward, send
from tests.sandboxes.e2b.records import KEY, OTHER_KEY, Box, Fault, Record, Refusal
from tests.sandboxes.e2b.walls import Walls
from wit.runtime import Runtime

log = Logger()


class FakeE2B:
    """``start`` listens on 127.0.0.1; ``url`` serves for E2B_API_URL and E2B_SANDBOX_URL alike."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.runtime = runtime
        self.records: list[Record] = []
        self.faults: list[Fault] = []
        self.boxes: dict[str, Box] = {}
        self.keys = {KEY, OTHER_KEY}
        self.page = 100
        """Most sandboxes on one page of a list."""
        self._folder = folder
        self._once: dict[str, str] = {}
        self._port: Any = None
        self._ready: Deferred[Walls]
        """One that is made before it is asked for, as making it takes a second."""

    async def start(self) -> None:
        self._make_ready()
        site = Site(_Door(self))
        self._port = self.runtime.reactor.listenTCP(0, site, interface="127.0.0.1")

    async def stop(self) -> None:
        for box in list(self.boxes.values()):
            await self.vanish(box.id)
        walls = await self._ready
        await self.runtime.in_thread(walls.remove)
        await self._port.stopListening()

    def _make_ready(self) -> None:
        self._ready = self.runtime.in_thread(Walls, self._folder / f"walls-{uuid.uuid4().hex}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.getHost().port}"

    # What tests do to it

    async def vanish(self, sandbox_id: str) -> None:
        """The sandbox is gone, as after a crash of its machine."""
        box = self.boxes.pop(sandbox_id)
        await self.runtime.in_thread(box.walls.remove)
        self.cut(box)

    def cut(self, box: Box) -> None:
        """Break the connections of all streams of a sandbox, in the middle."""
        for request in list(box.streams):
            abort(request)

    def asked(self, path: str) -> list[Record]:
        """The recorded requests whose path ends so."""
        return [record for record in self.records if record.path.endswith(path)]

    # The control plane

    async def answer(self, record: Record) -> tuple[int, Any, Mapping[str, str]]:
        key = record.headers.get("x-api-key", "")
        if key not in self.keys:
            raise Refusal(401, "Invalid API key")
        parts = record.path.removeprefix("/v2").strip("/").split("/")
        match (record.method, parts):
            case ("POST", ["sandboxes"]):
                return 201, (await self._create(key, record)).made, {}
            case ("GET", ["sandboxes"]):
                return self._list(key, record)
            case ("GET", ["sandboxes", sandbox_id]):
                box = self._box(key, sandbox_id)
                return 200, {**box.detail, "envdAccessToken": box.token, "domain": None}, {}
            case ("DELETE", ["sandboxes", sandbox_id]):
                await self.vanish(self._box(key, sandbox_id).id)
                return 204, None, {}
            case ("POST", ["sandboxes", sandbox_id, "timeout"]):
                self._live(self._box(key, sandbox_id), record.json["timeout"])
                return 204, None, {}
            case ("POST", ["sandboxes", sandbox_id, "pause"]):
                box = self._box(key, sandbox_id)
                if box.state == "paused":
                    raise Refusal(409, f"sandbox {sandbox_id} is already paused")
                await self._pause(box)
                return 204, None, {}
            case ("POST", ["sandboxes", sandbox_id, "connect"]):
                box = self._box(key, sandbox_id)
                self._live(box, record.json.get("timeout", 300))
                if box.state == "running":
                    return 200, box.made, {}
                await self.runtime.in_thread(box.walls.thaw)
                box.state = "running"
                return 201, box.made, {}
            case ("GET", ["sandboxes", sandbox_id, "metrics"]):
                self._box(key, sandbox_id)
                return 200, [_metric(1, 100), _metric(2, 200)], {}
        raise Refusal(404, "no such route")

    def _box(self, key: str, sandbox_id: str) -> Box:
        box = self.boxes.get(sandbox_id)
        if box is None or box.key != key:
            raise Refusal(404, f'sandbox "{sandbox_id}" doesn\'t exist')
        return box

    async def _create(self, key: str, record: Record) -> Box:
        asked = record.json
        if asked["templateID"] not in ("base", "large"):
            raise Refusal(404, f"template '{asked['templateID']}' not found")
        seconds = asked.get("timeout", 300)
        if seconds > 86400:
            raise Refusal(400, "Timeout cannot be greater than 24 hours")
        once = record.headers.get("idempotency-key")
        if once in self._once and self._once[once] in self.boxes:
            return self.boxes[self._once[once]]
        sandbox_id = "i" + uuid.uuid4().hex[:19]
        making = self._ready
        self._make_ready()
        walls = await making
        now = datetime.now(UTC)
        box = Box(
            id=sandbox_id,
            key=key,
            walls=walls,
            request=asked,
            token=uuid.uuid4().hex,
            started_at=now,
            end_at=now + timedelta(seconds=seconds),
        )
        self.boxes[sandbox_id] = box
        if once is not None:
            self._once[once] = sandbox_id
        init = {"accessToken": box.token, "envVars": asked.get("envVars") or {}}
        await ask_daemon(
            self.runtime, box, Record("POST", "/init", {}, {}, json.dumps(init).encode()), "/init"
        )
        return box

    def _list(self, key: str, record: Record) -> tuple[int, Any, Mapping[str, str]]:
        pairs = parse_qsl(record.query.get("metadata", ""))
        wanted = {unquote(name): unquote(value) for name, value in pairs}
        states = record.query.get("state", "running,paused").split(",")
        found = [
            box
            for box in self.boxes.values()
            if box.key == key
            and box.state in states
            and wanted.items() <= box.detail["metadata"].items()
        ]
        at = int(record.query.get("nextToken") or 0)
        size = min(self.page, int(record.query.get("limit", 100)))
        more = {"X-Next-Token": str(at + size)} if len(found) > at + size else {}
        return 200, [box.detail for box in found[at : at + size]], more

    def _live(self, box: Box, seconds: int) -> None:
        box.end_at = datetime.now(UTC) + timedelta(seconds=seconds)

    async def _pause(self, box: Box) -> None:
        await self.runtime.in_thread(box.walls.freeze)
        box.state = "paused"
        self.cut(box)

    async def time_is_up(self, sandbox_id: str) -> None:
        """The sandbox's time is over."""
        box = self.boxes[sandbox_id]
        if box.request.get("autoPause"):
            await self._pause(box)
        else:
            await self.vanish(sandbox_id)

    def find(self, record: Record) -> Box | None:
        box = self.boxes.get(record.headers.get("e2b-sandbox-id", ""))
        return box if box is not None and box.state == "running" else None


def _metric(at: int, used: int) -> dict[str, Any]:
    return {
        "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
        "timestampUnix": at,
        "cpuCount": 2,
        "cpuUsedPct": 1.5,
        "memUsed": used,
        "memTotal": 512 * 1024 * 1024,
        "memCache": 0,
        "diskUsed": used,
        "diskTotal": 1024 * 1024 * 1024,
    }


class _Door(Resource):
    isLeaf = True

    def __init__(self, fake: FakeE2B) -> None:
        super().__init__()
        self._fake = fake

    def render(self, request: Request) -> int:
        Deferred.fromCoroutine(self._render(request)).addErrback(self._failed, request)
        return NOT_DONE_YET

    def _failed(self, failure: Failure, request: Request) -> None:
        log.failure("the fake failed", failure)
        if not request._disconnected:
            abort(request)

    async def _render(self, request: Request) -> None:
        target = request.uri.decode()
        parts = urlsplit(target)
        record = Record(
            method=request.method.decode(),
            path=parts.path,
            query={name: values[0] for name, values in parse_qs(parts.query).items()},
            headers={
                name.decode().lower(): values[0].decode()
                for name, values in request.requestHeaders.getAllRawHeaders()
            },
            body=request.content.read() if request.content else b"",
        )
        self._fake.records.append(record)
        fault = next((one for one in self._fake.faults if one.path in record.path), None)
        if fault is not None:
            fault.times -= 1
            if not fault.times:
                self._fake.faults.remove(fault)
            if fault.after:
                await self._fake.answer(record)
            if fault.hang:
                return
            if fault.cut:
                abort(request)
                return
            for name, value in fault.headers.items():
                request.setHeader(name, value)
            request.setResponseCode(fault.status)
            request.write(fault.body)
            request.finish()
            return
        if record.headers.get("e2b-sandbox-id") or not _is_control(record.path):
            await forward(self._fake.runtime, self._fake.find(record), record, target, request)
            return
        try:
            status, answer, headers = await self._fake.answer(record)
        except Refusal as refusal:
            status, headers = refusal.status, {}
            answer = {"code": refusal.status, "message": str(refusal)}
        for name, value in headers.items():
            request.setHeader(name, value)
        send(request, status, answer)


def _is_control(path: str) -> bool:
    return path.removeprefix("/v2").startswith("/sandboxes")
