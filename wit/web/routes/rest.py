"""The REST door: every operation with a ``rest`` declaration, at its paths (contract, rest.md).

The input is put together from the path and, for methods with a body, the JSON body, else the
query; the path wins. What path and query say is text, and is read as the number, boolean or date
that the input asks for; what the body says is taken as it is, but for dates, which JSON has no
other form for. The body is asked for only when the declaration lets the caller in.
Answers are plain JSON, dates as ISO text with milliseconds; for those that are streams see
:mod:`wit.web.routes.rest_streams`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import attrs
from twisted.internet.defer import CancelledError

from wit.access.actor import ANONYMOUS, Actor
from wit.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unauthorized,
    UnsupportedMediaType,
)
from wit.operations.api import BadInput, invoke, subscribe
from wit.operations.call import Call
from wit.operations.json_text import parse_json
from wit.operations.registry import EVENTS, Kind, Operation, Page, Registry, Rest, Style
from wit.operations.texts import list_fields, read_dates, read_texts
from wit.streams import StreamClosed
from wit.web.answers import JSON, json_bytes
from wit.web.klein_door import CHALLENGE
from wit.web.middleware.bodies import body_source, read_body
from wit.web.middleware.caller import Callers
from wit.web.middleware.cors import is_public_api
from wit.web.routes.path_table import Found, PathTable
from wit.web.routes.rest_streams import EventStreams, plain_json, send
from wit.web.streaming import Handler, Request

if TYPE_CHECKING:
    from wit.core import Core

Limit = Callable[[Request, "Core", str, Actor], Awaitable[object]]
"""Counts a request against a preset; sets the headers of it, raises RateLimited."""

MAX_QUERY_FIELDS = 100

V1_MESSAGES = {"unauthorized": "Requires authentication", "not_found": "Not Found"}
"""What /api/v1 says in the contract's words."""


@attrs.frozen
class Route:
    operation: Operation
    rest: Rest
    lists: frozenset[str]
    """Input fields that a query may repeat."""

    @property
    def limit(self) -> str:
        """The preset that its calls count against; /api/v1 has one of its own."""
        own = self.operation.limit
        return "api" if self.rest.style is Style.V1 and own == "standard" else own


class RestDoor:
    """A route (see :mod:`wit.web.site`) of all REST paths; None for other paths.

    Raises TypeError for a declaration that REST cannot serve.
    """

    def __init__(
        self, registry: Registry, core: Core, callers: Callers, limit: Limit | None = None
    ) -> None:
        self._core = core
        self._callers = callers
        self._limit = limit
        self._documents = f"{core.config.public_url}/api/docs"
        self._table: PathTable[Route] = PathTable()
        self._events: PathTable[Route] = PathTable()
        self._streams = EventStreams(core.runtime)
        for operation in registry:
            for rest in operation.rest:
                lists = list_fields(operation.input) if operation.input else frozenset()
                table = self._events if rest.gives == EVENTS else self._table
                table.add(rest.method, rest.path, Route(operation, rest, lists))

    def finish_up(self) -> None:
        """The server stops: break off all streams of events."""
        self._streams.finish_up()

    def route(self, request: Request) -> Handler | None:
        method = "GET" if request.method == b"HEAD" else request.method.decode("ascii")
        found = None
        if EVENTS in (request.header(b"Accept") or ""):
            found = self._events.find(method, request.path)
        if not isinstance(found, Found):
            found = self._table.find(method, request.path)
        if found is None:
            return partial(self._serve, None, {}) if is_public_api(request.path) else None
        if isinstance(found, Found):
            return partial(self._serve, found.target, found.values)
        return partial(self._refuse_method, found.routes)

    async def _serve(self, route: Route | None, values: dict[str, str], request: Request) -> None:
        """``route`` None: there is nothing at this path of the public API."""
        public = route is None or route.rest.style is Style.V1
        if public:
            request.setHeader(b"X-API-Version", b"v1")
        actor = ANONYMOUS
        try:
            caller = await self._callers.of(request)
            if not (public and caller.by_cookie):  # contract, auth.md: no cookies there
                actor = caller.actor
            request.actor_name = actor.username
            if self._limit is not None:
                await self._limit(request, self._core, route.limit if route else "api", actor)
            if route is None:
                raise NotFound(V1_MESSAGES["not_found"])
            await self._call(route, values, Call(self._core, actor, caller.client), request)
        except (CancelledError, StreamClosed):
            raise
        except Exception as error:
            if isinstance(error, Unauthorized):
                request.setHeader(b"WWW-Authenticate", CHALLENGE)
            if not public or request.startedWriting:
                raise
            self._refuse(route, actor, error, request)

    async def _call(
        self, route: Route, texts: dict[str, str], call: Call, request: Request
    ) -> None:
        operation = route.operation
        values: dict[str, Any] = {}
        operation.access.admit(call.actor)
        if route.rest.has_json_body:
            given = parse_body(await read_body(request, operation.max_body), request)
        else:
            given = parse_query(request.query, route.lists)
        if operation.input is not None:
            read = read_dates if route.rest.has_json_body else read_texts
            values = {**read(operation.input, given), **read_texts(operation.input, texts)}
        if route.rest.takes != JSON:
            call.body = body_source(request, operation.max_body)
        if operation.kind is Kind.SUBSCRIPTION:
            items = await subscribe(operation, call, values)
            await self._streams.serve(request, call.user_key, items)
            return
        result = await invoke(operation, call, values)
        if route.rest.gives != JSON:
            await send(request, route.rest.gives, result)
            return
        if isinstance(result, Page):
            base = f"{self._core.config.public_url}{request.path.decode('ascii')}"
            if link := page_links(result, operation, values, base, request.query):
                request.setHeader(b"Link", link.encode("ascii"))
            result = result.items
        answer(request, route, result)

    def _refuse(
        self, route: Route | None, actor: Actor, error: Exception, request: Request
    ) -> None:
        """Answer ``error`` in the shape of /api/v1."""
        message, code = request.refuse(error)
        status = request.code
        body: dict[str, Any] = {
            "message": V1_MESSAGES.get(code, message),
            "documentation_url": self._documents,
        }
        resource = route.operation.name.split(".")[-2] if route else ""
        if isinstance(error, BadInput):
            status = 422
            body["message"] = "Validation Failed"
            body["errors"] = [
                {
                    "resource": resource,
                    "field": ".".join(map(str, issue["loc"])),
                    "code": "missing_field" if issue["type"] == "missing" else "invalid",
                }
                for issue in error.issues
            ]
        elif isinstance(error, Conflict):
            status = 422
            body["errors"] = [{"resource": resource, "field": "", "code": "already_exists"}]
        elif isinstance(error, Forbidden) and route is not None:
            scope = route.operation.access.scope
            if scope is not None and not actor.has_scope(scope):
                body["required_scopes"] = [scope]
        request.answer(status, JSON, json_bytes(body))

    async def _refuse_method(self, routes: dict[str, Route], request: Request) -> None:
        allowed = sorted({*routes, "HEAD"} if "GET" in routes else routes)
        request.setHeader(b"Allow", ", ".join(allowed).encode())
        body = {"error": "Method not allowed"}
        if next(iter(routes.values())).rest.style is Style.V1:
            request.setHeader(b"X-API-Version", b"v1")
            body = {"message": body["error"], "documentation_url": self._documents}
        request.answer(405, JSON, json_bytes(body))


