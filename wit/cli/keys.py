"""``wit key``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from wit.cli.session import Session
from wit.errors import Invalid, NotFound

COLUMNS = ("id", "title", "key_type", "fingerprint", "created_at", "last_used_at")
MAX_KEY = 64 * 1024
"""Bytes of a key file that are read."""


async def add(session: Session, arguments: Namespace) -> None:
    text = await session.runtime.in_thread(_read, session, arguments.file)
    async with session.core() as core:
        user = await core.users.by_username(arguments.name)
        key = await core.keys.add(user["id"], text, arguments.title)
    session.note(f"{user['username']} signs in with {key['key_type']} {key['fingerprint']}")


def _read(session: Session, file: str) -> str:
    if file == "-":
        return session.stdin.read(MAX_KEY)
    try:
        with Path(file).open(encoding="utf-8") as opened:
            return opened.read(MAX_KEY)
    except UnicodeDecodeError:
        raise Invalid(f"{file} is not a public key file") from None
    except OSError as error:
        raise Invalid(f"cannot read {file}: {error.strerror}") from None


async def show(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        user = await core.users.by_username(arguments.name)
        rows = await core.keys.list(user["id"])
    session.table(rows, COLUMNS, as_json=arguments.json)


async def remove(session: Session, arguments: Namespace) -> None:
    async with session.core() as core:
        user = await core.users.by_username(arguments.name)
        for key in await core.keys.list(user["id"]):
            if arguments.key in (key["id"], key["fingerprint"]):
                await core.keys.remove(user["id"], key["id"])
                break
        else:
            raise NotFound(f"{user['username']} has no such key; see wit key list")
    session.note(f"{key['fingerprint']} is removed")
