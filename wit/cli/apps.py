"""``wit app``."""

from __future__ import annotations

from argparse import Namespace

from wit.cli.session import Session


async def verify(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        app = await core.oauth.apps.set_verified(arguments.client_id, not arguments.remove)
        owner = await core.users.get(app["owner_id"])
    state = "verified" if app["is_verified"] else "not verified"
    session.note(
        f"{app['name']} of {owner['username']}, which sends people to {app['callback_url']}, is "
        f"{state}; it has to be verified anew when its owner changes it"
    )
