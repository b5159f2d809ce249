"""``wit sandbox`` over rows that a daemon has written."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert, update

from tests.cli.test_commands import Wit
from wit.config import Config, Database
from wit.core import Core
from wit.db.tables import sandbox_commands, sandboxes
from wit.git.names import parse_full_name
from wit.sandboxes.records import Stage

ONE, TWO = "1" * 32, "2" * 32


@pytest.fixture
def boxes(run, runtime, tmp_path, database_url) -> Wit:
    """alice's running sandbox of alice/tools, in which two commands ran, and one of bob's of
    nothing, which has ended."""
    wit = Wit(run, runtime, tmp_path / "data", database_url)

    async def enter() -> None:
        settings = Database(url=database_url) if database_url else Database()
        core = Core(Config(wit.folder, database=settings), runtime)
        await core.open()
        try:
            alice = await core.users.create("alice", "a@example.org")
            bob = await core.users.create("bob", "b@example.org")
            repo = await core.repos.create(parse_full_name("alice/tools"), private=True)
            now = runtime.now()
            row = {
                "id": ONE, "repo_id": repo["id"], "user_id": alice["id"], "provider": "local",
                "host": "elsewhere/x", "ref": "ref", "state": Stage.RUNNING, "network": "none",
                "branch": "main", "memory_bytes": 1, "cpus": 0.5, "processes": 2, "disk_bytes": 3,
                "idle_seconds": 60, "life_seconds": 600, "created_at": now, "used_at": now,
                "expires_at": now + timedelta(hours=1),
            }  # fmt: skip
            await core.db.execute(insert(sandboxes), **row)
            over = {"id": TWO, "user_id": bob["id"], "repo_id": None, "state": Stage.ENDED}
            await core.db.execute(insert(sandboxes), **{**row, **over})
            await core.db.execute(update(sandboxes).where(sandboxes.c.id == TWO).values(
                reason="nobody used it", ended_at=now))  # fmt: skip
            for number in range(2):
                await core.db.execute(
                    insert(sandbox_commands), id=f"c{number}", sandbox_id=ONE, kind="exec",
                    user_id=alice["id"] if number else "gone", argv=["make", f"a b{number}"],
                    state="done", exit_code=number, output_bytes=7,
                    started_at=now + timedelta(seconds=number),
                )  # fmt: skip
        finally:
            await core.close()

    run(enter())
    return wit


def test_looking(boxes: Wit) -> None:
    (row,) = boxes.json("sandbox", "list")
    assert (row["id"], row["username"], row["repository"], row["state"]) == (
        ONE, "alice", "alice/tools", "running",
    )  # fmt: skip
    assert {row["id"] for row in boxes.json("sandbox", "list", "--all")} == {ONE, TWO}
    (two,) = boxes.json("sandbox", "show", TWO)
    assert (two["repository"], two["reason"], two["cpus"]) == (None, "nobody used it", 0.5)
    assert "memory bytes" in boxes("sandbox", "show", ONE)
    newest, oldest = boxes.json("sandbox", "log", ONE)
    assert (newest["command"], newest["username"], newest["exit_code"]) == (
        "make 'a b1'", "alice", 1,
    )  # fmt: skip
    assert oldest["username"] == "gone"
    assert len(boxes.json("sandbox", "log", ONE, "--limit", "1")) == 1
    for action in ("show", "log"):
        boxes("sandbox", action, "3" * 32, status=1)
        assert boxes.err == "wit: sandbox not found\n"


def test_ending(boxes: Wit) -> None:
    boxes("sandbox", "destroy", ONE, status=1)
    assert "--yes" in boxes.err
    boxes("sandbox", "destroy", ONE, "--yes")
    assert "the daemon removes" in boxes.err
    assert boxes.json("sandbox", "list") == []
    (one,) = boxes.json("sandbox", "show", ONE)
    assert (one["state"], one["reason"]) == ("ended", "an administrator destroyed it")
    boxes("sandbox", "destroy", "3" * 32, "--yes", status=1)
    assert boxes.err == "wit: sandbox not found\n"
