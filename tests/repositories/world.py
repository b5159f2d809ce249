"""A repository folder and a database with some users: what the tests of this folder start from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import attrs
from sqlalchemy import select

from wit.accounts.organizations import Organizations
from wit.accounts.passwords import Passwords
from wit.accounts.users import Users
from wit.config import Config
from wit.db.port import Database
from wit.db.tables import repositories
from wit.events.journal import Journal
from wit.git.command import Git
from wit.git.names import RepoName
from wit.repositories.manager import RepoManager
from wit.repositories.rights import Rights
from wit.repositories.sync import Sync
from wit.runtime import Runtime


@attrs.frozen
class World:
    db: Database
    runtime: Runtime
    config: Config
    git: Git
    users: Users
    journal: Journal
    manager: RepoManager
    rights: Rights
    sync: Sync
    ids: dict[str, str]

    @property
    def root(self) -> Path:
        return self.config.repos_dir

    def path(self, full_name: str) -> Path:
        return self.root / f"{full_name}.git"

    def on_disk(self) -> set[str]:
        """Folders and links of repositories, and whatever is half-done below .wit."""
        found = {str(p.relative_to(self.root)) for p in self.root.glob("[!.]*/*")}
        return found | {str(p.relative_to(self.root)) for p in self.root.glob(".wit/*/*")}

    async def in_rows(self) -> set[str]:
        return {row["disk_path"] for row in await self.db.fetch_all(select(repositories))}


def name(text: str) -> RepoName:
    owner, _, repo = text.partition("/")
    return RepoName(owner, repo)


async def make_world(db: Database, runtime: Runtime, folder: Path) -> World:
    config = Config(data_dir=folder)
    config.repos_dir.mkdir()
    git = Git.find()
    users = Users(db, runtime, Passwords(runtime))
    ids = {}
    for username in ("Ada", "bob"):
        ids[username] = (await users.create(username, f"{username}@example.org"))["id"]
    org = await Organizations(db, runtime).create("Acme", ids["Ada"])
    ids["Acme"] = org["id"]
    journal = Journal(db, runtime)
    manager = RepoManager(db, git, config, runtime, journal)
    return World(
        db=db,
        runtime=runtime,
        config=config,
        git=git,
        users=users,
        journal=journal,
        manager=manager,
        rights=Rights(db, runtime),
        sync=Sync(runtime, manager),
        ids=ids,
    )


def git(*arguments: str | Path, cwd: Path | None = None) -> str:
    """Run git as a person does."""
    done = subprocess.run(
        ["git", *map(str, arguments)], cwd=cwd, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def make_source(folder: Path, branch: str = "trunk", object_format: str = "sha1") -> str:
    """A bare repository ``folder`` with one commit on ``branch``; returns the commit's id."""
    branch_option, format_option = f"--initial-branch={branch}", f"--object-format={object_format}"
    git("init", "-q", "--bare", branch_option, format_option, folder)
    tree = git("-C", folder, "hash-object", "-t", "tree", "-w", "/dev/null")
    commit = git("-C", folder, "commit-tree", "-m", "first", tree)
    git("-C", folder, "update-ref", f"refs/heads/{branch}", commit)
    return commit
