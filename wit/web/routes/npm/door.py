"""Which path of ``/api/packages`` goes to which handler, who asks, and how errors look.

Nobody is known by a cookie here (contract, auth.md): package managers have tokens, and no page of
another site can make a browser publish something.
"""

from __future__ import annotations

from functools import partial

import attrs
from twisted.internet.defer import CancelledError

from wit.access.actor import ANONYMOUS
from wit.core import Core
from wit.errors import NotFound, Unauthorized
from wit.streams import StreamClosed
from wit.web.klein_door import CHALLENGE
from wit.web.middleware.credentials import actor_of
from wit.web.middleware.limits import limited
from wit.web.routes.npm import access, people, publishing, queries, reading, tokens, web_login
from wit.web.routes.npm.exchange import Exchange
from wit.web.routes.npm.exchange import Handler as Serve
from wit.web.routes.npm.paths import PREFIX, parts_of
from wit.web.routes.path_table import Found, PathTable
from wit.web.site import method_not_allowed
from wit.web.streaming import Handler, Request

DOOR = "npm"


@attrs.frozen
class Route:
    serve: Serve
    limit: str | None = "standard"
    """The preset that its calls count against. None: as with git, installing has no limit, as one
    install asks for thousands of packages."""


_NO_LIST = "there is no list of all packages; search instead (npm 3 and newer do)"
_NO_STAGE = "this registry has no stage; publish without it"
_NO_EXCHANGE = "this registry trusts no publisher by OpenID Connect; publish with a token"
_NO_HOOKS = "hooks of packages are not offered; use the webhooks of the repository"
_MANAGED = "organizations and teams are not managed by npm here; wit's own API does it"

_AUDITS = "/-/npm/v1/security"
_LOGIN = Route(people.login, "strict")

ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/{name}"): Route(reading.packument, None),
    ("GET", "/{name}/{version}"): Route(reading.version, None),
    ("GET", "/{name}/-/{file}"): Route(reading.tarball, None),
    ("PUT", "/{name}"): Route(publishing.publish),
    ("PUT", "/{name}/-rev/{rev}"): Route(publishing.update),
    ("DELETE", "/{name}/-rev/{rev}"): Route(publishing.unpublish),
    ("DELETE", "/{name}/-/{file}/-rev/{rev}"): Route(publishing.unpublish_version),
    ("GET", "/-/package/{name}/dist-tags"): Route(publishing.tags),
    ("PUT", "/-/package/{name}/dist-tags/{tag}"): Route(publishing.set_tag),
    ("POST", "/-/package/{name}/dist-tags/{tag}"): Route(publishing.set_tag),
    ("DELETE", "/-/package/{name}/dist-tags/{tag}"): Route(publishing.remove_tag),
    ("GET", "/-/package/{name}/visibility"): Route(access.visibility),
    ("POST", "/-/package/{name}/access"): Route(access.set_access),
    ("GET", "/-/package/{name}/collaborators"): Route(access.collaborators),
    ("GET", "/-/org/{org}/package"): Route(access.of_organization),
    ("GET", "/-/user/{user}/package"): Route(access.of_user),
    ("GET", "/-/team/{org}/{team}/package"): Route(access.of_team),
    ("PUT", "/-/team/{org}/{team}/package"): Route(access.grant),
    ("DELETE", "/-/team/{org}/{team}/package"): Route(access.grant),
    ("GET", "/-/ping"): Route(queries.ping),
    ("GET", "/-/whoami"): Route(people.whoami),
    ("GET", "/-/v1/search"): Route(queries.search, "search"),
    ("GET", "/-/all"): Route(queries.refused(_NO_LIST)),
    ("GET", "/-/all/since"): Route(queries.refused(_NO_LIST)),
    ("GET", "/-/_view/starredByUser"): Route(queries.starred),
    ("GET", "/-/user/{user}"): Route(people.user),
    ("PUT", "/-/user/{user}"): _LOGIN,
    ("PUT", "/-/user/{user}/-rev/{rev}"): _LOGIN,
    ("DELETE", "/-/user/token/{token}"): Route(people.logout),
    ("POST", "/-/v1/login"): Route(web_login.begin, "strict"),
    ("GET", "/-/v1/login/done/{secret}"): Route(web_login.done),
    ("GET", "/-/npm/v1/user"): Route(people.profile),
    ("POST", "/-/npm/v1/user"): Route(people.set_profile),
    ("GET", "/-/npm/v1/tokens"): Route(tokens.list_all),
    ("POST", "/-/npm/v1/tokens"): Route(tokens.create, "strict"),
    ("DELETE", "/-/npm/v1/tokens/token/{key}"): Route(tokens.remove),
    ("POST", f"{_AUDITS}/advisories/bulk"): Route(queries.audit("bulk")),
    ("POST", f"{_AUDITS}/audits/quick"): Route(queries.audit("quick")),
    ("POST", f"{_AUDITS}/audits"): Route(queries.audit("full")),
    ("GET", "/-/npm/v1/keys"): Route(queries.keys),
    ("GET", "/-/npm/v1/attestations/{package}"): Route(queries.attestations),
    ("GET", "/-/npm/v1/hooks"): Route(queries.refused(_NO_HOOKS)),
    ("GET", "/-/stage"): Route(queries.refused(_NO_STAGE)),
    ("POST", "/-/stage/package/{name}"): Route(queries.refused(_NO_STAGE)),
    ("POST", "/-/npm/v1/oidc/token/exchange/package/{name}"): Route(queries.refused(_NO_EXCHANGE)),
    ("GET", "/-/org/{org}/user"): Route(queries.refused(_MANAGED)),
    ("PUT", "/-/org/{org}/user"): Route(queries.refused(_MANAGED)),
    ("DELETE", "/-/org/{org}/user"): Route(queries.refused(_MANAGED)),
    ("GET", "/-/org/{org}/team"): Route(queries.refused(_MANAGED)),
    ("PUT", "/-/org/{org}/team"): Route(queries.refused(_MANAGED)),
    ("DELETE", "/-/team/{org}/{team}"): Route(queries.refused(_MANAGED)),
    ("GET", "/-/team/{org}/{team}/user"): Route(queries.refused(_MANAGED)),
    ("PUT", "/-/team/{org}/{team}/user"): Route(queries.refused(_MANAGED)),
    ("DELETE", "/-/team/{org}/{team}/user"): Route(queries.refused(_MANAGED)),
}


