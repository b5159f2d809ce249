"""Images that sandboxes are made from: there, fetched, or not to be had, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from wit.errors import Unavailable
from wit.sandboxes.docker.creation import DEFAULT_IMAGE
from wit.sandboxes.docker.engine import Engine, Refused, escaped


class Images:
    """``pull``: whether an image that the engine lacks is fetched from its registry."""

    log = Logger()

    def __init__(self, engine: Engine, pull: bool) -> None:
        self._engine = engine
        self._pull = pull
        self._coming: dict[str, Deferred[None]] = {}

    async def has(self, image: str) -> bool:
        """Raises Unavailable when the engine does not answer."""
        try:
            await self._engine.call("GET", f"/images/{escaped(image)}/json")
        except Refused as refused:
            if refused.status == 404:
                return False
            raise
        return True

    async def can_have(self, image: str) -> bool:
        """Whether the engine has it or may fetch it. Raises Unavailable."""
        return self._may_fetch(image) or await self.has(image)

    def _may_fetch(self, image: str) -> bool:
        # Nobody publishes the default image, and somebody else might publish one of its name.
        return self._pull and image != DEFAULT_IMAGE

    async def need(self, image: str) -> None:
        """Raises Unavailable, with what to do, when the engine does not have the image and cannot
        fetch it.
        """
        if await self.has(image):
            return
        if not self._may_fetch(image):
            raise Unavailable(missing(image))
        await self._fetched(image)

    async def _fetched(self, image: str) -> None:
        """All who need the same image wait for one fetch, which goes on when they go away."""
        coming = self._coming.get(image)
        if coming is None:
            coming = self._coming[image] = Deferred.fromCoroutine(self._fetch(image))
            coming.addBoth(self._arrived, image)
        turn: Deferred[Any] = Deferred()

        def arrived(result: Any) -> Any:
            turn.callback(result)
            return None

        self._coming[image].addBoth(arrived)
        await turn

    def _arrived(self, result: Any, image: str) -> Any:
        del self._coming[image]
        return result

    async def _fetch(self, image: str) -> None:
        """Raises Unavailable with the registry's own reason."""
        problems: list[str] = []
        self.log.info("fetching image {image}", image=image)
        try:
            await self._engine.follow("POST", "/images/create", _named(image), _noting(problems))
        except Refused as refused:
            problems.append(refused.reason[:300])
        if problems:
            raise Unavailable(f"the container engine cannot fetch {image}: {problems[-1]}")
        self.log.info("image {image} is there", image=image)


def missing(image: str) -> str:
    """What to do about an image that the engine lacks."""
    if image == DEFAULT_IMAGE:
        return (
            f"the container engine has no image {image}: "
            "make it with `docker build -t wit-sandbox conf/sandbox`"
        )
    return (
        f"the container engine has no image {image}: whoever runs this server can fetch it with "
        f"`docker pull {image}`, or allow it with docker_pull = missing in [sandboxes]"
    )


def _named(image: str) -> dict[str, str]:
    """Without a tag the engine would fetch all that there are."""
    if "@" in image:
        return {"fromImage": image}
    name, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        name, tag = image, "latest"
    return {"fromImage": name, "tag": tag}


def _noting(problems: list[str]) -> Callable[[Any], None]:
    def note(item: Any) -> None:
        if isinstance(item, dict) and item.get("error"):
            problems.append(str(item["error"])[:300])

    return note
