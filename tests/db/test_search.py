from __future__ import annotations

import pytest
from sqlalchemy import insert, select

from wit.db.port import Database
from wit.db.search import contains, pattern
from wit.db.tables import system_settings
from wit.runtime import utc_now

TEXTS = ("100%", "a_b", "axb", "back\\slash", "Upper", "[x]*?")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("%", ["100%"]),
        ("_", ["a_b"]),
        ("a_b", ["a_b"]),
        ("\\", ["back\\slash"]),
        ("\\s", ["back\\slash"]),
        ("uPPER", ["Upper"]),
        ("[x]", ["[x]*?"]),
        ("*", ["[x]*?"]),
        ("x", ["[x]*?", "axb"]),
        ("' or 1=1 --", []),
        ("\0", sorted(TEXTS)),
    ],
)
def test_what_a_person_typed_means_itself(database: Database, run, text, found) -> None:
    async def search():
        for key in TEXTS:
            await database.execute(
                insert(system_settings), key=key, value="other", updated_at=utc_now()
            )
        column = system_settings.c.key
        rows = await database.fetch_all(
            select(column).where(contains("wanted", column, system_settings.c.description)),
            wanted=pattern(text),
        )
        return sorted(row["key"] for row in rows)

    assert run(search()) == found
