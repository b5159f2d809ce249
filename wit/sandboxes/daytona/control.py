"""Daytona's control plane: making, finding, stopping and ending sandboxes."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

import attrs

from wit.errors import Unavailable
from wit.sandboxes.daytona.wire import Refused, Wire
from wit.sandboxes.provider import State

PAGE = 100
MAX_PAGES = 100
FIRST_POLL = 0.1
SLOWEST_POLL = 2.0

FAILED = frozenset({"error", "build_failed"})
ENDED = frozenset({"destroyed", "destroying"})
ASLEEP = frozenset({"stopped", "stopping", "archived", "archiving", "paused", "pausing"})


@attrs.frozen
class Remote:
    """A sandbox as the control plane tells of it."""

    id: str
    state: str
    labels: Mapping[str, str]
    toolbox_url: str
    error: str

    @property
    def known_state(self) -> State:
        """In our words; what is on its way up counts as running, what has failed as gone."""
        if self.state in FAILED or self.state in ENDED:
            return State.GONE
        return State.PAUSED if self.state in ASLEEP else State.RUNNING


@attrs.frozen
class Control:
    """``base`` is the API's address without a slash at its end."""

    wire: Wire
    base: str

    async def create(self, key: str, wanted: Mapping[str, object]) -> Remote:
        return _remote(await self.wire.json("POST", f"{self.base}/sandbox", key, body=wanted))

    async def get(self, key: str, ref: str) -> Remote:
        """Raises Refused with 404 for one that is not there."""
        return _remote(await self.wire.json("GET", self._of(ref), key))

    async def labelled(self, key: str, labels: Mapping[str, str]) -> list[Remote]:
        """All that carry these labels, whatever their state."""
        found: list[Remote] = []
        query = {"labels": json.dumps(labels), "limit": str(PAGE)}
        for _ in range(MAX_PAGES):
            answer = await self.wire.json("GET", f"{self.base}/sandbox", key, query=query)
            if not isinstance(answer, dict) or not isinstance(answer.get("items"), list):
                raise Refused(502, "a list of sandboxes without items")
            found += [_remote(item) for item in answer["items"]]
            cursor = answer.get("nextCursor")
            if not cursor:
                break
            query["cursor"] = str(cursor)
        return [
            one for one in found if all(one.labels.get(name) == labels[name] for name in labels)
        ]

    async def start(self, key: str, ref: str) -> None:
        await self.wire.json("POST", f"{self._of(ref)}/start", key, repeatable=True)

    async def stop(self, key: str, ref: str) -> None:
        await self.wire.json("POST", f"{self._of(ref)}/stop", key, repeatable=True)

    async def delete(self, key: str, ref: str) -> None:
        """Fine when it is gone already."""
        try:
            await self.wire.json("DELETE", self._of(ref), key)
        except Refused as error:
            if error.status != 404:
                raise

    async def stop_after(self, key: str, ref: str, minutes: int) -> None:
        """Have it stop by itself when nothing was asked of it for so long."""
        await self.wire.json("POST", f"{self._of(ref)}/autostop/{minutes}", key, repeatable=True)

    async def until(
        self,
        key: str,
        ref: str,
        wanted: Collection[str],
        seconds: float,
        first: Remote | None = None,
    ) -> Remote:
        """Ask until it is in one of these states.

        Raises Unavailable when it fails or ``seconds`` pass, Refused with 404 when it goes away.
        """
        reactor = self.wire.runtime.reactor
        deadline = reactor.seconds() + seconds
        remote, wait = first, FIRST_POLL
        while True:
            if remote is not None:
                if remote.state in wanted:
                    return remote
                if remote.state in FAILED:
                    reason = remote.error or remote.state.replace("_", " ")
                    raise Unavailable(f"Daytona could not bring the sandbox up: {reason}")
                if remote.state in ENDED:
                    raise Refused(404, "the sandbox was destroyed")
                if reactor.seconds() >= deadline:
                    raise Unavailable(
                        f"the sandbox at Daytona is still {remote.state} after {seconds:g} seconds;"
                        " try again later"
                    )
                await self.wire.runtime.sleep(wait)
                wait = min(wait * 1.5, SLOWEST_POLL)
            remote = await self.get(key, ref)

    def _of(self, ref: str) -> str:
        return f"{self.base}/sandbox/{quote(ref, safe='')}"


def _remote(answer: Any) -> Remote:
    if not isinstance(answer, dict) or not isinstance(answer.get("id"), str) or not answer["id"]:
        raise Refused(502, "a sandbox without an id")
    labels = answer.get("labels")
    return Remote(
        id=answer["id"],
        state=str(answer.get("state") or "unknown"),
        labels={str(name): str(value) for name, value in labels.items()}
        if isinstance(labels, dict)
        else {},
        toolbox_url=str(answer.get("toolboxProxyUrl") or "").rstrip("/"),
        error="".join(c for c in str(answer.get("errorReason") or "") if c.isprintable())[:300],
    )
