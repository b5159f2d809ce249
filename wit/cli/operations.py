"""``wit sync``, ``wit maintenance`` and ``wit jobs``."""

from __future__ import annotations

from argparse import Namespace

import attrs

from wit.cli.session import Session
from wit.errors import NotFound
from wit.git.maintenance import maintain as do_maintenance
from wit.git.maintenance import needs
from wit.git.names import parse_full_name
from wit.repositories.sync import SyncResult

JOB_COLUMNS = ("id", "kind", "key", "state", "attempts", "run_at", "finished_at", "last_error")


async def sync(session: Session, arguments: Namespace) -> int:
    """Status 1 if a repository could not be registered."""

    def progress(result: SyncResult) -> None:
        session.progress(f"{result.owner}/{result.name}: {result.action}")

    async with session.core() as core:
        results = await core.sync.run(private=arguments.private, progress=progress)
    rows = [attrs.asdict(result) for result in results]
    session.table(rows, ("owner", "name", "action", "message"), as_json=arguments.json)
    counts = [(what, sum(row["action"] == what for row in rows)) for what in
              ("created", "skipped", "error")]  # fmt: skip
    session.note(", ".join(f"{count} {what}" for what, count in counts))
    return 1 if any(row["action"] == "error" for row in rows) else 0


async def maintain(session: Session, arguments: Namespace) -> None:
    name = parse_full_name(arguments.owner_repo)
    async with session.core() as core:
        repo = core.repos.bare(await core.repos.get(name))
        due = await needs(core.runtime, repo)
        if not due:
            session.note(f"{name} needs nothing")
            return
        session.progress(f"tidying {name}")
        done = await do_maintenance(core.git, core.runtime, repo, due)
    session.note(f"{name} is tidy" if done else f"somebody else is at work on {name} already")


async def jobs(session: Session, arguments: Namespace) -> None:
    limit = max(1, min(arguments.limit, 1000))
    async with session.core() as core:
        rows = await core.jobs.list(arguments.state, 1, limit)
    session.table(rows, JOB_COLUMNS, as_json=arguments.json)


async def cancel(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        if not await core.jobs.cancel(arguments.id):
            raise NotFound("no such job is queued or running; see wit jobs list")
    session.note("the job is cancelled")
