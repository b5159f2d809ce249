"""Numbers, health, feature flags and settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from tests.operations.people.conftest import Api
from wit.access.actor import Actor
from wit.accounts.site_settings import is_on
from wit.db.port import DatabaseUnavailable
from wit.db.tables import admin_audit_logs, sessions, system_settings, users
from wit.errors import Forbidden, Invalid, NotFound
from wit.operations.api import BadInput


@pytest.fixture
def root(api: Api) -> Actor:
    return api.user("root", "superadmin")


@pytest.fixture
def ada(api: Api) -> Actor:
    return api.user("ada")


def actions(api: Api) -> list[str]:
    statement = select(admin_audit_logs).order_by(admin_audit_logs.c.created_at)
    return [row["action"] for row in api.run(api.core.db.fetch_all(statement))]


def make_older(api: Api, actor: Actor, days: int) -> None:
    when = api.core.runtime.now() - timedelta(days=days)
    statement = update(users).where(users.c.id == actor.user_id).values(created_at=when)
    api.run(api.core.db.execute(statement))


def test_numbers(api: Api, root: Actor, ada: Actor) -> None:
    empty = api("admin.getStats", root)
    assert (empty["users"]["total"], empty["repos"]["total"]) == (2, 0)
    api.repository("ada/open")
    api.repository("ada/closed", private=True)
    api("organizations.create", ada, name="acme")
    api.run(api.core.users.suspend(str(api.user("eve").user_id), "spam"))
    make_older(api, ada, 400)
    now = api.core.runtime.now()
    api.run(api.core.db.execute(
        insert(sessions), id="s", user_id=ada.user_id, token_hash="h",
        expires_at=now, created_at=now, updated_at=now - timedelta(days=29),
    ))  # fmt: skip
    stats = api("admin.getStats", root)
    assert stats["users"] == {
        "total": 3, "active30Days": 1, "admins": 1, "suspended": 1, "newThisMonth": 2,
    }  # fmt: skip
    assert stats["repos"] == {"total": 2, "public": 1, "private": 1, "newThisMonth": 2}
    assert stats["orgs"] == {"total": 1, "newThisMonth": 1}
    assert stats["prs"]["total"] == stats["issues"]["total"] == 0


def test_daily_activity(api: Api, root: Actor, ada: Actor) -> None:
    api.repository("ada/open")
    make_older(api, ada, 3)
    make_older(api, api.user("eve"), 8)
    days = api("admin.getDailyActivity", root, days=7)
    today = api.core.runtime.now().date()
    assert [day["date"] for day in days] == [
        str(today - timedelta(days=ago)) for ago in range(6, -1, -1)
    ]
    assert [day["users"] for day in days] == [0, 0, 0, 1, 0, 0, 1]
    assert [day["repos"] for day in days] == [0, 0, 0, 0, 0, 0, 1]
    assert len(api("admin.getDailyActivity", root)) == 30
    for wrong in (6, 91):
        with pytest.raises(BadInput):
            api("admin.getDailyActivity", root, days=wrong)


def test_health(api: Api, root: Actor, monkeypatch) -> None:
    health = api("admin.getHealth", root)
    database, server = health["database"], health["server"]
    assert database["ok"] is True and database["latency"] >= 0
    assert 0 <= database["idleConnections"] <= database["poolSize"]
    assert database["waitingConnections"] == 0
    assert server["uptime"] >= 0
    assert server["memory"]["rss"] > 10_000_000
    assert server["nodeVersion"].startswith("Python 3.")

    async def down() -> float:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(api.core.db, "ping", down)
    assert api("admin.getHealth", root)["database"]["ok"] is False


def test_feature_flags(api: Api, root: Actor, ada: Actor) -> None:
    def enabled(*actor: Actor) -> bool:
        return api("admin.checkFeature", *actor, name="ui")["enabled"]

    def change(**values: Any) -> None:
        assert api("admin.upsertFeatureFlag", root, name="ui", **values) == {"success": True}

    assert not enabled(ada)
    change(enabled=True)
    assert not enabled(ada), "rolled out to nobody yet"
    change(enabled=True, rolloutPercentage=100, description="New pages")
    assert enabled(ada) and not enabled()
    change(enabled=False)
    assert not enabled(ada)
    change(enabled=True, blockedUsers=[ada.user_id])
    assert not enabled(ada) and enabled(root)
    change(enabled=True, rolloutPercentage=0, allowedUsers=[root.user_id], blockedUsers=[])
    assert enabled(root) and not enabled(ada)
    (flag,) = api("admin.getFeatureFlags", root)
    assert (flag["name"], flag["description"], flag["rolloutPercentage"]) == (
        "ui", "New pages", 0,
    )  # fmt: skip
    assert (flag["allowedUsers"], flag["blockedUsers"]) == ([root.user_id], [])
    assert flag["createdBy"] == root.user_id
    with pytest.raises(Forbidden):
        api("admin.upsertFeatureFlag", ada, name="ui", enabled=True)
    api("admin.deleteFeatureFlag", root, name="ui")
    assert not enabled(root)
    with pytest.raises(NotFound):
        api("admin.deleteFeatureFlag", root, name="ui")
    assert actions(api) == [
        "feature_flag.created", *["feature_flag.updated"] * 4, "feature_flag.deleted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("user_id", "rollout", "on"),
    [
        ("a", 97, False),  # "a" is 97
        ("a", 98, True),
        ("ab", 95, False),  # 195
        ("ab", 96, True),
        ("a", 0, False),
        ("a", 100, True),
        ("a", None, False),
    ],
)
def test_a_rollout_is_for_the_same_users_each_time(user_id: str, rollout: Any, on: bool) -> None:
    flag = {
        "enabled": True, "rollout_percentage": rollout, "allowed_users": None,
        "blocked_users": None,
    }  # fmt: skip
    assert is_on(flag, user_id) is on
    assert not is_on({**flag, "enabled": False, "allowed_users": [user_id]}, user_id)
    assert is_on({**flag, "allowed_users": [user_id]}, user_id)
    assert not is_on({**flag, "allowed_users": [user_id], "blocked_users": [user_id]}, user_id)


def test_settings(api: Api, root: Actor) -> None:
    assert api("admin.getSetting", root, key="motd") == {"key": "motd", "value": None}
    examples: list[Any] = ["hello", 0, False, [1, {"a": None}], {}]
    for value in examples:
        api("admin.setSetting", root, key="motd", value=value)
        assert api("admin.getSetting", root, key="motd") == {"key": "motd", "value": value}
    api("admin.setSetting", root, key="motd", value="x", description="Message of the day")
    api("admin.setSetting", root, key="motd", value="y")
    (row,) = api("admin.getSettings", root)
    assert (row["key"], row["value"], row["description"], row["updatedBy"]) == (
        "motd", "y", "Message of the day", root.user_id,
    )  # fmt: skip
    assert set(actions(api)) == {"system_setting.updated"}
    for wrong in ({"value": None}, {}, {"value": "x" * 70_000}):
        with pytest.raises(Invalid):
            api("admin.setSetting", root, key="motd", **wrong)
    with pytest.raises(BadInput):
        api("admin.setSetting", root, key="", value=1)
    assert api("admin.getSetting", root, key="motd")["value"] == "y"


def test_wits_own_notes_are_not_settings(api: Api, root: Actor) -> None:
    now = api.core.runtime.now()
    api.run(api.core.db.execute(
        insert(system_settings), key="wit.note", value=1, updated_at=now
    ))  # fmt: skip
    assert api("admin.getSettings", root) == []
    assert api("admin.getSetting", root, key="wit.note")["value"] is None
    with pytest.raises(Invalid, match="wit's own"):
        api("admin.setSetting", root, key="wit.note", value=2)
