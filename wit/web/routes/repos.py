"""``GET /repos`` and ``POST /sync`` (contract, rest.md, "Health and maintenance")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol
from urllib.parse import parse_qs

from klein import Klein

from wit.access.actor import Actor
from wit.access.gate import MAX_PAGE, Page
from wit.errors import Forbidden, Invalid, Unauthorized
from wit.web.answers import JSON, json_bytes
from wit.web.middleware.credentials import Checker, actor_of
from wit.web.streaming import Request

DEFAULT_LIMIT = 1000
"""Repositories in one answer unless the client asks for fewer: the contract's expect all."""


class Finder(Protocol):
    """wit.access.gate.Gate, as far as it is used here."""

    async def visible_repositories(
        self, actor: Actor, owner: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page: ...


class SyncResult(Protocol):
    """What became of one repository found on disk."""

    @property
    def owner(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def action(self) -> str:
        """``created``, ``skipped`` or ``error``."""
        ...

    @property
    def message(self) -> str | None: ...


Sync = Callable[[], Awaitable[Iterable[SyncResult]]]


def add_routes(app: Klein, gate: Finder, credentials: Checker, sync: Sync) -> None:
    @app.route("/repos", methods=["GET"])
    async def repos(request: Request) -> None:
        """What the caller may see, with ``?limit`` and ``?cursor``; ``next`` if there is more."""
        actor = await _actor(request, credentials)
        query = parse_qs(request.query.decode("ascii"))
        limit = _limit(query.get("limit", [str(DEFAULT_LIMIT)])[-1])
        page = await _collect(gate, actor, query.get("cursor", [None])[-1], limit)
        answer: dict[str, Any] = {
            "count": len(page.rows),
            "repositories": [
                {
                    "owner": row["owner_name"],
                    "name": row["name"],
                    "url": f"/{row['owner_name']}/{row['name']}.wit",
                }
                for row in page.rows
            ],
        }
        if page.next_cursor is not None:
            answer["next"] = page.next_cursor
        request.answer(200, JSON, json_bytes(answer))

    @app.route("/sync", methods=["POST"])
    async def synchronise(request: Request) -> None:
        actor = await _actor(request, credentials)
        if actor.anonymous:
            raise Unauthorized("sign in as an administrator")
        if not actor.is_admin:
            raise Forbidden("only administrators may do this")
        results = [
            {
                "owner": result.owner,
                "name": result.name,
                "action": result.action,
                **({"message": result.message} if result.message else {}),
            }
            for result in await sync()
        ]
        actions = [result["action"] for result in results]
        summary = {
            "created": actions.count("created"),
            "skipped": actions.count("skipped"),
            "errors": actions.count("error"),
        }
        answer = {"message": "Sync completed", "results": results, "summary": summary}
        request.answer(200, JSON, json_bytes(answer))


async def _actor(request: Request, credentials: Checker) -> Actor:
    actor = await actor_of(
        request.requestHeaders.getRawHeaders(b"Authorization"), credentials, request.address
    )
    request.actor_name = actor.username
    return actor


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= DEFAULT_LIMIT):
        raise Invalid(f"limit must be a number from 1 to {DEFAULT_LIMIT}")
    return int(text)


async def _collect(gate: Finder, actor: Actor, cursor: str | None, limit: int) -> Page:
    """One page of up to ``limit`` out of the gate's smaller ones."""
    page = Page([], cursor)
    while len(page.rows) < limit:
        size = min(MAX_PAGE, limit - len(page.rows))
        more = await gate.visible_repositories(actor, cursor=page.next_cursor, limit=size)
        page = Page(page.rows + more.rows, more.next_cursor)
        if page.next_cursor is None:
            break
    return page
