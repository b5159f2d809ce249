"""A process that publishes one version and is killed on the way: ``crash.py FOLDER POINT``.

The points lie between the steps by which a version becomes durable.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from wit.access.actor import Actor, Origin
from wit.access.gate import Gate
from wit.config import Config
from wit.db.open import make_database
from wit.events.journal import Journal
from wit.metrics import Metrics
from wit.packages import publishing, records
from wit.packages.local_blobs import LocalBlobs, LocalWriter
from wit.packages.names import parse_name
from wit.packages.service import Packages
from wit.runtime import Runtime
from wit.streams import BytesSource

POINTS: dict[str, tuple[Any, str, bool]] = {
    # name: (owner of the function, its name, whether the kill comes after it instead of before)
    "before the bytes are synced": (LocalWriter, "_finish", False),
    "before the blob has its name": (LocalBlobs, "keep", False),
    "when the blob is there": (LocalBlobs, "keep", True),
    "when the version has its row": (publishing.Publishing, "_make_version", True),
    "before the commit": (records, "bump", True),
    "after the commit": (Journal, "announce", False),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    owner, name, after = POINTS[point]
    original = getattr(owner, name)

    def replaced(*args: Any, **kwargs: Any) -> Any:
        if not after:
            die()
        outcome = original(*args, **kwargs)
        if not hasattr(outcome, "send"):
            die()

        async def awaited() -> None:
            await outcome
            die()

        return awaited()

    setattr(owner, name, replaced)


async def publish(folder: Path, order: dict[str, Any]) -> None:
    config = Config(data_dir=folder)
    runtime = Runtime(reactor)
    db = make_database(config.database, order["database"], runtime, Metrics())
    await db.open()
    packages = Packages(config, db, runtime, Metrics(), gate=Gate(db), journal=Journal(db, runtime))
    actor = Actor(order["user"], "ada", Origin.PASSWORD)
    body = BytesSource(base64.b64decode(order["body"]))
    await packages.publishing.publish(actor, parse_name(order["name"]), body, "crash")
    await db.close()


def main() -> int:
    folder = Path(sys.argv[1])
    order = json.load(sys.stdin)
    arm(sys.argv[2])
    failed = []
    loop: Any = reactor

    def start() -> None:
        work = Deferred.fromCoroutine(publish(folder, order))
        work.addErrback(lambda failure: failed.append(failure.getTraceback()))
        work.addBoth(lambda _: loop.stop())

    loop.callWhenRunning(start)
    loop.run()
    sys.stderr.write("".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
