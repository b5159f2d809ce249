"""``wit org``."""

from __future__ import annotations

from argparse import Namespace

from wit.cli.session import Session
from wit.errors import Conflict


async def create(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        owner = await core.users.by_username(arguments.owner)
        made = await core.organizations.create(arguments.name, owner["id"], arguments.display_name)
    session.note(f"made the organization {made['name']}")


async def member(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        organization = await core.organizations.get(arguments.org)
        user = await core.users.by_username(arguments.user)
        ids = organization["id"], user["id"]
        if arguments.remove:
            await core.organizations.remove_member(*ids)
            session.note(f"{user['username']} is no member of {organization['name']} any more")
            return
        try:
            await core.organizations.add_member(*ids, arguments.role)
        except Conflict:
            await core.organizations.set_role(*ids, arguments.role)
    session.note(f"{user['username']} is {arguments.role} of {organization['name']}")


async def members(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        organization = await core.organizations.get(arguments.org)
        rows = await core.organizations.members(organization["id"])
    session.table(rows, ("username", "name", "role"), as_json=arguments.json)
