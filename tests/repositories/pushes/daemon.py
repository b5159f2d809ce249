"""A daemon of its own for the tests that kill it: serves pushes, prints its address."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.repositories.pushes.world import PushWorld
from wit.config import Config
from wit.config import Database as DatabaseConfig
from wit.db.open import make_database
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.services import Again


async def serve(url: str, data_dir: str, repo_id: str) -> None:
    runtime = Runtime(reactor)
    database = make_database(DatabaseConfig(), url, runtime, Metrics())
    await database.open()
    world = PushWorld(Config(Path(data_dir)), runtime, database, None)
    await world.start()
    await world.reload(repo_id)
    await Again(world.service.reconcile, runtime, 60, "settling pushes", first=1).start()
    print(world.address, flush=True)


def failed(failure: Failure) -> None:
    failure.printTraceback(sys.stderr)
    stop: Any = reactor
    stop.stop()


if __name__ == "__main__":
    Deferred.fromCoroutine(serve(*sys.argv[1:])).addErrback(failed)
    run: Any = reactor
    run.run()
