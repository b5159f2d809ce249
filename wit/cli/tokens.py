"""``wit token``."""

from __future__ import annotations

from argparse import Namespace

from wit.cli.session import Session

COLUMNS = ("id", "name", "token_prefix", "scopes", "created_at", "last_used_at", "expires_at")


async def create(session: Session, arguments: Namespace) -> None:
    """The token alone goes to standard output: scripts read it."""
    scopes = [scope for text in arguments.scopes.split(",") if (scope := text.strip())]
    async with session.core() as core:
        user = await core.users.by_username(arguments.name)
        row, secret = await core.tokens.create(user["id"], arguments.label, scopes, arguments.days)
    session.say(secret)
    session.note(
        f"token {row['id']} of {user['username']}: use it as the password of git over HTTP; "
        "it is not shown again"
    )


async def show(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        user = await core.users.by_username(arguments.name)
        rows = await core.tokens.list(user["id"])
    session.table(rows, COLUMNS, as_json=arguments.json)


async def revoke(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        user = await core.users.by_username(arguments.name)
        await core.tokens.remove(user["id"], arguments.id)
    session.note("the token is of no use any more")
