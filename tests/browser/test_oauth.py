"""An app asks, the person answers, and the answer arrives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

import attrs
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Windows
from tests.browser.people import new_user, sign_in
from tests.support.site import Site
from tests.web.routes.oauth.support import authorize, exchange, make_app, post


@attrs.frozen
class CommandLine:
    """An app that listens on a loopback port of its own choice (RFC 8252, section 7.3)."""

    port: int
    answers: list[dict[str, str]]

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def callback(self) -> str:
        return f"{self.origin}/callback"


@pytest.fixture
def command_line() -> Iterator[CommandLine]:
    answers: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/callback":
                answers.append(dict(parse_qsl(parts.query)))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<link rel=icon href=data:,><h1>You can close this page</h1>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield CommandLine(server.server_address[1], answers)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scripts", [True, False])
def test_the_code_arrives(
    windows: Windows, site: Site, command_line: CommandLine, scripts: bool
) -> None:
    name, app = (
        new_user(site),
        make_app(site, name="Tool", callback_url="http://127.0.0.1/callback"),
    )
    page = windows(allowed=(command_line.origin,), java_script_enabled=scripts)
    page.goto(authorize(app, redirect_uri=command_line.callback))
    sign_in(page, name)
    expect(page.get_by_role("heading")).to_have_text("Authorize Tool")
    expect(page.get_by_text("wants to use wit as")).to_contain_text(name)
    expect(page.get_by_text("You will be sent to")).to_contain_text(command_line.callback)
    expect(page.get_by_role("listitem")).to_have_count(2)
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_role("heading")).to_have_text("You can close this page")
    (answer,) = command_line.answers
    assert answer["state"] == "the state"
    given = exchange(site, app, answer["code"], redirect_uri=command_line.callback)
    assert given.status == 200 and json.loads(given.body)["scope"] == "user:read repo:read"


def test_saying_no(windows: Windows, site: Site, command_line: CommandLine) -> None:
    name, app = new_user(site), make_app(site, callback_url="http://127.0.0.1/callback")
    page = windows(allowed=(command_line.origin,))
    page.goto(authorize(app, redirect_uri=command_line.callback))
    sign_in(page, name)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading")).to_have_text("You can close this page")
    (answer,) = command_line.answers
    assert answer["error"] == "access_denied" and "code" not in answer


def test_a_wrong_address_leads_nowhere(page: Page, site: Site) -> None:
    page.goto(authorize(make_app(site), redirect_uri="https://example.org/"))
    expect(page.get_by_role("heading")).to_contain_text("wrong address")


def test_a_device(page: Page, site: Site) -> None:
    name = new_user(site)
    app = make_app(site, name="Terminal")
    asked = post(site, "/oauth/device_authorization", {"scope": "repo:read"}, **app.basic)
    assert asked.status == 200, asked.text
    device = json.loads(asked.body)
    page.goto(urlsplit(device["verification_uri"]).path)
    sign_in(page, name)
    code = page.get_by_label("Code that your device shows")
    expect(code).to_be_focused()
    code.fill("BBBB-BBBB")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    code.fill(device["user_code"].lower())
    page.keyboard.press("Enter")
    expect(page.get_by_text("Go on only if your device shows")).to_contain_text(device["user_code"])
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_role("heading")).to_have_text("Done")
    grant = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": device["device_code"],
    }
    assert post(site, "/oauth/token", grant, **app.basic).status == 200
