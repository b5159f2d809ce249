"""``wit user``."""

from __future__ import annotations

from argparse import Namespace

from wit.cli.session import Session
from wit.errors import Invalid

COLUMNS = ("username", "email", "name", "role", "suspended", "created_at")
PAGE = 500


async def create(session: Session, arguments: Namespace) -> None:
    password = session.secret("password", from_stdin=arguments.password_stdin)
    async with session.core() as core:
        first = not await core.users.count()
        user = await core.users.create(
            arguments.name, arguments.email, password, name=arguments.full_name, verified=True
        )
        role = "user"
        if arguments.admin:
            role = "superadmin" if first else "admin"
            await core.users.set_role(user["id"], role)
    session.note(f"made {role} {user['display_username']}")
    if password is None:
        session.note("without a password: this user signs in with tokens and SSH keys")


async def passwd(session: Session, arguments: Namespace) -> None:
    password = session.secret("new password", from_stdin=arguments.password_stdin)
    if password is None:
        raise Invalid("no password was given: use --password-stdin")
    async with session.core() as core:
        user = await core.users.by_username(arguments.name)
        await core.users.reset_password(user["id"], password)
    session.note(f"the password of {user['display_username']} is changed; all sessions have ended")


async def show(session: Session, arguments: Namespace) -> None:
    rows = []
    async with session.core() as core:
        after = ""
        while page := await core.users.list(after, PAGE):
            rows += page
            after = page[-1]["username"]
    session.table(rows, COLUMNS, as_json=arguments.json)


async def invite(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        inviter = await core.users.by_username(arguments.by)
        link = await core.identity.sign_up.invitation_link(arguments.address, inviter["id"])
    session.say(link)
    session.note("the link is good for a week, for that e-mail address")


async def two_factor_off(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        user = await core.users.by_username(arguments.name)
        await core.identity.two_factor.reset(user["id"])
    session.note(f"{user['display_username']} signs in with the password alone")


async def suspend(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        user = await core.users.by_username(arguments.name)
        await core.users.suspend(user["id"], arguments.reason)
    session.note(f"{user['display_username']} is suspended")


async def resume(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        user = await core.users.by_username(arguments.name)
        await core.users.resume(user["id"])
    session.note(f"{user['display_username']} may sign in again")


async def role(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        user = await core.users.by_username(arguments.name)
        await core.users.set_role(user["id"], arguments.role)
    session.note(f"{user['display_username']} has the role {arguments.role}")


async def delete(session: Session, arguments: Namespace) -> None:
    session.confirm(f"removing the user {arguments.name}", yes=arguments.yes)
    async with session.core() as core:
        user = await core.users.by_username(arguments.name)
        await core.users.delete(user["id"])
    session.note(f"{user['display_username']} is removed")
