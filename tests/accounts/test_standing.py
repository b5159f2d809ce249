from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from tests.conftest import Run
from wit.access.actor import ANONYMOUS, Actor, Origin
from wit.accounts.last_use import LastUse
from wit.accounts.passwords import Passwords
from wit.accounts.sessions import Device, Sessions
from wit.accounts.standing import Standing
from wit.accounts.tokens import Tokens
from wit.accounts.users import Users
from wit.db.port import Database
from wit.runtime import Runtime


def test_who_would_still_be_let_in(run: Run, database: Database, runtime: Runtime) -> None:
    async def check() -> None:
        users = Users(database, runtime, Passwords(runtime))
        user = await users.create("ann", "ann@example.org", "correct horse battery", "user")
        sessions = Sessions(database, runtime)
        tokens = Tokens(database, runtime, LastUse(database, runtime), 50)
        session = await sessions.create(user["id"], Device())
        row, _ = await tokens.create(user["id"], "t", ["repo:read"])
        standing = Standing(database, runtime)
        ann = Actor(user_id=user["id"], username="ann", origin=Origin.PASSWORD)
        by_session = attrs.evolve(ann, origin=Origin.SESSION, credential_id=session.id)
        by_token = attrs.evolve(ann, origin=Origin.TOKEN, credential_id=row["id"])
        by_key = attrs.evolve(ann, origin=Origin.SSH_KEY, credential_id="none")
        by_app = attrs.evolve(ann, origin=Origin.OAUTH, credential_id="none")
        for actor, good in (
            (ann, True),
            (by_session, True),
            (by_token, True),
            (by_key, False),
            (by_app, False),
            (ANONYMOUS, False),
            (attrs.evolve(by_session, user_id="somebody else"), False),
            (attrs.evolve(ann, origin=Origin.CLI), True),
        ):
            assert await standing.good(actor) is good, actor

        later: Any = attrs.evolve(runtime, now=lambda: runtime.now() + timedelta(days=31))
        assert not await Standing(database, later).good(by_session), "it has expired"
        await users.suspend(user["id"], "why not")
        for actor in (ann, by_session, by_token):
            assert not await standing.good(actor), actor
        await users.resume(user["id"])
        session = await sessions.create(user["id"], Device())
        by_session = attrs.evolve(by_session, credential_id=session.id)
        assert await standing.good(by_session)
        await sessions.revoke(user["id"], session.id)
        assert not await standing.good(by_session) and await standing.good(ann)

    run(check())
