"""What changes packages: publishing, unpublishing, deprecating, owners, stars, tags."""

from __future__ import annotations

from wit.errors import Invalid
from wit.packages.names import version_of_file
from wit.web.middleware.bodies import body_source
from wit.web.routes.npm.exchange import Exchange

WRITE = "packages:write"


async def publish(exchange: Exchange) -> None:
    """``PUT /:name``: a new version; or, without a tarball, the packument with changes in it."""
    exchange.user_id(WRITE)
    limits = exchange.core.config.packages
    limit = limits.max_tarball_bytes * 4 // 3 + limits.max_manifest_bytes
    source = body_source(exchange.request, limit)
    name = exchange.name
    published = await exchange.core.packages.publishing.publish(
        exchange.actor, name, source, exchange.request_id
    )
    exchange.answer(
        {"ok": True, "id": name.full, "rev": published.rev, "versions": published.versions}
    )


async def update(exchange: Exchange) -> None:
    """``PUT /:name/-rev/:rev``: the packument, or parts of it, with changes."""
    exchange.user_id(WRITE)
    name = exchange.name
    document = await exchange.document(exchange.core.config.packages.max_manifest_bytes)
    await exchange.core.packages.changes.update(exchange.actor, name, document, exchange.request_id)
    exchange.answer({"ok": True, "id": name.full})


async def unpublish(exchange: Exchange) -> None:
    """``DELETE /:name/-rev/:rev``: the whole package."""
    exchange.user_id(WRITE)
    await exchange.core.packages.unpublishing.unpublish_all(
        exchange.actor, exchange.name, exchange.request_id
    )
    exchange.answer({"ok": True})


async def unpublish_version(exchange: Exchange) -> None:
    """``DELETE /:name/-/:file/-rev/:rev``."""
    exchange.user_id(WRITE)
    name = exchange.name
    await exchange.core.packages.unpublishing.unpublish_version(
        exchange.actor, name, version_of_file(name, exchange.values["file"]), exchange.request_id
    )
    exchange.answer({"ok": True})


async def tags(exchange: Exchange) -> None:
    """``GET /-/package/:name/dist-tags``."""
    exchange.answer(await exchange.core.packages.reading.tags(exchange.actor, exchange.name))


async def set_tag(exchange: Exchange) -> None:
    """``PUT /-/package/:name/dist-tags/:tag``: the body is a version, as JSON text."""
    exchange.user_id(WRITE)
    version = await exchange.json()
    if not isinstance(version, str):
        raise Invalid('send the version as a JSON text, such as "1.0.0"')
    await exchange.core.packages.changes.set_tag(
        exchange.actor, exchange.name, exchange.values["tag"], version, exchange.request_id
    )
    exchange.answer({"ok": True})


async def remove_tag(exchange: Exchange) -> None:
    """``DELETE /-/package/:name/dist-tags/:tag``."""
    exchange.user_id(WRITE)
    await exchange.core.packages.changes.remove_tag(
        exchange.actor, exchange.name, exchange.values["tag"], exchange.request_id
    )
    exchange.answer({"ok": True})
