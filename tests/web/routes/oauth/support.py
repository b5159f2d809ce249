"""A browser with a session, and apps, on the running daemon."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import attrs
from sqlalchemy import insert, select

from tests.oauth.conftest import CALLBACK, CHALLENGE, VERIFIER
from tests.support.site import Site
from tests.support.wire import Answer, ask, basic
from wit.accounts.tokens import secret_hash
from wit.accounts.users import random_id
from wit.core import Core
from wit.db.port import Row
from wit.db.tables import sessions, users

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HTML = {"Accept": "text/html,application/xhtml+xml"}

_numbers = itertools.count(1)


@attrs.frozen
class App:
    row: Row
    secret: str

    @property
    def client_id(self) -> str:
        client_id: str = self.row["client_id"]
        return client_id

    @property
    def basic(self) -> dict[str, str]:
        return {"Authorization": basic(self.client_id, self.secret)}


@attrs.frozen
class Browser:
    """Somebody's browser: every request carries the session cookie, and no script runs."""

    site: Site
    user_id: str = ""
    cookie: str = ""

    def get(self, target: str, headers: Mapping[str, str] = HTML) -> Answer:
        return self._ask("GET", target, headers)

    def post(self, target: str, fields: Mapping[str, str], **headers: str) -> Answer:
        body = urlencode(fields).encode()
        return self._ask("POST", target, HTML | FORM | headers, body)

    def delete(self, target: str) -> Answer:
        return self._ask("DELETE", target, {"Accept": "application/json"})

    def _ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        cookie = {"Cookie": f"better-auth.session_token={self.cookie}"} if self.cookie else {}
        return ask(self.site.daemon, method, target, {**cookie, **headers}, body)

    def approve(self, app: App, decision: str = "approve", **parameters: str) -> dict[str, str]:
        """What the app gets in the address, after the person has pressed a button."""
        page = self.get(authorize(app, **parameters))
        assert page.status == 200, page.text
        sent = self.post("/oauth/authorize", hidden_fields(page.text) | {"decision": decision})
        assert sent.status == 303, sent.text
        return answer_in(sent)


def authorize(app: App, **changes: str | None) -> str:
    """The address that an app sends a browser to."""
    fields = {
        "client_id": app.client_id,
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "repo:read user:read",
        "state": "the state",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    merged = {name: value for name, value in (fields | changes).items() if value is not None}
    return f"/oauth/authorize?{urlencode(merged)}"


def hidden_fields(page: str) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)" />', page)
    return {unescape(name): unescape(value) for name, value in found}


def answer_in(answer: Answer) -> dict[str, str]:
    """The query of the address that an answer leads to."""
    query = parse_qs(urlsplit(answer.headers["location"]).query, strict_parsing=True)
    return {name: values[0] for name, values in query.items()}


def sign_in(site: Site, name: str = "alice") -> Browser:
    """A new session of a user, as old as now."""

    async def work(core: Core) -> Browser:
        user = await core.db.fetch_one(select(users).where(users.c.username == name))
        assert user is not None
        token, now = random_id(core.runtime), core.runtime.now()
        await core.db.execute(
            insert(sessions),
            id=random_id(core.runtime),
            token_hash=secret_hash(token),
            user_id=user["id"],
            expires_at=now + timedelta(days=1),
            created_at=now,
            updated_at=now,
        )
        return Browser(site, user["id"], quote(core.signer.sign(token), safe=""))

    browser: Browser = site.do(work)
    return browser


def new_user(site: Site) -> str:
    name = f"oauth{next(_numbers)}"
    site.do(lambda core: core.users.create(name, f"{name}@example.org", "a long password"))
    return name


def make_app(site: Site, owner: str = "", **values: Any) -> App:
    """An app of a new user's, or of ``owner``."""
    values = {"name": "Example", "callback_url": CALLBACK} | values
    owner = owner or new_user(site)

    async def work(core: Core) -> App:
        user = await core.db.fetch_one(select(users).where(users.c.username == owner))
        assert user is not None
        return App(*await core.oauth.apps.create(user["id"], **values))

    app: App = site.do(work)
    return app


def post(site: Site, target: str, fields: Mapping[str, str], **headers: str) -> Answer:
    return ask(site.daemon, "POST", target, FORM | headers, urlencode(fields).encode())


def exchange(site: Site, app: App, code: str, **changes: str) -> Answer:
    """Ask for the tokens of a code, as the app."""
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }
    return post(site, "/oauth/token", fields | changes, **app.basic)


def tokens(site: Site, app: App, browser: Browser, **parameters: str) -> dict[str, Any]:
    """A whole code flow."""
    answer = exchange(site, app, browser.approve(app, **parameters)["code"])
    assert answer.status == 200, answer.text
    pair: dict[str, Any] = json.loads(answer.body)
    return pair
