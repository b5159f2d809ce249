"""The pages of accounts as no browser would ask for them, on the running daemon."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from urllib.parse import urlencode

import pytest

from tests.support.site import Site
from tests.support.wire import Answer, ask
from tests.web.routes.oauth.support import Browser, hidden_fields, sign_in
from wit.web.routes.pages.door import FORMS

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PATHS = [path.replace("{token}", "wrong") for path in FORMS]
SENT = [path.replace("{token}", "wrong") for path, form in FORMS.items() if form.sent]


def get(site: Site, path: str, method: str = "GET", **headers: str) -> Answer:
    return ask(site.daemon, method, path, headers)


def send(site: Site, path: str, fields: dict[str, str], **headers: str) -> Answer:
    own = {"Origin": f"http://localhost:{site.daemon.http_port}"}
    return ask(site.daemon, "POST", path, FORM | own | headers, urlencode(fields).encode())


@pytest.mark.parametrize("path", PATHS)
def test_what_every_page_says_to_browsers(site: Site, path: str) -> None:
    page = get(site, path)
    if page.status == 302:
        assert page.headers["location"].partition("?")[0] == "/login"
        return
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-frame-options"] == "DENY"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "script" not in policy and "<script" not in page.text
    (style,) = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
    assert f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert set(re.findall(r'(?:src|href|action)="([^"]*)"', page.text)) <= {
        "/", "/favicon.ico", "/login", "/login/github", "/forgot-password", "/api/docs",
        "/register", "/logout",
    }  # fmt: skip
    assert site.daemon.get(path[1:], method="HEAD")[0] == page.status


@pytest.mark.parametrize("path", SENT)
def test_forms_come_from_our_own_pages(site: Site, path: str) -> None:
    fields = {"login": "alice", "password": site.alice.password, "email": "alice@example.org"}
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1"):
        answer = send(site, path, fields, Origin=origin)
        assert answer.status == 403 and "set-cookie" not in answer.headers, origin
        assert "does not come from a page of this site" in answer.text
    body = urlencode(fields).encode()
    assert ask(site.daemon, "POST", path, FORM, body).status == 403
    elsewhere = {"Referer": "https://evil.example/login"}
    assert ask(site.daemon, "POST", path, FORM | elsewhere, body).status == 403


def test_another_site_signs_nobody_out(site: Site) -> None:
    browser = sign_in(site)
    assert browser.post("/logout", {}, Origin="https://evil.example").status == 403
    assert "Welcome, alice" in browser.get("/").text


def test_what_is_no_form(site: Site) -> None:
    own = {"Origin": f"http://localhost:{site.daemon.http_port}"}
    for headers, body in (
        ({"Content-Type": "application/json"}, b'{"login": "alice"}'),
        (FORM, b"login=alice&login=bob"),
        (FORM, b"login=%ff"),
        (FORM, b"&".join(b"%d=x" % number for number in range(100))),
    ):
        answer = ask(site.daemon, "POST", "/login", own | headers, body)
        assert answer.status == 400 and "This did not work" in answer.text
    assert get(site, "/login?returnTo=/a&returnTo=/b").status == 400
    large = send(site, "/login", {"login": "x" * 70_000})
    assert large.status == 413


def test_other_methods(site: Site) -> None:
    for path, allowed in (("/login", "GET, POST"), ("/", "GET"), ("/invitations/x", "GET, POST")):
        answer = get(site, path, "DELETE")
        assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert get(site, "/invitations/").status == 404


def test_texts_are_escaped(site: Site) -> None:
    evil = '"><script>alert(1)</script>'
    page = get(site, f"/login?{urlencode({'login': evil, 'returnTo': '/' + evil, 'error': evil})}")
    assert page.status == 200 and "<script" not in page.text
    assert hidden_fields(page.text)["returnTo"] == "/" + evil
    page = get(site, f"/register?{urlencode({'invitation': evil})}")
    assert page.status == 403 and "<script" not in page.text


@pytest.mark.parametrize(
    "address",
    ["//evil.example", "/\\evil.example", "https://evil.example", "/\tevil.example", "/a\r\nX: y", "/" + "x" * 2048],
)  # fmt: skip
@pytest.mark.attack(56)
def test_nobody_is_sent_elsewhere(site: Site, address: str) -> None:
    fields = {"login": "alice", "password": site.alice.password, "returnTo": address}
    answer = send(site, "/login", fields)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    page = get(site, f"/login?{urlencode({'returnTo': address})}")
    assert hidden_fields(page.text)["returnTo"] == "/"


def test_the_answer_to_a_wrong_password(site: Site) -> None:
    fields = {"login": "bob", "password": "not the password", "returnTo": "/api/docs"}
    answer = send(site, "/login", fields)
    assert answer.status == 401 and "set-cookie" not in answer.headers
    assert 'role="alert"' in answer.text and 'value="bob"' in answer.text
    assert fields["password"] not in answer.text
    assert hidden_fields(answer.text)["returnTo"] == "/api/docs"
    empty = send(site, "/login", {})
    assert empty.status == 401


def test_github_is_offered_where_it_is_configured(site: Site) -> None:
    assert "GitHub" not in get(site, "/login").text
    assert send(site, "/login/github", {}).status == 303  # back to the page: not found there


def test_an_answer_to_an_invitation_needs_a_person(site: Site) -> None:
    answer = send(site, "/invitations/wrong", {"decision": "accept"})
    assert (answer.status, answer.headers["location"]) == (
        303, "/login?returnTo=%2Finvitations%2Fwrong"
    )  # fmt: skip
    own = f"http://localhost:{site.daemon.http_port}"
    answer = sign_in(site).post("/invitations/wrong", {"decision": "accept"}, Origin=own)
    assert answer.status == 404 and "not valid any more" in answer.text


def test_a_suspended_user_is_not_signed_in(site: Site) -> None:
    site.do(lambda core: core.users.create("gone", "gone@example.org", "a long password"))
    browser: Browser = sign_in(site, "gone")
    site.do(lambda core: core.users.suspend(browser.user_id, "test"))
    assert "Welcome, gone" not in browser.get("/").text
    answer = send(site, "/login", {"login": "gone", "password": "a long password"})
    assert answer.status == 403 and "set-cookie" not in answer.headers
