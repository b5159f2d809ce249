"""``wit repo``."""

from __future__ import annotations

import os
from argparse import Namespace

from wit.cli.session import Session
from wit.git.names import check_repo, parse_full_name

COLUMNS = ("full_name", "is_private", "default_branch", "object_format", "pushed_at",
           "read_only_reason")  # fmt: skip
PAGE = 500


async def create(session: Session, arguments: Namespace) -> None:
    name = parse_full_name(arguments.owner_repo)
    async with session.core() as core:
        repo = await core.repos.create(
            name,
            private=arguments.private,
            description=arguments.description,
            object_format=arguments.object_format,
            default_branch=arguments.default_branch,
        )
    session.note(f"made {repo['full_name']}: {session.config.public_url}/{repo['full_name']}.git")


async def import_(session: Session, arguments: Namespace) -> None:
    """The operator's own wish: a path on this machine and any network are fine."""
    name = parse_full_name(arguments.owner_repo)
    source = arguments.source
    if "://" not in source:
        source = os.path.abspath(source)  # noqa: ASYNC240 - reads nothing but the cwd
    async with session.core() as core:
        session.progress(f"importing {name}")
        repo = await core.repos.import_(
            name,
            source,
            private=arguments.private,
            description=arguments.description,
            allow_local=True,
            progress=session.progress,
        )
    session.note(f"imported {repo['full_name']}")


async def fork(session: Session, arguments: Namespace) -> None:
    source, name = parse_full_name(arguments.source), parse_full_name(arguments.owner_repo)
    async with session.core() as core:
        session.progress(f"copying {source}")
        repo = await core.repos.fork(source, name, private=arguments.private)
    session.note(f"made {repo['full_name']}, a fork of {source}")


async def show(session: Session, arguments: Namespace) -> None:
    rows = []
    async with session.core() as core:
        after = ""
        while page := await core.repos.list(after, PAGE, arguments.owner):
            rows += page
            after = page[-1]["full_name"]
    session.table(rows, COLUMNS, as_json=arguments.json)


async def verify(session: Session, arguments: Namespace) -> int:
    """Status 1 if it is damaged; it takes no pushes then."""
    name = parse_full_name(arguments.owner_repo)

    def report(number: int, packs: int, size: int, read: int) -> None:
        percent = 100 * read // max(size, 1)
        session.progress(f"verifying {name}: pack {number} of {packs}, {percent} %")

    async with session.core() as core:
        repo = await core.repos.get(name)
        found = await core.scrubbing.verify_all(repo, report)
        for sentence in found:
            session.note(f"{name}: {sentence}")
        if found and not repo["read_only_reason"]:
            session.progress(f"examining {name}")
            await core.damage.work({"repo_id": repo["id"], "why": found[0]})
        reason = (await core.repos.by_id(repo["id"]))["read_only_reason"]
    if not found:
        session.note(f"{name}: all packs are sound")
    elif reason:
        session.note(f"{name} takes no pushes: {reason}")
    return 1 if found else 0


async def rename(session: Session, arguments: Namespace) -> None:
    name = parse_full_name(arguments.owner_repo)
    new = check_repo(arguments.new.removeprefix(f"{name.owner}/"))
    async with session.core() as core:
        repo = await core.repos.rename(name, new)
    session.note(f"{name} is now {repo['full_name']}")


async def lock(session: Session, arguments: Namespace) -> None:
    await _set_lock(session, arguments.owner_repo, arguments.reason)
    session.note(f"{arguments.owner_repo} takes no pushes: {arguments.reason}")


async def unlock(session: Session, arguments: Namespace) -> None:
    await _set_lock(session, arguments.owner_repo, None)
    session.note(f"{arguments.owner_repo} takes pushes again")


async def _set_lock(session: Session, full_name: str, reason: str | None) -> None:
    async with session.core() as core:
        repo = await core.repos.get(parse_full_name(full_name))
        await core.repos.set_read_only(repo["id"], reason)


async def transfer(session: Session, arguments: Namespace) -> None:
    name = parse_full_name(arguments.owner_repo)
    async with session.core() as core:
        repo = await core.repos.transfer(name, arguments.owner)
    session.note(f"{name} is now {repo['full_name']}")


async def delete(session: Session, arguments: Namespace) -> None:
    name = parse_full_name(arguments.owner_repo)
    session.confirm(f"removing the repository {name}", yes=arguments.yes)
    async with session.core() as core:
        await core.repos.delete(name)
    session.note(f"{name} is removed")
