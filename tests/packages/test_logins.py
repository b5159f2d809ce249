"""Signing in to the registry, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pyotp
import pytest
from sqlalchemy import select
from twisted.internet import reactor

from tests.conftest import Run
from wit.access.actor import Origin
from wit.accounts.one_time import OneTimeSecrets
from wit.accounts.sessions import Device
from wit.accounts.sign_in import CodeMissing
from wit.config import Config
from wit.config import Database as DatabaseSettings
from wit.core import Core
from wit.db.tables import verifications
from wit.errors import Forbidden, NotFound, Unauthorized
from wit.packages.logins import SCOPES, WEB_LIFETIME, Logins
from wit.runtime import Runtime

PASSWORD = "correct horse battery"
HERE = Device("192.0.2.1", "npm/11")
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


@attrs.define
class Clock:
    now: datetime = NOW


@attrs.frozen
class Scene:
    run: Run
    core: Core
    clock: Clock
    user_id: str

    @property
    def logins(self) -> Logins:
        return self.core.package_logins


@pytest.fixture
def scene(database_url: str, run: Run, tmp_path: Path) -> Iterator[Scene]:
    clock = Clock()
    config = Config(tmp_path, database=DatabaseSettings(url=database_url, pool_min=1, readers=1))

    async def begin() -> tuple[Core, str]:
        core = Core(config, Runtime(reactor, now=lambda: clock.now))
        await core.open()
        user = await core.users.create("alice", "alice@example.org", PASSWORD, verified=True)
        return core, user["id"]

    core, user_id = run(begin())
    yield Scene(run, core, clock, user_id)
    run(core.close())


def test_a_password_gives_a_token_for_packages(scene: Scene) -> None:
    token = scene.run(scene.logins.by_password("Alice", PASSWORD, "", HERE))
    actor = scene.run(scene.core.credentials.bearer(token))
    assert (actor.username, actor.origin) == ("alice", Origin.TOKEN)
    assert actor.has_scope("packages:write")
    assert not actor.has_scope("repo:write")
    (row,) = scene.run(scene.core.tokens.list(scene.user_id))
    assert row["scopes"] == sorted(SCOPES)
    assert row["name"] == "npm login from 192.0.2.1, 2026-05-01 12:00"


def test_a_wrong_password_gives_nothing(scene: Scene) -> None:
    with pytest.raises(Unauthorized):
        scene.run(scene.logins.by_password("alice", "wrong horse", "", HERE))
    assert scene.run(scene.core.tokens.list(scene.user_id)) == []


def test_a_second_factor_is_asked_for(scene: Scene) -> None:
    two_factor = scene.core.identity.two_factor
    user = scene.run(scene.core.users.get(scene.user_id))
    enrolment = scene.run(two_factor.prepare(user))
    scene.run(two_factor.enable(scene.user_id))
    with pytest.raises(CodeMissing):
        scene.run(scene.logins.by_password("alice", PASSWORD, "", HERE))
    with pytest.raises(Unauthorized):
        scene.run(scene.logins.by_password("alice", "wrong horse", "123456", HERE))
    totp = pyotp.parse_uri(enrolment.uri)
    assert isinstance(totp, pyotp.TOTP)
    code = totp.at(NOW)
    assert scene.run(scene.logins.by_password("alice", PASSWORD, code, HERE)).startswith("wit_")


def test_by_the_web_the_token_comes_once(scene: Scene) -> None:
    begun = scene.run(scene.logins.begin(HERE))
    assert scene.run(scene.logins.poll(begun.polled)) is None
    asking = scene.run(scene.logins.find(begun.shown))
    assert (asking.address, asking.program) == ("192.0.2.1", "npm/11")
    scene.run(scene.logins.decide(begun.shown, scene.user_id, approved=True))
    token = scene.run(scene.logins.poll(begun.polled))
    assert scene.run(scene.core.credentials.bearer(token)).username == "alice"
    with pytest.raises(NotFound):
        scene.run(scene.logins.poll(begun.polled))
    with pytest.raises(NotFound):
        scene.run(scene.logins.decide(begun.shown, scene.user_id, approved=True))
    assert len(scene.run(scene.core.tokens.list(scene.user_id))) == 1


def test_what_was_refused_gives_nothing(scene: Scene) -> None:
    begun = scene.run(scene.logins.begin(HERE))
    scene.run(scene.logins.decide(begun.shown, scene.user_id, approved=False))
    with pytest.raises(Forbidden):
        scene.run(scene.logins.poll(begun.polled))
    with pytest.raises(NotFound):
        scene.run(scene.logins.poll(begun.polled))
    assert scene.run(scene.core.tokens.list(scene.user_id)) == []


def test_a_login_waits_five_minutes(scene: Scene) -> None:
    begun = scene.run(scene.logins.begin(HERE))
    scene.clock.now += WEB_LIFETIME + timedelta(seconds=1)
    with pytest.raises(NotFound):
        scene.run(scene.logins.find(begun.shown))
    with pytest.raises(NotFound):
        scene.run(scene.logins.decide(begun.shown, scene.user_id, approved=True))
    with pytest.raises(NotFound):
        scene.run(scene.logins.poll(begun.polled))


def test_the_two_secrets_are_not_each_other(scene: Scene) -> None:
    """Who sees the address in the browser cannot fetch the token, and the other way round."""
    begun = scene.run(scene.logins.begin(HERE))
    with pytest.raises(NotFound):
        scene.run(scene.logins.find(begun.polled))
    with pytest.raises(NotFound):
        scene.run(scene.logins.decide(begun.polled, scene.user_id, approved=True))
    with pytest.raises(NotFound):
        scene.run(scene.logins.poll(begun.shown))


def test_a_decision_at_the_moment_of_a_question_is_not_lost(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = scene.run(scene.logins.begin(HERE))
    look = OneTimeSecrets.look

    async def decided_meanwhile(self: OneTimeSecrets, kind: str, secret: str) -> str | None:
        value = await look(self, kind, secret)
        if kind == "npm-decided":
            monkeypatch.undo()
            await scene.logins.decide(begun.shown, scene.user_id, approved=True)
        return value

    monkeypatch.setattr(OneTimeSecrets, "look", decided_meanwhile)
    assert scene.run(scene.logins.poll(begun.polled)) is None
    assert scene.run(scene.logins.poll(begun.polled)).startswith("wit_")


def test_only_hashes_are_stored(scene: Scene) -> None:
    begun = scene.run(scene.logins.begin(HERE))
    scene.run(scene.logins.decide(begun.shown, scene.user_id, approved=True))
    stored = str(scene.run(scene.core.db.fetch_all(select(verifications))))
    assert stored != "[]"
    assert begun.polled not in stored
    assert begun.shown not in stored


def test_a_suspended_user_gets_no_token(scene: Scene) -> None:
    begun = scene.run(scene.logins.begin(HERE))
    scene.run(scene.logins.decide(begun.shown, scene.user_id, approved=True))
    scene.run(scene.core.users.suspend(scene.user_id, "test"))
    with pytest.raises(Forbidden):
        scene.run(scene.logins.poll(begun.polled))
