"""Questions that are about no single package: ping, search, stars, audits, keys, attestations."""

from __future__ import annotations

from functools import partial
from typing import Literal

from wit.errors import Invalid
from wit.packages.names import check_version, parse_name
from wit.packages.search import MAX_OFFSET, MAX_SIZE
from wit.web.answers import JSON
from wit.web.middleware.bodies import read_body
from wit.web.routes.npm.exchange import Exchange, Handler

MAX_AUDIT = 8 * 1024 * 1024
"""Bytes of a dependency tree, unpacked."""


async def ping(exchange: Exchange) -> None:
    """``GET /-/ping``."""
    exchange.answer({"ok": True})


async def search(exchange: Exchange) -> None:
    """``GET /-/v1/search``."""
    found = await exchange.core.packages.search.answer(
        exchange.actor,
        exchange.query("text"),
        exchange.number("size", 20, MAX_SIZE),
        exchange.number("from", 0, MAX_OFFSET),
    )
    exchange.answer(found)


async def starred(exchange: Exchange) -> None:
    """``GET /-/_view/starredByUser?key="NAME"``, as from a view of CouchDB."""
    username = exchange.query("key").strip('"')
    names = await exchange.core.packages.lists.starred(exchange.actor, username)
    exchange.answer({"rows": [{"key": username, "value": name} for name in names]})


def audit(kind: Literal["bulk", "quick", "full"]) -> Handler:
    """What is known to be unsafe among the packages that the body names."""
    return partial(_audit, kind)


async def _audit(kind: Literal["bulk", "quick", "full"], exchange: Exchange) -> None:
    body = await read_body(exchange.request, MAX_AUDIT)
    answer = await exchange.core.packages.upstream.audit(kind, body)
    exchange.request.setHeader(b"Cache-Control", b"no-store")
    exchange.request.answer(200, JSON, answer)


async def keys(exchange: Exchange) -> None:
    """``GET /-/npm/v1/keys``: with which signatures of versions are checked."""
    answer = await exchange.core.packages.upstream.keys()
    exchange.request.answer(200, JSON, answer)


async def attestations(exchange: Exchange) -> None:
    """``GET /-/npm/v1/attestations/NAME@VERSION``."""
    full, _, version = exchange.values["package"].rpartition("@")
    if not full:
        raise Invalid("ask for NAME@VERSION")
    answer = await exchange.core.packages.reading.attestations(
        exchange.actor, parse_name(full), check_version(version)
    )
    exchange.answer(answer)


def refused(sentence: str) -> Handler:
    """For what npm can ask of its own registry, and this one has not. Not as something that was
    not found: npm would speak of packages then."""

    async def refuse(exchange: Exchange) -> None:
        raise Invalid(sentence)

    return refuse
