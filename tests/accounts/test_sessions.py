from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, update

from tests.accounts.identity import World
from wit.access.actor import Origin
from wit.accounts.sessions import LIFETIME, MAX_PER_USER, UNREMEMBERED, Device
from wit.accounts.tokens import secret_hash
from wit.db.tables import login_attempts, sessions, users, verifications
from wit.errors import Forbidden

HERE = Device("192.0.2.1", "a browser")


@pytest.fixture
def ada(world: World, run):
    return run(world.accounts.user("ada"))


def begin(world: World, run, user, **how):
    return run(world.identity.sessions.create(user["id"], HERE, **how))


def test_a_session_is_found_by_its_secret_which_is_not_stored(world: World, run, ada) -> None:
    session = begin(world, run, ada)
    assert session.token.isalnum() and len(session.token) == 32
    found = run(world.identity.sessions.find(session.token))
    assert found == session
    assert (found.user_id, found.ip_address, found.user_agent) == (
        ada["id"], HERE.address, HERE.user_agent,
    )  # fmt: skip
    assert found.expires_at - found.created_at == LIFETIME
    (row,) = run(world.accounts.db.fetch_all(select(sessions)))
    assert session.token not in str(row)
    assert row["token_hash"] == secret_hash(session.token)
    for wrong in ("", session.id, row["token_hash"], session.token[:-1], "\0"):
        assert run(world.identity.sessions.find(wrong)) is None


def test_a_session_ends(world: World, run, ada) -> None:
    session = begin(world, run, ada)
    world.clock.advance(seconds=LIFETIME.total_seconds())
    assert run(world.identity.sessions.find(session.token)) is None
    short = begin(world, run, ada, remember=False)
    assert short.expires_at - short.created_at == UNREMEMBERED
    assert not short.remember


def test_a_session_is_refreshed_after_a_day(world: World, run, ada) -> None:
    sessions_ = world.identity.sessions
    session = begin(world, run, ada)
    assert run(sessions_.refresh(session)) is None
    world.clock.advance(days=1, seconds=1)
    refreshed = run(sessions_.refresh(session))
    assert refreshed.expires_at - session.expires_at >= timedelta(days=1)
    assert run(sessions_.find(session.token)) == refreshed
    short = begin(world, run, ada, remember=False)
    world.clock.advance(hours=23)
    assert run(sessions_.refresh(short)) is None


@pytest.mark.attack(51)
def test_a_suspended_user_is_out_at_once(world: World, run, ada) -> None:
    session = begin(world, run, ada)
    cookie = world.signer.sign(session.token)
    assert run(world.accounts.credentials.session_cookie(cookie)).user_id == ada["id"]
    # Suspending ends the sessions as well; even one that is left is no way in.
    suspension = update(users).values(suspended=True, suspended_reason="spam")
    run(world.accounts.db.execute(suspension))
    assert run(world.identity.sessions.find(session.token)) is None
    with pytest.raises(Forbidden, match="spam"):
        run(world.accounts.credentials.session_cookie(cookie))
    run(world.accounts.users.resume(ada["id"]))
    assert run(world.identity.sessions.find(session.token)) is not None
    run(world.accounts.users.suspend(ada["id"], "spam"))
    assert run(world.identity.sessions.find(session.token)) is None


def test_the_cookie_is_an_actor(world: World, run, ada) -> None:
    session = begin(world, run, ada)
    check = world.accounts.credentials.session_cookie
    signed = world.signer.sign(session.token)
    quoted = signed.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    for value in (signed, quoted):
        actor = run(check(value))
        assert (actor.user_id, actor.origin, actor.scopes) == (ada["id"], Origin.SESSION, None)
        assert actor.credential_id == session.id
    for forged in (session.token, session.token + ".", signed[:-1], world.signer.sign("x"), "%ff"):
        assert run(check(forged)) is None
    run(world.identity.sessions.revoke(ada["id"], session.id))
    assert run(check(signed)) is None


def test_revoking(world: World, run, ada) -> None:
    sessions_ = world.identity.sessions
    bob = run(world.accounts.user("bob"))
    one, two, three = (begin(world, run, ada) for _ in range(3))
    his = begin(world, run, bob)
    listed = run(sessions_.list(ada["id"]))
    assert {row["id"] for row in listed} == {one.id, two.id, three.id}
    assert not {one.token, two.token, three.token} & set(map(str, listed[0].values()))
    assert run(sessions_.revoke(ada["id"], one.id))
    assert run(sessions_.revoke(ada["id"], two.token))
    assert not run(sessions_.revoke(ada["id"], one.id))
    assert not run(sessions_.revoke(ada["id"], his.id))
    assert not run(sessions_.revoke(ada["id"], his.token))
    assert run(sessions_.find(his.token)) is not None
    kept = begin(world, run, ada)
    assert run(sessions_.revoke_all(ada["id"], keep=kept.id)) == 1
    assert run(sessions_.find(kept.token)) is not None
    assert run(sessions_.find(three.token)) is None
    renewed = run(sessions_.renew(kept, HERE))
    assert run(sessions_.find(kept.token)) is None
    assert run(sessions_.find(renewed.token)) == renewed


def test_the_oldest_sessions_make_room(world: World, run, ada) -> None:
    async def many():
        first = await world.identity.sessions.create(ada["id"], HERE)
        for _ in range(MAX_PER_USER):
            world.clock.advance(seconds=1)
            last = await world.identity.sessions.create(ada["id"], HERE)
        return first, last

    first, last = run(many())
    assert run(world.identity.sessions.find(first.token)) is None
    assert run(world.identity.sessions.find(last.token)) is not None
    assert len(run(world.identity.sessions.list(ada["id"]))) == MAX_PER_USER


def test_what_is_over_is_swept(world: World, run, ada) -> None:
    db = world.accounts.db
    begin(world, run, ada)
    now = world.clock.now()
    run(
        db.execute(
            insert(verifications), id="v", identifier="x:y", value="z",
            expires_at=now + timedelta(hours=1), created_at=now, updated_at=now,
        )
    )  # fmt: skip
    run(
        db.execute(
            insert(login_attempts), id="l", email="e", success=False, created_at=now,
        )
    )  # fmt: skip

    def left():
        return [
            run(db.fetch_value(select(func.count()).select_from(table)))
            for table in (sessions, verifications, login_attempts)
        ]

    run(world.identity.sessions.sweep())
    assert left() == [1, 1, 1]
    world.clock.advance(days=31)
    run(world.identity.sessions.sweep())
    assert left() == [0, 0, 0]
