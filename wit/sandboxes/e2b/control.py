"""E2B's control plane: sandboxes are made, found, paused and ended here.

Eight calls of JSON over HTTPS (E2B's openapi.yml). What E2B says may be repeated is, as its own
clients do it: 429, 502, 503 and 504, unless ``Should-Retry`` says otherwise, four times at most.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from twisted.logger import Logger

from wit.errors import Conflict, Invalid, PreconditionFailed, Unavailable, WitError
from wit.runtime import Runtime
from wit.sandboxes.e2b.http import Answer, Http, TooLong, Unreachable
from wit.sandboxes.e2b.text import plain
from wit.sandboxes.provider import SandboxLost

TRIES = 4
REPEATED = frozenset({429, 502, 503, 504})
BACK_OFF_SECONDS = 0.1
BACK_OFF_MOST = 10.0
ALL_SECONDS = 60.0
"""Longest time for one call, with all its repetitions."""

MAX_ANSWER = 4 * 1024 * 1024
PAGE = 100
MAX_PAGES = 200

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

log = Logger()


class Control:
    """``url`` is the operator's, such as https://api.e2b.app; every call names its key."""

    def __init__(self, http: Http, runtime: Runtime, url: str) -> None:
        self._http = http
        self._runtime = runtime
        self._url = url.rstrip("/")

    async def create(self, key: str, body: Mapping[str, Any], once: str) -> Mapping[str, Any]:
        """A new sandbox; ``once`` is the same when the same creation is tried again."""
        answer = await self._ask(
            key, "POST", "/v2/sandboxes", body, headers={"Idempotency-Key": once}
        )
        return self._object(answer)

    async def get(self, key: str, sandbox_id: str) -> Mapping[str, Any]:
        return self._object(await self._ask_of(key, "GET", sandbox_id))

    async def listing(self, key: str, metadata: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """All running and paused sandboxes with this metadata."""
        found: list[Mapping[str, Any]] = []
        # Encoded once more than HTTP asks for: E2B decodes the whole before it cuts it.
        wanted = urlencode({quote(name): quote(value) for name, value in metadata.items()})
        token = ""
        for _ in range(MAX_PAGES):
            query = {
                "metadata": wanted,
                "state": "running,paused",
                "limit": str(PAGE),
                **({"nextToken": token} if token else {}),
            }
            answer = await self._ask(key, "GET", f"/v2/sandboxes?{urlencode(query)}")
            found += self._objects(answer)
            token = answer.header("X-Next-Token")
            if not token:
                break
        return found

    async def check(self, key: str) -> None:
        """Raises what a call with this key would, tried once."""
        await self._ask(key, "GET", "/v2/sandboxes?limit=1", tries=1)

    async def delete(self, key: str, sandbox_id: str) -> None:
        """Raises SandboxLost when it was gone already."""
        await self._ask_of(key, "DELETE", sandbox_id)

    async def set_timeout(self, key: str, sandbox_id: str, seconds: int) -> None:
        """It lives for so long from now."""
        await self._ask_of(key, "POST", sandbox_id, "/timeout", {"timeout": seconds})

    async def pause(self, key: str, sandbox_id: str) -> None:
        """Raises Conflict when it is paused already."""
        await self._ask_of(key, "POST", sandbox_id, "/pause", {})

    async def connect(self, key: str, sandbox_id: str, seconds: int) -> Mapping[str, Any]:
        """Resume it, to live for so long; one that runs is not given less than it has."""
        path = f"/v2/sandboxes/{check_id(sandbox_id)}/connect"
        return self._object(
            await self._ask(key, "POST", path, {"timeout": seconds}, lost=sandbox_id)
        )

    async def metrics(self, key: str, sandbox_id: str) -> list[Mapping[str, Any]]:
        return self._objects(await self._ask_of(key, "GET", sandbox_id, "/metrics"))

    async def _ask_of(
        self,
        key: str,
        method: str,
        sandbox_id: str,
        what: str = "",
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        path = f"/sandboxes/{check_id(sandbox_id)}{what}"
        return await self._ask(key, method, path, body, lost=sandbox_id)

    async def _ask(
        self,
        key: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        lost: str = "",
        tries: int = TRIES,
    ) -> Answer:
        """A good answer. ``lost`` is the sandbox that a 404 says is gone."""
        fields = {"X-API-Key": key, "Accept": "application/json", **(headers or {})}
        content = b""
        if body is not None:
            fields["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        deadline = self._runtime.reactor.seconds() + ALL_SECONDS
        for number in range(1, tries + 1):
            left = deadline - self._runtime.reactor.seconds()
            try:
                answer = await self._http.ask(
                    method,
                    f"{self._url}{path}",
                    fields,
                    content,
                    seconds=max(left, 1.0),
                    limit=MAX_ANSWER,
                )
            except TooLong as error:
                raise Unavailable("E2B's answer is too long") from error
            except Unreachable as error:
                if error.sent or number == tries:
                    raise Unavailable(f"E2B: {error}; try again later") from error
                wait = self._back_off(number)
            else:
                if answer.status < 300:
                    return answer
                if number == tries or not _may_repeat(answer):
                    raise _refusal(answer, lost)
                wait = _retry_after(answer) or self._back_off(number)
                if self._runtime.reactor.seconds() + wait >= deadline:
                    raise _refusal(answer, lost)
            log.debug("E2B: {method} again in {wait:.1f} s", method=method, wait=wait)
            await self._runtime.sleep(wait)
        raise AssertionError("unreachable")

    def _back_off(self, number: int) -> float:
        whole = min(BACK_OFF_SECONDS * 2 ** (number - 1), BACK_OFF_MOST)
        return float(whole * (0.5 + self._runtime.random_bytes(1)[0] / 512))

    def _object(self, answer: Answer) -> Mapping[str, Any]:
        value = _json(answer)
        if not isinstance(value, dict):
            raise Unavailable("E2B answered something else than was expected")
        return value

    def _objects(self, answer: Answer) -> list[Mapping[str, Any]]:
        value = _json(answer)
        if not isinstance(value, list):
            raise Unavailable("E2B answered something else than was expected")
        return [one for one in value if isinstance(one, dict)]


def check_id(sandbox_id: object) -> str:
    """An id as E2B gives it, fit for a path or a host name. Raises Unavailable."""
    if not isinstance(sandbox_id, str) or not _ID.fullmatch(sandbox_id):
        raise Unavailable("E2B named a sandbox in a way that was not expected")
    return sandbox_id


def _may_repeat(answer: Answer) -> bool:
    asked = answer.header("Should-Retry").strip().lower()
    return asked == "true" if asked else answer.status in REPEATED


def _retry_after(answer: Answer) -> float | None:
    value = answer.header("Retry-After").strip()
    return float(value) if re.fullmatch(r"[0-9]{1,6}", value) else None


def _refusal(answer: Answer, lost: str) -> WitError:
    said = _said(answer)
    match answer.status:
        case 404 if lost:
            return SandboxLost("E2B no longer has this sandbox; its files are gone")
        case 401:
            return PreconditionFailed("E2B does not accept the API key; set one that is valid")
        case 403:
            return PreconditionFailed(f"E2B does not allow this: {said}")
        case 409:
            return Conflict(f"E2B: {said}")
        case 400 | 404 | 422:
            return Invalid(f"E2B refused this: {said}")
        case 429:
            return Unavailable(
                f"E2B is asked too often, or has no room left for this account: {said}",
                int(_retry_after(answer) or 30),
            )
    return Unavailable(f"E2B cannot do this now: {said}")


def _said(answer: Answer) -> str:
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        value = None
    message = plain(value.get("message")) if isinstance(value, dict) else ""
    return message or f"status {answer.status}"


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise Unavailable("E2B answered something else than JSON") from None
