"""``/OWNER/REPOSITORY/terminal``: terminals in one's sandbox of a repository.

The page is the same for all; what it shows it learns over WebSockets (docs/terminals.md). Here it
is decided who gets it, and said which terminals there are already.
"""

from __future__ import annotations

import json
from html import escape
from string import Template
from typing import Any
from urllib.parse import quote

import attrs

from wit.access.actor import Actor, Level
from wit.core import Core
from wit.db.port import Row
from wit.errors import Invalid, NotFound, WitError
from wit.git.names import RESERVED_OWNERS, RepoName, check_owner, check_repo
from wit.sandboxes.terminals.terminals import SCOPE
from wit.web.middleware.caller import Callers
from wit.web.middleware.limits import limited
from wit.web.pages import HTML, Page, asset, show
from wit.web.pages.elements import links, problem
from wit.web.routes.oauth.messages import no_store, redirect
from wit.web.routes.path_table import Found, PathTable
from wit.web.routes.static import static_file, static_route
from wit.web.site import method_not_allowed
from wit.web.streaming import Handler, Request

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy. xterm.js writes the sizes and colours of its cells into style elements
of its own; scripts come from files of ours alone."""

XTERM = static_file("xterm.js", ("static/xterm/xterm.js", "static/xterm/addon-fit.js"))
SCRIPT = static_file(
    "terminal.js",
    ("pages/terminal-connection.js", "pages/terminal-screen.js", "pages/terminal.js"),
)
STYLE = static_file(
    "terminal.css", ("pages/wit.css", "static/xterm/xterm.css", "pages/terminal.css")
)

_PAGE = Template(asset("terminal.html").decode())

_SHOWN = 16
"""Terminals that are offered at the start."""


class TerminalPage:
    """A route (see :mod:`wit.web.site`)."""

    def __init__(self, core: Core, callers: Callers) -> None:
        self._core = core
        self._callers = callers
        self._files = static_route([XTERM, SCRIPT, STYLE])
        self._table: PathTable[None] = PathTable()
        self._table.add("GET", "/{owner}/{repo}/terminal", None)

    def route(self, request: Request) -> Handler | None:
        if (file := self._files(request)) is not None:
            return file
        found = self._table.find("GET", request.path)
        if not isinstance(found, Found) or found.values["owner"] in RESERVED_OWNERS:
            return None
        if request.method not in (b"GET", b"HEAD"):
            return method_not_allowed(b"GET")
        values = found.values

        async def serve(request: Request) -> None:
            await self._serve(request, values["owner"], values["repo"])

        return serve

    async def _serve(self, request: Request, owner: str, repo: str) -> None:
        no_store(request)
        try:
            actor = (await self._callers.of(request)).actor
            await limited(request, self._core, "standard", actor)
            if actor.anonymous:
                here = quote(request.path.decode("ascii"), safe="")
                redirect(request, f"/login?returnTo={here}")
                return
            try:
                name = RepoName(check_owner(owner), check_repo(repo))
            except Invalid:
                raise NotFound("repository not found") from None
            row = await self._core.gate.repository(actor, name, Level.READ)
            state = await self._state(actor, row)
        except WitError as error:
            sentence, _ = request.refuse(error)
            title = "Not found" if isinstance(error, NotFound) else "No terminal"
            await show(
                request, Page(title, [problem(sentence), links(("/", "Home"))], request.code)
            )
            return
        body = _PAGE.substitute(
            name=escape(row["full_name"]),
            state=escape(json.dumps(state)),
            xterm=XTERM.path,
            script=SCRIPT.path,
            style=STYLE.path,
        )
        request.setHeader(b"Content-Security-Policy", POLICY)
        request.setHeader(b"X-Frame-Options", b"DENY")
        request.answer(200, HTML, body.encode())

    async def _state(self, actor: Actor, row: Row) -> dict[str, Any]:
        """What the page's script begins with; who may only read can still watch, with a link."""
        state = State(row["id"], row["full_name"], row["level"] >= Level.WRITE)
        if state.mayOpen and actor.has_scope(SCOPE):
            found = await self._core.sandboxes.list(actor, repo_id=row["id"], limit=1)
            for sandbox in found:
                terminals = await self._core.terminals.list(actor, sandbox.id)
                running = [terminal for terminal in terminals if terminal.ended is None]
                state.terminals = [
                    {"id": terminal.id, "title": terminal.title} for terminal in running[-_SHOWN:]
                ]
        return attrs.asdict(state)


@attrs.define
class State:
    """As JSON, in the page."""

    repoId: str
    name: str
    mayOpen: bool
    terminals: list[dict[str, str]] = attrs.field(factory=list)
