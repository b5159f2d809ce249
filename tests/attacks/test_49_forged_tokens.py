"""Signed tokens are for apps to check. No door of wit takes one for a credential, however signed;
and what apps check them with has one algorithm and no secrets."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from tests.support.site import Site
from tests.support.wire import ask, basic
from tests.web.routes.oauth.support import make_app, sign_in, tokens

pytestmark = pytest.mark.attack(49)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: object) -> str:
    return encoded(json.dumps(value).encode())


def published(site: Site) -> Any:
    return json.loads(ask(site.daemon, "GET", "/oauth/jwks").body)


def forgeries(site: Site, user_id: str, real: str) -> dict[str, str]:
    """ID tokens that are not ours."""
    claims = {
        "iss": f"http://localhost:{site.daemon.http_port}", "sub": user_id, "scope": "repo:admin",
        "exp": int(time.time()) + 3600, "iat": int(time.time()), "aud": "wit",
    }  # fmt: skip
    (public, *_) = published(site)["keys"]
    kid = public["kid"]
    pem = RSAKey.import_key(public).as_pem(private=False)
    own = RSAKey.generate_key(2048, {"kid": kid})
    head, body, signature = real.split(".")
    confused = f"{part({'alg': 'HS256', 'kid': kid})}.{part(claims)}"
    return {
        "none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}.",
        "None": f"{part({'alg': 'NoNe', 'kid': kid})}.{part(claims)}.",
        "no signature": f"{head}.{body}.",
        "other body": f"{head}.{part(claims)}.{signature}",
        "public key as a secret": f"{confused}.{encoded(hmac.digest(pem, confused.encode(), 'sha256'))}",
        "own key": jwt.encode({"alg": "RS256", "kid": kid}, claims, own),
        "kid traversal": jwt.encode({"alg": "RS256", "kid": "../../etc/passwd"}, claims, own),
        "own key in the header": jwt.encode(
            {"alg": "RS256", "jwk": own.as_dict(private=False)}, claims, own
        ),
        "key by address": jwt.encode(
            {"alg": "RS256", "jku": "https://evil.example/jwks", "kid": "x"}, claims, own
        ),
    }


def test_no_door_takes_them(site: Site) -> None:
    browser, app = sign_in(site), make_app(site)
    real = tokens(site, app, browser, scope="openid repo:admin")["id_token"]
    for name, token in {**forgeries(site, browser.user_id, real), "real": real}.items():
        bearer = {"Authorization": f"Bearer {token}"}
        assert ask(site.daemon, "GET", "/oauth/userinfo", bearer).status == 401, name
        assert ask(site.daemon, "GET", "/repos", bearer).status == 401, name
        git = "/alice/x/info/refs?service=git-upload-pack"
        assert ask(site.daemon, "GET", git, bearer).status == 401, name
        password = {"Authorization": basic("x-access-token", token)}
        assert ask(site.daemon, "GET", git, password, source="127.0.49.1").status in (401, 429)


def test_a_client_with_our_keys_refuses_them(site: Site) -> None:
    browser, app = sign_in(site), make_app(site)
    real = tokens(site, app, browser, scope="openid")["id_token"]
    keys = KeySet.import_key_set(published(site))
    known = json.loads(ask(site.daemon, "GET", "/.well-known/openid-configuration").body)
    algorithms = known["id_token_signing_alg_values_supported"]
    assert algorithms == ["RS256"]
    assert jwt.decode(real, keys, algorithms=algorithms).claims["sub"] == browser.user_id
    for name, token in forgeries(site, browser.user_id, real).items():
        with pytest.raises((JoseError, ValueError)):
            jwt.decode(token, keys, algorithms=algorithms)
            pytest.fail(name)


def test_the_published_keys_are_public(site: Site) -> None:
    tokens(site, make_app(site), sign_in(site), scope="openid")
    for key in published(site)["keys"]:
        assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}
        assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")
