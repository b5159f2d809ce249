"""What clients find out by themselves: RFC 8414, OpenID Connect Discovery 1.0, RFC 7517."""

from __future__ import annotations

from typing import Any

from wit.core import Core
from wit.oauth.devices import GRANT_TYPE
from wit.oauth.openid import CLAIMS
from wit.oauth.pkce import METHOD
from wit.oauth.scopes import SUPPORTED
from wit.oauth.signing_keys import ALGORITHM
from wit.web.answers import JSON, json_bytes
from wit.web.routes.oauth.messages import answer
from wit.web.streaming import Request

CACHED = b"public, max-age=300"


class Metadata:
    def __init__(self, core: Core) -> None:
        self._keys = core.oauth.keys
        self._document = json_bytes(document(core.oauth.issuer))

    async def discovery(self, request: Request) -> None:
        request.setHeader(b"Cache-Control", CACHED)
        request.answer(200, JSON, self._document)

    async def jwks(self, request: Request) -> None:
        request.setHeader(b"Cache-Control", CACHED)
        answer(request, {"keys": await self._keys.published()})


def document(issuer: str) -> dict[str, Any]:
    """One document for both standards."""
    base = f"{issuer}/oauth"
    with_secret = ["client_secret_basic", "client_secret_post"]
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "jwks_uri": f"{base}/jwks",
        "userinfo_endpoint": f"{base}/userinfo",
        "revocation_endpoint": f"{base}/revoke",
        "introspection_endpoint": f"{base}/introspect",
        "device_authorization_endpoint": f"{base}/device_authorization",
        "scopes_supported": list(SUPPORTED),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", GRANT_TYPE],
        "token_endpoint_auth_methods_supported": [*with_secret, "none"],
        "revocation_endpoint_auth_methods_supported": [*with_secret, "none"],
        "introspection_endpoint_auth_methods_supported": with_secret,
        "code_challenge_methods_supported": [METHOD],
        "authorization_response_iss_parameter_supported": True,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "claims_supported": list(CLAIMS),
        "prompt_values_supported": ["none", "login", "consent"],
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }
