"""Which page a path has, and how what comes out is written."""

from __future__ import annotations

import attrs

from wit.access.actor import ANONYMOUS
from wit.core import Core
from wit.errors import Forbidden, WitError
from wit.web.cookies import make_cookies
from wit.web.middleware.limits import limited
from wit.web.origins import TrustedOrigins
from wit.web.pages import Page, asset, show
from wit.web.pages.elements import links, problem
from wit.web.routes.auth.errors import AuthError
from wit.web.routes.auth.exchange import Exchange, Redirect
from wit.web.routes.oauth.messages import form, no_store, parameters, redirect
from wit.web.routes.pages import home, invitation, npm_login, password, register, sign_in
from wit.web.routes.pages.visit import Form, Visit
from wit.web.routes.path_table import Found, PathTable
from wit.web.site import method_not_allowed
from wit.web.streaming import Handler, Request

FORMS = {
    "/": home.HOME,
    "/login": sign_in.LOGIN,
    "/login/code": sign_in.CODE,
    "/login/github": sign_in.GITHUB,
    f"{npm_login.PATH}/{{secret}}": npm_login.NPM_LOGIN,
    "/logout": sign_in.LOGOUT,
    "/register": register.REGISTER,
    "/forgot-password": password.FORGOTTEN,
    "/reset-password": password.RESET,
    "/invitations/{token}": invitation.INVITATION,
}

ICON = b"/favicon.ico"
ICON_SECONDS = 86400


class PagesDoor:
    """A route (see :mod:`wit.web.site`)."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._cookies = make_cookies(core.config, core.signer)
        self._origins = TrustedOrigins(core.config)
        self._icon = asset("wit.svg")
        self._table: PathTable[Form] = PathTable()
        for path, page in FORMS.items():
            self._table.add("GET", path, page)

    def route(self, request: Request) -> Handler | None:
        if request.path == ICON:
            return self._show_icon
        found = self._table.find("GET", request.path)
        if not isinstance(found, Found):
            return None
        allowed = [b"GET", b"POST"] if found.target.sent else [b"GET"]
        if request.method not in (*allowed, b"HEAD"):
            return method_not_allowed(*allowed)

        async def serve(request: Request) -> None:
            await self._serve(request, found)

        return serve

    async def _show_icon(self, request: Request) -> None:
        request.setHeader(b"Cache-Control", b"public, max-age=%d" % ICON_SECONDS)
        request.answer(200, "image/svg+xml", self._icon)

    async def _serve(self, request: Request, found: Found[Form]) -> None:
        no_store(request)
        try:
            await limited(request, self._core, "standard", ANONYMOUS)
            if request.method == b"POST":
                self._check_origin(request)
                fields = await form(request)
            else:
                fields = parameters(request.query)
            visit = Visit(self._core, self._exchange(request), found.values, fields)
            answer = await self._answer(request, found.target, visit)
        except (AuthError, WitError) as error:
            status, sentence = _refused(request, error)
            answer = Page("This did not work", [problem(sentence), links(("/", "Home"))], status)
        if isinstance(answer, Redirect):
            redirect(request, answer.location)
        else:
            await show(request, answer)

    async def _answer(self, request: Request, page: Form, visit: Visit) -> Page | Redirect:
        if request.method != b"POST" or page.sent is None:
            return await page.show(visit, "")
        try:
            return await page.sent(visit)
        except (AuthError, WitError) as error:
            status, sentence = _refused(request, error)
        again = await page.show(visit, sentence)
        return again if isinstance(again, Redirect) else attrs.evolve(again, status=status)

    def _exchange(self, request: Request) -> Exchange:
        return Exchange(
            identity=self._core.identity,
            cookies=self._cookies,
            origins=self._origins,
            public_url=self._core.config.public_url,
            request=request,
            path={},
            query={},
            data=None,
        )

    def _check_origin(self, request: Request) -> None:
        """Whether one of our own pages has made the browser send a form. Raises Forbidden.

        Asked of those who are not signed in as well: a page of another site could otherwise sign
        somebody in as somebody else.
        """
        origin = self._origins.sent_by(request)
        if not self._origins.ours(origin, request):
            raise Forbidden(
                "this form does not come from a page of this site; open the page here and try again"
            )


def _refused(request: Request, error: AuthError | WitError) -> tuple[int, str]:
    """The status, and the sentence for the person."""
    if isinstance(error, AuthError):
        return error.status, error.message
    sentence, _ = request.refuse(error)
    return request.code, sentence
