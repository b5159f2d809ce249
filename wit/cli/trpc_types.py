"""``wit trpc-types``."""

from __future__ import annotations

from argparse import Namespace

from wit.cli.session import Session
from wit.operations.api import wit_api
from wit.operations.typescript import declaration


async def show(session: Session, arguments: Namespace) -> None:
    """Print the TypeScript declaration of the tRPC API."""
    session.out.write(declaration(wit_api()))
