"""Which path of the OAuth door goes to which handler."""

from __future__ import annotations

from wit.core import Core
from wit.web.routes.oauth import authorize, device
from wit.web.routes.oauth.browser import Browsers
from wit.web.routes.oauth.endpoints import Endpoints
from wit.web.routes.oauth.messages import oauth_errors
from wit.web.routes.oauth.metadata import Metadata
from wit.web.routes.oauth.own import AUTHORIZATIONS, Own
from wit.web.routes.oauth.tickets import Tickets
from wit.web.site import exactly, method_not_allowed
from wit.web.streaming import Handler, Request


class OAuthDoor:
    """A route (see :mod:`wit.web.site`)."""

    def __init__(self, core: Core) -> None:
        browsers = Browsers(core)
        tickets = Tickets(core.signer, core.runtime)
        consent = authorize.Authorize(core, browsers, tickets)
        devices = device.DevicePage(core, browsers, tickets)
        metadata = Metadata(core)
        calls = Endpoints(core)
        own = Own(core, browsers)
        userinfo = oauth_errors(calls.userinfo)
        self._revoke = oauth_errors(own.revoke)
        self._exactly = exactly(
            {
                b"/.well-known/oauth-authorization-server": {b"GET": metadata.discovery},
                b"/.well-known/openid-configuration": {b"GET": metadata.discovery},
                b"/oauth/jwks": {b"GET": metadata.jwks},
                authorize.PATH.encode(): {b"GET": consent.get, b"POST": consent.post},
                device.PATH.encode(): {b"GET": devices.get, b"POST": devices.post},
                b"/oauth/token": {b"POST": oauth_errors(calls.token)},
                b"/oauth/revoke": {b"POST": oauth_errors(calls.revoke)},
                b"/oauth/introspect": {b"POST": oauth_errors(calls.introspect)},
                b"/oauth/device_authorization": {b"POST": oauth_errors(calls.device_authorization)},
                b"/oauth/userinfo": {b"GET": userinfo, b"POST": userinfo},
                b"/oauth/scopes": {b"GET": oauth_errors(own.scopes)},
                b"/oauth/apps": {b"GET": oauth_errors(own.apps)},
                AUTHORIZATIONS: {b"GET": oauth_errors(own.authorizations)},
            }
        )

    def route(self, request: Request) -> Handler | None:
        parent, _, rest = request.path.rpartition(b"/")
        if parent == AUTHORIZATIONS and rest:
            return self._revoke if request.method == b"DELETE" else method_not_allowed(b"DELETE")
        return self._exactly(request)