class NpmDoor:
    """A route (see :mod:`wit.web.site`)."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._enabled = core.config.packages.enabled
        self._sent = core.metrics.bytes_sent.labels(DOOR)
        self._received = core.metrics.bytes_received.labels(DOOR)
        self._table: PathTable[Route] = PathTable()
        for (method, path), route in ROUTES.items():
            self._table.add(method, path, route)

    def route(self, request: Request) -> Handler | None:
        path = request.path
        if not path.startswith(PREFIX) or path[len(PREFIX) :][:1] not in (b"", b"/"):
            return None
        if not self._enabled:
            return None
        method = "GET" if request.method == b"HEAD" else request.method.decode("ascii")
        parts = parts_of(path)
        found = None if parts is None else self._table.match(method, parts)
        if found is None or (isinstance(found, Found) and found.values.get("name") == "-"):
            return self._nothing
        if isinstance(found, Found):
            return partial(self._serve, found)
        return method_not_allowed(*sorted(name.encode() for name in found.routes))

    async def _nothing(self, request: Request) -> None:
        if request.path.startswith(PREFIX + b"/-/"):
            raise NotFound("this registry does not offer that; docs/packages.md says what it does")
        raise NotFound("there is no package of this name")

    async def _serve(self, found: Found[Route], request: Request) -> None:
        wrong: Unauthorized | None = None
        actor = ANONYMOUS
        try:
            try:
                headers = request.requestHeaders.getRawHeaders(b"Authorization")
                actor = await actor_of(headers, self._core.credentials, request.address)
            except Unauthorized as error:
                wrong = error
            request.actor_name = actor.username
            if found.target.limit is not None:
                await limited(request, self._core, found.target.limit, actor)
            await found.target.serve(Exchange(self._core, request, actor, found.values))
        except (CancelledError, StreamClosed):
            raise
        except Exception as error:
            # A wrong credential is told where a right one might have found something.
            told = wrong if wrong and isinstance(error, (NotFound, Unauthorized)) else error
            self._refuse(request, told)
            raise told from None
        finally:
            self._sent.inc(request.sentLength)
            self._received.inc(request.body.received)

    def _refuse(self, request: Request, error: Exception) -> None:
        """What an error's answer must not have of the answer that was being made."""
        for name in (b"ETag", b"Last-Modified", b"Content-Encoding", b"Content-Disposition"):
            request.responseHeaders.removeHeader(name)
        request.setHeader(b"Cache-Control", b"no-store")
        if isinstance(error, Unauthorized) and not request.responseHeaders.hasHeader(
            b"WWW-Authenticate"
        ):
            request.setHeader(b"WWW-Authenticate", CHALLENGE)
