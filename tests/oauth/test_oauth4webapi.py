"""oauth4webapi (npm), unmodified, against the running daemon: it checks all it is told, and has
its own opinion of each RFC."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.site import Site
from tests.web.routes.oauth.support import App, hidden_fields, make_app, sign_in

NODE = Path(__file__).parents[1] / "real" / "node"
REDIRECT = "http://127.0.0.1:51234/cb"


def arguments(site: Site, command: str, app: App, *more: str) -> list[str]:
    assert (NODE / "node_modules").exists(), "run `scripts/setup dev .venv`: it runs npm ci"
    issuer = f"http://localhost:{site.daemon.http_port}"
    return ["node", str(NODE / "oauth.mjs"), command, issuer, app.client_id, *more]


def node(site: Site, command: str, app: App, *more: str, **environment: str) -> Any:
    done = subprocess.run(
        arguments(site, command, app, *more),
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("confidential", "metadata"), [(True, "oidc"), (False, "oauth2")])
def test_code_flow_from_a_program_on_a_port_of_its_own(
    site: Site, confidential: bool, metadata: str
) -> None:
    app = make_app(site, confidential=confidential, callback_url="http://127.0.0.1/cb")
    browser, secret = sign_in(site), app.secret if confidential else ""
    started = node(site, "start", app, secret, REDIRECT, ALGORITHM=metadata)
    page = browser.get("/" + started["address"].split("/", 3)[3])
    fields = hidden_fields(page.text) | {"decision": "approve"}
    landed = browser.post("/oauth/authorize", fields).headers["location"]
    assert landed.startswith(REDIRECT)
    result = node(
        site, "finish", app, secret, REDIRECT, landed, json.dumps(started), ALGORITHM=metadata
    )
    assert result["claims"]["sub"] == browser.user_id
    assert result["userinfo"]["preferred_username"] == "alice"
    assert result["refreshed"]["access_token"] != result["tokens"]["access_token"]
    if confidential:
        assert result["introspection"]["active"] is True


def test_device_flow(site: Site) -> None:
    app, browser = make_app(site, confidential=False), sign_in(site)
    with subprocess.Popen(
        arguments(site, "device", app),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None and program.stdin is not None
        user_code = program.stdout.readline().strip()
        page = browser.get(f"/oauth/device?user_code={user_code}")
        fields = hidden_fields(page.text) | {"decision": "approve"}
        assert browser.post("/oauth/device", fields).status == 200
        output, _ = program.communicate("go on\n", timeout=60)
    assert program.returncode == 0
    result = json.loads(output)
    assert result["claims"]["sub"] == browser.user_id
    assert result["tokens"]["access_token"].startswith("wit_oauth_")
