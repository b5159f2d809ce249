"""One look at a page, or one form that was sent from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import attrs

from wit.accounts.sessions import Session
from wit.core import Core
from wit.web.pages import Page, local_path
from wit.web.routes.auth.exchange import Exchange, Redirect

Endpoint = Callable[[Exchange], Awaitable[Any]]
"""Of the auth door (:data:`wit.web.routes.auth.door.ENDPOINTS`)."""


@attrs.frozen
class Visit:
    core: Core
    exchange: Exchange
    """Session and cookies."""
    path: Mapping[str, str]
    """The path's parameters."""
    fields: Mapping[str, str]
    """The query, or the form that was sent; what is empty is not there."""

    def text(self, name: str) -> str:
        return self.fields.get(name, "")

    @property
    def return_to(self) -> str:
        """Where on this site the person wants to go."""
        return local_path(self.fields.get("returnTo"))

    async def session(self) -> Session | None:
        """Of who sits before the browser; None if nobody is signed in."""
        return await self.exchange.session()

    async def call(self, endpoint: Endpoint, **body: Any) -> Any:
        """What a client of ``/api/auth`` gets for ``body``; cookies go to this page's answer.

        Raises AuthError and WitErrors.
        """
        return await endpoint(attrs.evolve(self.exchange, data=body))

    async def account_link(self, return_to: str) -> tuple[str, str] | None:
        """To the page for a new account (address, label), if everybody may make one."""
        if not await self.core.identity.sign_up.open_to_all():
            return None
        return returning("/register", return_to), "No account yet? Make one"


def returning(path: str, return_to: str, **more: str) -> str:
    """The address of a page from which people go on to ``return_to``."""
    back = {} if return_to == "/" else {"returnTo": return_to}
    query = urlencode({**back, **more})
    return f"{path}?{query}" if query else path


@attrs.frozen
class Form:
    """A page and what its form does."""

    show: Callable[[Visit, str], Awaitable[Page | Redirect]]
    """The page, with what went wrong when the form was sent before (or nothing)."""
    sent: Callable[[Visit], Awaitable[Page | Redirect]] | None = None
    """What sending the form leads to. For its AuthErrors and WitErrors the page is shown again."""
