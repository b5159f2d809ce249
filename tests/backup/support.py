"""A site to save: rows that are hard to carry over, and repositories."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import attrs
import sqlalchemy as sa

from wit.backup import rows
from wit.config import Config
from wit.db import tables
from wit.git.command import Git
from wit.runtime import Runtime

NOW = datetime(2026, 11, 22, 16, 0, 0, 123456, tzinfo=UTC)


@attrs.frozen
class Site:
    """What a backup needs of Core, over a database and folders of the test."""

    config: Config
    runtime: Runtime
    git: Git


def sh(*argv: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(a) for a in argv], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def fill(url: str, *repos: str) -> None:
    """A user, an organization and rows of the kinds that are hard to carry over."""
    with rows.writing(url) as connection:
        connection.execute(sa.insert(tables.users), {
            "id": "u" * 32, "name": "Ålice\u2028", "email": "a@example.org", "username": "alice",
            "created_at": NOW, "updated_at": NOW, "suspended": True,
        })  # fmt: skip
        connection.execute(sa.insert(tables.tokens), {
            "id": "t1", "user_id": "u" * 32, "name": "x", "token_hash": "h", "token_prefix": "p",
            "scopes": ["repo:read"], "created_at": NOW,
        })  # fmt: skip
        previous = None
        for name in repos:  # each a fork of the one before; ids sort against that order
            owner, _, repo = name.partition("/")
            identity = f"r{100 - len(repo)}{repo}"
            connection.execute(sa.insert(tables.repositories), {
                "id": identity, "owner_id": "u" * 32, "owner_type": "user", "name": repo,
                "name_key": repo, "disk_path": f"/repos/{owner}/{repo}.git",
                "forked_from_id": previous, "created_at": NOW, "updated_at": NOW,
            })  # fmt: skip
            previous = identity
        for number in range(3):
            connection.execute(sa.insert(tables.events), {
                "id": f"e{number}", "type": "push", "actor_id": "x",
                "payload": {"n": number, "text": "ü"}, "created_at": NOW,
            })  # fmt: skip
        connection.execute(sa.delete(tables.events).where(tables.events.c.id == "e2"))


def content(url: str) -> dict[str, list[tuple]]:
    with rows.reading(url) as connection:
        return {
            table.name: [
                tuple(row)
                for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            ]
            for table in rows.tables()
        }


def make_repository(root: Path, name: str, tmp_path: Path) -> Path:
    """A bare repository with a pack, loose objects, a tag, a symbolic ref and reflogs."""
    bare = root / f"{name}.git"
    bare.parent.mkdir(parents=True, exist_ok=True)
    sh("git", "init", "-q", "--bare", bare)
    sh("git", "-C", bare, "config", "core.logAllRefUpdates", "always")
    work = tmp_path / f"work-{name.replace('/', '-')}"
    sh("git", "clone", "-q", bare, work)
    commit(work, "one")
    sh("git", "-C", work, "tag", "-a", "v1", "-m", "v1")
    sh("git", "-C", work, "push", "-q", "origin", "main", "v1")
    sh("git", "-C", bare, "repack", "-adq")
    commit(work, "two")
    sh("git", "-C", work, "push", "-q", "origin", "main")
    sh("git", "-C", bare, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    return bare


def commit(work: Path, name: str) -> None:
    (work / name).write_text(name)
    sh("git", "-C", work, "add", name)
    sh("git", "-C", work, "commit", "-qm", name)


def refs(bare: Path) -> str:
    return sh("git", "-C", bare, "for-each-ref", "--format=%(objectname) %(refname) %(symref)")


def silent(line: str) -> None:
    return None
