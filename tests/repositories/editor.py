"""A process of its own that edits through the API until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from wit import config_sources
from wit.access.actor import Actor, Origin
from wit.core import Core
from wit.errors import Conflict, Invalid, NotFound
from wit.repositories.committing import FileEdit
from wit.runtime import Runtime

BRANCHES = ("main", "one", "two")


async def edit(core: Core, actor: Actor, repo_id: str, number: int) -> None:
    """One of a row of changes that get in each other's way."""
    repo = await core.repos.by_id(repo_id)
    branch = BRANCHES[number % len(BRANCHES)]
    content = core.runtime.random_bytes(8).hex().encode()
    change = FileEdit(branch, f"{actor.username}/{number % 5}", content, "edit")
    try:
        await core.committing.update_file(actor, repo, change, "")
        if number % 4 == 1:
            await core.branches.delete(actor, repo, "one", "")
        if number % 4 == 2:
            await core.branches.create(actor, repo, "one", from_ref="main", request_id="")
    except (Conflict, Invalid, NotFound):
        pass  # the other one was faster


async def edit_for_ever(core: Core, actor: Actor, repo_id: str) -> None:
    number = 0
    while True:
        number += 1
        await edit(core, actor, repo_id, number)


async def start(url: str, data_dir: str, repo_id: str, *people: str) -> None:
    config = config_sources.load(Path(data_dir), {}, {"DATABASE_URL": url}, write_default=False)
    core = Core(config, Runtime(reactor))
    await core.open()
    for person in people:
        user_id, _, username = person.partition(":")
        actor = Actor(user_id, username, Origin.SESSION)
        Deferred.fromCoroutine(edit_for_ever(core, actor, repo_id)).addErrback(failed)
    print("editing", flush=True)


def failed(failure: Failure) -> None:
    failure.printTraceback(sys.stderr)
    stop: Any = reactor
    stop.stop()


if __name__ == "__main__":
    Deferred.fromCoroutine(start(*sys.argv[1:])).addErrback(failed)
    run: Any = reactor
    run.run()
