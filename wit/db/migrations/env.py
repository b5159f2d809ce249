"""What Alembic runs to reach the database.

:mod:`wit.db.migrate` hands over a connection inside a transaction of its own, which holds the
lock against other daemons; everything that Alembic does happens in that transaction.
"""

from __future__ import annotations

from alembic import context

from wit.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
