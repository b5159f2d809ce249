"""The routes of the control plane: sandboxes, their labels, their states."""

from __future__ import annotations

import json
import uuid
from typing import Any

from twisted.internet.threads import deferToThread

from tests.sandboxes.daytona.boxes import Box
from tests.sandboxes.daytona.service import Answer, Row, Service, route


@route("POST", r"/api/sandbox", "create")
async def _create(fake: Service, *, body: Any, request: Any, **_: Any) -> Any:
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


def _row(fake: Service, row_id: str, request: Any) -> Row:
    key = request.getHeader("authorization").removeprefix("Bearer ")
    row = fake.rows.get(row_id)
    if row is None or row.key != key:
        raise Answer(404, f"Sandbox with ID {row_id} not found")
    return row


@route("GET", r"/api/sandbox", "list")
async def _list(fake: Service, *, query: Any, request: Any, **_: Any) -> Any:
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
async def _get(fake: Service, row_id: str, *, request: Any, **_: Any) -> Any:
    row = _row(fake, row_id, request)
    if row.polls:
        row.polls -= 1
    else:
        row.state = row.then
    return fake.describe(row_id)


@route("DELETE", r"/api/sandbox/([^/]+)", "delete")
async def _delete(fake: Service, row_id: str, *, request: Any, **_: Any) -> Any:
    row = _row(fake, row_id, request)
    row.state = row.then = "destroyed"
    answer = fake.describe(row_id)
    del fake.rows[row_id]
    await deferToThread(row.box.end)
    return answer


@route("POST", r"/api/sandbox/([^/]+)/(start|stop)", "start-stop")
async def _change(fake: Service, row_id: str, what: str, *, request: Any, **_: Any) -> Any:
    row = _row(fake, row_id, request)
    row.state, row.then = ("starting", "started") if what == "start" else ("stopping", "stopped")
    row.polls = fake.slow_polls
    if what == "stop":
        await deferToThread(row.box.end)
    return fake.describe(row_id)


@route("PUT", r"/api/sandbox/([^/]+)/labels", "labels")
async def _labels(fake: Service, row_id: str, *, body: Any, request: Any, **_: Any) -> Any:
    _row(fake, row_id, request).made["labels"] = body["labels"]
    return {"labels": body["labels"]}


@route("POST", r"/api/sandbox/([^/]+)/autostop/([0-9]+)", "autostop")
async def _autostop(fake: Service, row_id: str, minutes: str, *, request: Any, **_: Any) -> Any:
    _row(fake, row_id, request).made["autoStopInterval"] = int(minutes)
    return fake.describe(row_id)
