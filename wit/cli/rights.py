"""``wit collaborator`` and ``wit protect``."""

from __future__ import annotations

from argparse import Namespace

from wit.cli.session import Session
from wit.errors import Invalid
from wit.git.names import parse_full_name
from wit.repositories.rights import Protection

RULE_COLUMNS = ("pattern", "allow_force_push", "allow_deletion", "require_pull_request",
                "allowed_pushers")  # fmt: skip


async def add(session: Session, arguments: Namespace) -> None:
    name = parse_full_name(arguments.owner_repo)
    async with session.core() as core:
        repo = await core.repos.get(name)
        await core.rights.set_collaborator(repo["id"], arguments.name, arguments.level)
    session.note(f"{arguments.name} has {arguments.level} access to {repo['full_name']}")


async def remove(session: Session, arguments: Namespace) -> None:
    name = parse_full_name(arguments.owner_repo)
    async with session.core() as core:
        repo = await core.repos.get(name)
        await core.rights.remove_collaborator(repo["id"], arguments.name)
    session.note(f"{arguments.name} is no collaborator of {repo['full_name']} any more")


async def show(session: Session, arguments: Namespace) -> None:
    name = parse_full_name(arguments.owner_repo)
    async with session.core() as core:
        repo = await core.repos.get(name)
        rows = await core.rights.collaborators(repo["id"])
    session.table(rows, ("username", "name", "permission"), as_json=arguments.json)


async def protect(session: Session, arguments: Namespace) -> None:
    name = parse_full_name(arguments.owner_repo)
    if arguments.pattern is None and not arguments.list:
        raise Invalid("which branches? give a PATTERN such as main or 'release/*', or --list")
    async with session.core() as core:
        repo = await core.repos.get(name)
        if arguments.list:
            rows = await core.rights.rules(repo["id"])
            usernames = {
                user: (await core.users.get(user))["username"]
                for row in rows
                for user in row["allowed_pushers"] or ()
            }
            shown = [
                {**row, "allowed_pushers": [usernames[u] for u in row["allowed_pushers"] or ()]}
                for row in rows
            ]
            session.table(shown, RULE_COLUMNS, as_json=arguments.json)
        elif arguments.remove:
            await core.rights.unprotect(repo["id"], arguments.pattern)
            session.note(f"{arguments.pattern} of {repo['full_name']} is not protected any more")
        else:
            await core.rights.protect(repo["id"], arguments.pattern, protection(arguments))
            session.note(f"{arguments.pattern} of {repo['full_name']} is protected")


def protection(arguments: Namespace) -> Protection:
    """A rule forbids what its flags name; a pull request forbids all else, and so does no flag."""
    named = arguments.no_force_push or arguments.no_delete
    everything = arguments.require_pr or not (named or arguments.pusher)
    return Protection(
        require_pull_request=arguments.require_pr,
        allow_force_push=not (arguments.no_force_push or everything),
        allow_deletion=not (arguments.no_delete or everything),
        allowed_pushers=tuple(arguments.pusher) if arguments.pusher else None,
    )
