"""``wit backup`` and ``wit restore``."""

from __future__ import annotations

from argparse import Namespace

from wit.backup.create import backup as make_backup
from wit.backup.restore import restore as do_restore
from wit.cli.session import Session, check_owner_of
from wit.db.migrate import status
from wit.errors import NotFound


async def backup(session: Session, arguments: Namespace) -> int:
    """Status 1 if something could not be saved; the file is complete but for that."""
    found = await session.runtime.in_thread(status, session.config.database_url)
    if found.state == "empty":
        raise NotFound(f"there is nothing to save: {session.config.data_dir} holds no wit")
    async with session.core() as core:
        summary = await make_backup(core, arguments.file, session.progress)
    session.note(
        f"saved {summary.repositories} repositories and {summary.rows} rows to {arguments.file} "
        f"({summary.size} bytes)"
    )
    for problem in summary.problems:
        session.complain(problem)
    return 1 if summary.problems else 0


async def restore(session: Session, arguments: Namespace) -> int:
    """Status 1 if everything was put back but something in it does not fit."""
    check_owner_of(session.config)
    result = await do_restore(
        session.runtime, arguments.file, session.config, session.progress, force=arguments.force
    )
    session.note(f"restored {result.repositories} repositories and {result.rows} rows to "
                 f"{session.config.data_dir}")  # fmt: skip
    for problem in result.problems:
        session.complain(problem)
    return 1 if result.problems else 0
