"""``wit config``."""

from __future__ import annotations

from argparse import Namespace

from wit.cli.session import Session
from wit.config_sources import render


async def show(session: Session, arguments: Namespace) -> None:
    session.say(render(session.loaded))
