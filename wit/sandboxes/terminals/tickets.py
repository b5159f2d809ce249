"""Tickets to terminals: what a page puts into the address of a WebSocket, being unable to set a
header there.

A ticket is good once, for a minute, for one sandbox or terminal, and carries the right of whoever
asked for it, or less: with ``view_only`` it can be handed on to somebody who shall only watch. It
is kept where all daemons of the site find it, hashed.
"""

from __future__ import annotations

import json
from datetime import timedelta

import attrs

from wit.access.actor import Actor, Origin
from wit.accounts.one_time import OneTimeSecrets
from wit.accounts.standing import Standing
from wit.errors import Unauthorized

SECONDS = 60
_KIND = "terminal-ticket"
_LENGTH = 32
_LIFETIME = timedelta(seconds=SECONDS)


@attrs.frozen
class Ticket:
    """What a ticket stood for."""

    actor: Actor
    sandbox_id: str
    terminal_id: str | None
    """None: any terminal of the sandbox, or a new one."""
    view_only: bool


class Tickets:
    def __init__(self, secrets: OneTimeSecrets, standing: Standing) -> None:
        self._secrets = secrets
        self._standing = standing

    async def create(self, ticket: Ticket) -> str:
        """A secret of [A-Za-z0-9] that stands for ``ticket``. What its actor may do is for the
        caller to know, and is looked at again when it is used."""
        actor = {
            **attrs.asdict(ticket.actor),
            "origin": ticket.actor.origin.value,
            "scopes": None if ticket.actor.scopes is None else sorted(ticket.actor.scopes),
        }
        value = json.dumps({**attrs.asdict(ticket), "actor": actor})
        return await self._secrets.create(_KIND, value, _LIFETIME, _LENGTH)

    async def redeem(self, secret: str) -> Ticket:
        """Use a ticket up. Raises Unauthorized."""
        found = None
        if len(secret) == _LENGTH and secret.isascii() and secret.isalnum():
            found = await self._secrets.take(_KIND, secret)
        if found is None:
            raise Unauthorized("this ticket is wrong, used or too old; ask for a new one")
        value = json.loads(found)
        fields = value["actor"]
        fields["origin"] = Origin(fields["origin"])
        if fields["scopes"] is not None:
            fields["scopes"] = frozenset(fields["scopes"])
        ticket = Ticket(**{**value, "actor": Actor(**fields)})
        if not await self._standing.good(ticket.actor):
            raise Unauthorized("whoever asked for this ticket is no longer signed in")
        return ticket
