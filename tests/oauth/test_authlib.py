"""Authlib, unmodified, against the running daemon."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.oauth.conftest import CALLBACK
from tests.support.site import Site
from tests.web.routes.oauth.support import App, Browser, hidden_fields, make_app, sign_in

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from authlib.common.security import generate_token
    from authlib.integrations.base_client.errors import OAuthError
    from authlib.integrations.requests_client import OAuth2Session
    from authlib.oidc.core import CodeIDToken


@pytest.fixture(autouse=True)
def plain_http(monkeypatch) -> None:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


def metadata(site: Site) -> dict[str, Any]:
    known: dict[str, Any] = requests.get(
        site.daemon.url(".well-known/openid-configuration"), timeout=20
    ).json()
    return known


def session(site: Site, app: App, method: str = "client_secret_basic", **more: Any) -> Any:
    known = metadata(site)
    return OAuth2Session(
        app.client_id,
        app.secret if method != "none" else None,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        introspection_endpoint_auth_method=method,
        scope="openid profile email repo:read",
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
        token_endpoint=known["token_endpoint"],
        **more,
    )


def press_authorize(browser: Browser, address: str) -> str:
    """Follow the link of an app as a person would; where the browser ends."""
    target = "/" + address.split("/", 3)[3]
    page = browser.get(target)
    fields = hidden_fields(page.text) | {"decision": "approve"}
    return browser.post("/oauth/authorize", fields).headers["location"]


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
def test_code_with_pkce_openid_connect_and_refresh(site: Site, method: str) -> None:
    known, browser = metadata(site), sign_in(site)
    app = make_app(site, confidential=method != "none")
    client = session(site, app, method)
    verifier, nonce = generate_token(48), generate_token()
    address, state = client.create_authorization_url(
        known["authorization_endpoint"], code_verifier=verifier, nonce=nonce
    )
    landed = press_authorize(browser, address)
    token = client.fetch_token(
        known["token_endpoint"],
        authorization_response=landed,
        code_verifier=verifier,
        state=state,
    )
    assert token["access_token"].startswith("wit_oauth_")

    keys = KeySet.import_key_set(requests.get(known["jwks_uri"], timeout=20).json())
    decoded = jwt.decode(token["id_token"], keys, algorithms=["RS256"])
    claims = CodeIDToken(
        decoded.claims,
        decoded.header,
        {
            "iss": {"essential": True, "value": known["issuer"]},
            "aud": {"essential": True, "value": app.client_id},
        },
        {"nonce": nonce, "client_id": app.client_id, "access_token": token["access_token"]},
    )
    claims.validate()
    assert claims["sub"] == browser.user_id and claims["auth_time"] <= claims["iat"]
    assert claims["at_hash"]

    userinfo = client.get(known["userinfo_endpoint"]).json()
    assert userinfo["sub"] == claims["sub"] and userinfo["email"] == "alice@example.org"

    new = client.refresh_token(known["token_endpoint"])
    assert new["refresh_token"] != token["refresh_token"]
    assert client.get(known["userinfo_endpoint"]).status_code == 200
    old = {"Authorization": f"Bearer {token['access_token']}"}
    assert requests.get(known["userinfo_endpoint"], headers=old, timeout=20).status_code == 401


def test_introspection_and_revocation(site: Site) -> None:
    known, browser, app = metadata(site), sign_in(site), make_app(site)
    client = session(site, app)
    verifier = generate_token(48)
    address, _ = client.create_authorization_url(
        known["authorization_endpoint"], code_verifier=verifier
    )
    landed = press_authorize(browser, address)
    token = client.fetch_token(
        known["token_endpoint"], authorization_response=landed, code_verifier=verifier
    )
    asked = client.introspect_token(known["introspection_endpoint"], token["access_token"]).json()
    assert asked["active"] and asked["sub"] == browser.user_id
    for kind in ("access_token", "refresh_token"):
        done = client.revoke_token(known["revocation_endpoint"], token[kind], token_type_hint=kind)
        assert done.status_code == 200
        asked = client.introspect_token(known["introspection_endpoint"], token[kind]).json()
        assert asked == {"active": False}
    with pytest.raises(OAuthError, match="invalid_grant"):
        client.refresh_token(known["token_endpoint"], refresh_token=token["refresh_token"])
