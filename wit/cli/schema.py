"""``wit migrate``."""

from __future__ import annotations

from argparse import Namespace

from wit.cli.session import Session, check_owner_of
from wit.db.migrate import missing, status, upgrade
from wit.errors import ConfigError


async def migrate(session: Session, arguments: Namespace) -> int:
    """With ``--check``: status 1 unless the schema is current; nothing is changed."""
    config, in_thread = session.config, session.runtime.in_thread
    if arguments.check:
        found = await in_thread(status, config.database_url)
        session.say(f"{found.state}: the database has schema {found.current or 'none'}, "
                    f"this wit has {found.head}")  # fmt: skip
        if found.state == "newer":
            raise ConfigError("the database is newer than this program: install the newer wit")
        for revision in missing(found):
            session.note(f"to be applied: {revision}")
        return 0 if found.state == "current" else 1
    check_owner_of(config)
    await in_thread(config.data_dir.mkdir, mode=0o700, parents=True, exist_ok=True)
    applied = await in_thread(upgrade, config.database_url, config.data_dir / "backups")
    for revision in applied:
        session.say(f"applied {revision}")
    session.note("the schema is current")
    return 0
