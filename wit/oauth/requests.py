"""Authorization requests (RFC 6749, section 4.1.1; OpenID Connect Core, section 3.1.2.1): pure."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from wit.db.port import Row
from wit.oauth.apps import callback_urls
from wit.oauth.errors import OAuthError
from wit.oauth.pkce import METHOD, is_challenge
from wit.oauth.redirects import matches
from wit.oauth.scopes import Scopes

MAX_STATE = 2000
MAX_NONCE = 500

REPEATED = (
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "max_age",
)
"""What the consent form sends along, so that approving is approving this very request."""


class Refused(OAuthError):
    """An error that the app hears of: the browser is sent back to it (section 4.1.2.1)."""

    def __init__(self, error: str, description: str, redirect_uri: str, state: str | None) -> None:
        super().__init__(error, description)
        self.redirect_uri = redirect_uri
        self.state = state


@attrs.frozen
class AuthorizationRequest:
    app: Row
    redirect_uri: str
    scopes: Scopes
    state: str | None
    code_challenge: str | None
    nonce: str | None
    prompt: frozenset[str]
    max_age: int | None
    """Seconds since the sign-in."""

    def refuse(self, error: str, description: str) -> Refused:
        """To raise."""
        return Refused(error, description, self.redirect_uri, self.state)


def required(parameters: Mapping[str, str], name: str) -> str:
    """Raises OAuthError."""
    value = parameters.get(name)
    if value is None:
        raise OAuthError("invalid_request", f"{name} is missing")
    return value


def client_of(parameters: Mapping[str, str]) -> str:
    """The client id of a request that has all it must have. Raises OAuthError."""
    client_id = required(parameters, "client_id")
    for name in ("redirect_uri", "scope"):
        required(parameters, name)
    if required(parameters, "response_type") != "code":
        raise OAuthError("unsupported_response_type", "response_type must be code")
    return client_id


def read_request(parameters: Mapping[str, str], app: Row) -> AuthorizationRequest:
    """Check everything that does not depend on who is signed in.

    Raises OAuthError as long as the redirect URI is not known to be the app's, Refused after.
    """
    redirect_uri = required(parameters, "redirect_uri")
    if not matches(redirect_uri, callback_urls(app)):
        raise OAuthError(
            "invalid_request", "redirect_uri is not one of the callback URLs of this app"
        )
    state, nonce = parameters.get("state"), parameters.get("nonce")
    if len(state or "") > MAX_STATE:
        raise OAuthError("invalid_request", f"state has more than {MAX_STATE} characters")
    request = AuthorizationRequest(
        app=app,
        redirect_uri=redirect_uri,
        scopes=Scopes.parse(required(parameters, "scope")),
        state=state,
        code_challenge=parameters.get("code_challenge"),
        nonce=nonce,
        prompt=frozenset(parameters.get("prompt", "").split()),
        max_age=_seconds(parameters.get("max_age")),
    )
    problem = _problem(request, parameters)
    if problem is not None:
        raise request.refuse(*problem)
    return request


def _problem(
    request: AuthorizationRequest, parameters: Mapping[str, str]
) -> tuple[str, str] | None:
    for name in ("request", "request_uri"):
        if name in parameters:
            return f"{name}_not_supported", f"{name} is not supported"
    if parameters.get("response_mode", "query") != "query":
        return "invalid_request", "response_mode must be query"
    if not request.scopes:
        return "invalid_scope", "scope has no scope that wit knows"
    if request.nonce is not None and not (
        len(request.nonce) <= MAX_NONCE and request.nonce.isprintable()
    ):
        return "invalid_request", f"nonce must be printable, and {MAX_NONCE} characters at most"
    method = parameters.get("code_challenge_method")
    if request.code_challenge is None:
        if method is not None:
            return "invalid_request", "code_challenge_method came without a code_challenge"
        if not request.app["is_confidential"]:
            return "invalid_request", "this app has no secret, so it must send a code_challenge"
    elif method != METHOD:
        return "invalid_request", f"code_challenge_method must be {METHOD}"
    elif not is_challenge(request.code_challenge):
        return "invalid_request", "code_challenge must be a SHA-256 in base64url, without padding"
    return None


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise OAuthError("invalid_request", "max_age must be a number of seconds")
    return int(text)
