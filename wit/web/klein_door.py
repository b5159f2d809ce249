"""Klein's routes inside our site: the routes that are not hot, one module per group.

A Klein route is ``async def`` and answers through ``request.answer``; its errors are WitErrors.
It starts before any of the body is read. A route that wants the body asks for it when it has
decided who may send one (:func:`wit.web.middleware.bodies.read_body`); ``request.content`` stays
empty.
"""

from __future__ import annotations

from urllib.parse import parse_qs, unquote_to_bytes

from klein import Klein
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from wit.errors import Unauthorized
from wit.web.site import method_not_allowed, not_found
from wit.web.streaming import Handler, Request

CHALLENGE = b'Bearer realm="wit"'
"""Not Basic: a browser would open a password dialogue."""


class KleinDoor:
    """A route (see :mod:`wit.web.site`) that takes every path; so it comes last."""

    def __init__(self, app: Klein) -> None:
        self._resource = app.resource()
        app.handle_errors(HTTPException)(_http_error)  # type: ignore[arg-type]
        app.handle_errors(Exception)(_error)  # type: ignore[arg-type]

    def route(self, request: Request) -> Handler:
        return self._serve

    async def _serve(self, request: Request) -> None:
        request.args = parse_qs(request.query, keep_blank_values=True)
        request.prepath = []
        request.postpath = [unquote_to_bytes(part) for part in request.path[1:].split(b"/")]
        ended = request.notifyFinish()
        request.render(self._resource)
        await ended


async def _http_error(request: Request, failure: Failure) -> None:
    """What werkzeug's router says about paths it has no route for."""
    error = failure.value
    if isinstance(error, NotFound):
        await not_found(request)
    elif isinstance(error, MethodNotAllowed):
        allowed = [method.encode() for method in error.valid_methods or ()]
        await method_not_allowed(*allowed)(request)
    else:
        request.fail(RuntimeError(str(error)))


async def _error(request: Request, failure: Failure) -> None:
    error = failure.value
    if isinstance(error, Unauthorized):
        request.setHeader(b"WWW-Authenticate", CHALLENGE)
    request.fail(error if isinstance(error, Exception) else RuntimeError(repr(error)))
