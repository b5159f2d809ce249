"""A provider over a database on each engine, with a clock that the test moves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from tests.conftest import Run
from wit.accounts.credentials import Credentials
from wit.accounts.last_use import LastUse
from wit.accounts.passwords import Passwords
from wit.accounts.secrets import Secrets
from wit.accounts.signing import Signer
from wit.accounts.ssh_keys import KeyManager
from wit.accounts.tokens import Tokens
from wit.accounts.users import Users
from wit.db.port import Database, Row
from wit.oauth.provider import OAuthProvider
from wit.oauth.requests import AuthorizationRequest, read_request
from wit.oauth.tokens import Issued, OAuthTokens
from wit.runtime import Runtime, utc_now

ISSUER = "https://wit.example"
CALLBACK = "https://app.example/callback"
VERIFIER = "v" * 43
CHALLENGE = "7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM"
"""Of VERIFIER."""


@attrs.define
class World:
    """Everything that a test of the provider touches."""

    db: Database
    run: Run
    runtime: Runtime
    users: Users
    last_use: LastUse
    credentials: Credentials
    provider: OAuthProvider
    time: datetime = attrs.field(factory=utc_now)

    def later(self, **delta: float) -> None:
        self.time += timedelta(**delta)

    def user(self, name: str) -> str:
        user_id: str = self.run(self.users.create(name, f"{name}@example.org"))["id"]
        return user_id

    def app(self, owner_id: str, **values: Any) -> tuple[Row, str]:
        values = {"name": "Example", "callback_url": CALLBACK} | values
        made: tuple[Row, str] = self.run(self.provider.apps.create(owner_id, **values))
        return made

    def request(self, app: Row, **parameters: str) -> AuthorizationRequest:
        fields = {
            "client_id": app["client_id"],
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "repo:read user:read",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return read_request(fields | parameters, app)

    def code(self, app: Row, user_id: str, **parameters: str) -> str:
        asked = self.request(app, **parameters)
        code: str = self.run(self.provider.codes.issue(asked, user_id, self.time))
        return code

    def redeem(self, app: Row, code: str, **changes: Any) -> Issued:
        values = {"redirect_uri": CALLBACK, "verifier": VERIFIER} | changes
        issued: Issued = self.run(self.provider.codes.redeem(app, code, **values)).issued
        return issued

    def tokens(self, app: Row, user_id: str, **parameters: str) -> Issued:
        """What a whole code flow gives."""
        return self.redeem(app, self.code(app, user_id, **parameters))

    def works(self, access_token: str) -> bool:
        return self.run(self.provider.tokens.verify(access_token)) is not None


def make_world(database: Database, runtime: Runtime, run: Run) -> World:
    holder: list[World] = []
    runtime = attrs.evolve(runtime, now=lambda: holder[0].time)
    last_use = LastUse(database, runtime)
    passwords = Passwords(runtime)
    tokens = OAuthTokens(database, runtime, last_use)
    holder.append(
        World(
            db=database,
            run=run,
            runtime=runtime,
            users=Users(database, runtime, passwords),
            last_use=last_use,
            credentials=Credentials(
                database,
                runtime,
                passwords,
                Tokens(database, runtime, last_use),
                KeyManager(database, runtime, last_use),
                signer=Signer("s" * 32),
                oauth=tokens,
            ),
            provider=OAuthProvider(
                database, runtime, tokens, Secrets("k" * 32, runtime.random_bytes), ISSUER
            ),
        )
    )
    return holder[0]


@pytest.fixture
def world(database: Database, runtime: Runtime, run: Run) -> World:
    return make_world(database, runtime, run)


@pytest.fixture
def ada(world: World) -> str:
    """The id of a user."""
    return world.user("ada")


@pytest.fixture
def app(world: World, ada: str) -> Row:
    """A confidential app of ada's."""
    return world.app(ada)[0]
