"""The accounts over an empty database on each engine."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from wit.accounts.credentials import Credentials
from wit.accounts.last_use import LastUse
from wit.accounts.organizations import Organizations
from wit.accounts.passwords import Passwords
from wit.accounts.signing import Signer
from wit.accounts.ssh_keys import KeyManager
from wit.accounts.tokens import Tokens
from wit.accounts.users import Users
from wit.db.port import Database
from wit.oauth.tokens import OAuthTokens
from wit.runtime import Runtime


@attrs.frozen
class Accounts:
    db: Database
    runtime: Runtime
    passwords: Passwords
    users: Users
    last_use: LastUse
    tokens: Tokens
    keys: KeyManager
    organizations: Organizations
    credentials: Credentials

    async def user(self, name: str, password: str | None = None) -> Any:
        return await self.users.create(name, f"{name}@example.org", password)


def make_accounts(db: Database, runtime: Runtime) -> Accounts:
    passwords = Passwords(runtime)
    last_use = LastUse(db, runtime)
    tokens = Tokens(db, runtime, last_use, max_per_user=3)
    keys = KeyManager(db, runtime, last_use, max_per_user=3)
    return Accounts(
        db=db,
        runtime=runtime,
        passwords=passwords,
        users=Users(db, runtime, passwords),
        last_use=last_use,
        tokens=tokens,
        keys=keys,
        organizations=Organizations(db, runtime),
        credentials=Credentials(
            db,
            runtime,
            passwords,
            tokens,
            keys,
            signer=Signer("s" * 32),
            oauth=OAuthTokens(db, runtime, last_use),
            failures_per_minute=5,
        ),
    )


@pytest.fixture
def world(database: Database, runtime: Runtime) -> Any:
    from tests.accounts.identity import make_world

    return make_world(database, runtime)


@pytest.fixture
def accounts(database: Database, runtime: Runtime) -> Accounts:
    return make_accounts(database, runtime)