def parse_query(query: bytes, lists: frozenset[str]) -> dict[str, Any]:
    """A query's fields; of those that are not ``lists`` the last one counts. Raises Invalid."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_QUERY_FIELDS,
        )
    except ValueError:
        raise Invalid(
            f"the query must be UTF-8 and have at most {MAX_QUERY_FIELDS} fields"
        ) from None
    if any("\0" in text for pair in pairs for text in pair):  # PostgreSQL has no such texts
        raise Invalid("text must not have NUL characters")
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in lists:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    return values


def parse_body(data: bytes, request: Request) -> dict[str, Any]:
    """A JSON object; no body at all is an empty one. Raises Invalid, UnsupportedMediaType."""
    if not data:
        return {}
    kind = (request.header(b"Content-Type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType("send the body as JSON, with Content-Type: application/json")
    try:
        body = parse_json(data.decode())
    except UnicodeDecodeError:
        raise Invalid("the body is not UTF-8") from None
    if not isinstance(body, dict):
        raise Invalid("the body must be a JSON object")
    return body


def answer(request: Request, route: Route, result: Any) -> None:
    """``result`` with the route's status. An operation that returns nothing has no body."""
    status = route.rest.status
    if status == 204:
        request.setResponseCode(204)
    elif route.operation.output in (None, NoneType):
        request.setResponseCode(status)
        request.setHeader(b"Content-Length", b"0")
    else:
        request.answer(status, JSON, plain_json(result).encode())


def page_links(
    page: Page[Any], operation: Operation, values: dict[str, Any], base: str, query: bytes
) -> str:
    """The Link header (RFC 8288) of a page; empty if it is the only one."""
    assert operation.input is not None
    asked: Any = operation.input.model_validate(values, strict=True)
    number, size = asked.page, asked.per_page
    kept = [
        pair
        for pair in parse_qsl(query.decode("ascii"), keep_blank_values=True)
        if pair[0] not in ("page", "per_page")
    ]
    targets = {}
    if page.more:
        targets["next"] = number + 1
    if page.total is not None and page.more:
        targets["last"] = -(-page.total // size)
    if number > 1:
        targets["prev"] = number - 1
        targets["first"] = 1
    return ", ".join(
        f'<{base}?{urlencode([*kept, ("page", target), ("per_page", size)])}>; rel="{name}"'
        for name, target in targets.items()
    )
