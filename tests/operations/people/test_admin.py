from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from sqlalchemy import delete, insert, select, update
from twisted.internet.defer import Deferred, DeferredList

from tests.operations.people.conftest import Api, with_app, with_token
from wit.access.actor import Actor
from wit.accounts.audit import Operator
from wit.db.tables import admin_audit_logs, login_attempts, sessions, users
from wit.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from wit.operations.api import BadInput


@attrs.frozen
class Site:
    api: Api
    root: Actor
    """The superadmin."""
    admin: Actor
    ada: Actor

    def __call__(self, name: str, actor: Actor, /, **values: Any) -> Any:
        return self.api(f"admin.{name}", actor, **values)

    def log(self) -> list[Any]:
        table = admin_audit_logs
        statement = select(table).order_by(table.c.created_at)
        return self.api.run(self.api.core.db.fetch_all(statement))


@pytest.fixture
def site(api: Api) -> Site:
    return Site(
        api,
        root=api.user("root", "superadmin"),
        admin=api.user("admin", "admin"),
        ada=api.user("Ada", shown="Ada Lovelace"),
    )


def test_powers(site: Site) -> None:
    for actor, powers in [
        (site.root, (True, True)),
        (site.admin, (True, False)),
        (site.ada, (False, False)),
        (with_app(site.root, "user:read"), (False, False)),
    ]:
        found = site("checkAccess", actor)
        assert (found["isAdmin"], found["isSuperAdmin"]) == powers


@pytest.mark.attack(53)
def test_who_is_let_in(site: Site) -> None:
    for actor in (site.ada, with_token(site.admin, "user:read"), with_app(site.root, "repo:admin")):
        with pytest.raises(Forbidden):
            site("listUsers", actor)
    with pytest.raises(Unauthorized):
        site.api("admin.listUsers")
    assert site("listUsers", with_token(site.admin, "repo:admin"))["total"] == 3
    tried: list[tuple[str, dict[str, Any]]] = [
        ("updateUserRole", {"userId": site.ada.user_id, "role": "admin"}),
        ("setSetting", {"key": "x", "value": 1}),
    ]
    for name, values in tried:
        with pytest.raises(Forbidden, match="superadmins"):
            site(name, site.admin, **values)


def test_listing_users(site: Site) -> None:
    site.api.repository("ada/tools", private=True)

    def found(**values: Any) -> list[str]:
        page = site("listUsers", site.admin, **values)
        assert page["total"] >= len(page["users"])
        return [row["username"] for row in page["users"]]

    assert found() == ["ada", "admin", "root"]
    assert found(sortBy="name", sortOrder="asc") == ["ada", "admin", "root"]
    assert found(sortBy="email") == ["root", "admin", "ada"]
    assert found(search="LOVELACE") == found(search="ada@EX") == ["ada"]
    assert found(search="%") == []
    assert found(role="superadmin") == ["root"]
    assert found(suspended=True) == []
    assert found(limit=1, offset=1) == ["admin"]
    assert site("listUsers", site.admin, limit=1)["total"] == 3
    for wrong in ({"sortBy": "password"}, {"limit": 101}, {"sortOrder": "x"}, {"offset": -1}):
        with pytest.raises(BadInput):
            site("listUsers", site.admin, **wrong)
    ada = site("getUser", site.admin, userId=site.ada.user_id)
    assert (ada["repoCount"], ada["prCount"], ada["email"]) == (1, 0, "Ada@example.org".lower())
    assert ada["lastActive"] is None
    with pytest.raises(NotFound):
        site("getUser", site.admin, userId="nobody")


def begin_session(site: Site, actor: Actor, when: datetime) -> None:
    site.api.run(
        site.api.core.db.execute(
            insert(sessions),
            id=f"s-{actor.username}",
            user_id=actor.user_id,
            token_hash=actor.username,
            expires_at=when + timedelta(days=30),
            created_at=when,
            updated_at=when,
        )
    )


def test_when_a_user_was_last_active(site: Site) -> None:
    when = datetime(2024, 2, 3, tzinfo=UTC)
    begin_session(site, site.ada, when)
    assert site("getUser", site.admin, userId=site.ada.user_id)["lastActive"] == when
    _, secret = site.api.run(
        site.api.core.tokens.create(str(site.ada.user_id), "ci", ["repo:read"])
    )
    site.api.run(site.api.core.credentials.bearer(secret))
    site.api.run(site.api.core.last_use.flush())
    assert site("getUser", site.admin, userId=site.ada.user_id)["lastActive"] > when


def test_a_suspension_counts_at_once(site: Site) -> None:
    begin_session(site, site.ada, site.api.core.runtime.now())
    _, secret = site.api.run(
        site.api.core.tokens.create(str(site.ada.user_id), "ci", ["repo:read"])
    )
    of = {"userId": site.ada.user_id}
    assert site("suspendUser", site.admin, **of, reason=" spam ") == {"success": True}
    assert site.api.run(site.api.core.db.fetch_all(select(sessions))) == []
    with pytest.raises(Forbidden, match="suspended: spam"):
        site.api.run(site.api.core.credentials.bearer(secret))
    ada = site("getUser", site.admin, **of)
    assert (ada["suspended"], ada["suspendedReason"]) == (True, "spam")
    with pytest.raises(Conflict):
        site("suspendUser", site.admin, **of, reason="again")
    assert site("unsuspendUser", site.admin, **of) == {"success": True}
    with pytest.raises(Conflict):
        site("unsuspendUser", site.admin, **of)
    assert site.api.run(site.api.core.credentials.bearer(secret)).user_id == site.ada.user_id
    assert [row["action"] for row in site.log()] == ["user.suspended", "user.unsuspended"]


@pytest.mark.attack(52)
def test_superiors_are_safe(site: Site) -> None:
    tried: list[tuple[str, Actor, dict[str, Any], type[Exception]]] = [
        ("suspendUser", site.admin, {"userId": site.root.user_id, "reason": "x"}, Forbidden),
        ("suspendUser", site.admin, {"userId": site.admin.user_id, "reason": "x"}, Invalid),
        ("suspendUser", site.root, {"userId": site.root.user_id, "reason": "x"}, Invalid),
        ("updateUserRole", site.root, {"userId": site.root.user_id, "role": "admin"}, Invalid),
        ("updateUserRole", site.root, {"userId": "nobody", "role": "admin"}, NotFound),
        ("updateUserRole", site.root, {"userId": site.ada.user_id, "role": "user"}, Conflict),
        ("suspendUser", site.admin, {"userId": "nobody", "reason": "x"}, NotFound),
        ("unsuspendUser", site.admin, {"userId": site.ada.user_id}, Conflict),
    ]
    for name, actor, values, error in tried:
        with pytest.raises(error):
            site(name, actor, **values)
    assert site.log() == []
    second = site.api.user("second", "superadmin")
    site("suspendUser", site.root, userId=second.user_id, reason="x")
    with pytest.raises(Forbidden, match="superadmin"):
        site("unsuspendUser", site.admin, userId=second.user_id)
    row = site.api.run(site.api.core.users.get(str(site.root.user_id)))
    assert (row["role"], row["suspended"]) == ("superadmin", False)


def test_two_superadmins_cannot_lower_each_other_at_once(site: Site) -> None:
    second = site.api.user("second", "superadmin")
    administration = site.api.core.administration

    async def both():
        pairs = [(site.root, second), (second, site.root)]
        work = [
            administration.set_role(Operator(by.user_id), whom.user_id, "user")
            for by, whom in pairs
        ]
        return await DeferredList(map(Deferred.fromCoroutine, work), consumeErrors=True)

    results = site.api.run(both())
    assert sorted(success for success, _ in results) == [False, True]
    (failure,) = [failure for success, failure in results if not success]
    assert failure.type is Forbidden
    page = site("listUsers", site.admin, role="superadmin")
    assert page["total"] == 1
    assert len(site.log()) == 1


def test_an_administrator_who_was_lowered_meanwhile_changes_nothing(site: Site) -> None:
    lower = update(users).where(users.c.id == site.admin.user_id).values(role="user")
    site.api.run(site.api.core.db.execute(lower))
    with pytest.raises(Forbidden):
        site("suspendUser", site.admin, userId=site.ada.user_id, reason="x")
    assert site("getUser", site.root, userId=site.ada.user_id)["suspended"] is False


def test_roles_and_the_audit_log(site: Site) -> None:
    of = {"userId": site.ada.user_id}
    site("updateUserRole", site.root, **of, role="admin")
    assert site("getUser", site.root, **of)["role"] == "admin"
    site("suspendUser", site.root, **of, reason="spam")
    page = site("getAuditLogs", site.admin)
    assert page["total"] == 2
    suspended, changed = page["logs"]
    assert suspended["action"] == "user.suspended"
    assert changed == {
        "id": changed["id"],
        "adminId": site.root.user_id,
        "adminName": "root",
        "adminEmail": "root@example.org",
        "action": "user.role_changed",
        "targetType": "user",
        "targetId": site.ada.user_id,
        "description": "Changed the role of ada from user to admin",
        "metadata": {"oldRole": "user", "newRole": "admin"},
        "ipAddress": "192.0.2.7",
        "userAgent": "test/1.0",
        "createdAt": changed["createdAt"],
    }

    def found(**values: Any) -> list[str]:
        return [row["action"] for row in site("getAuditLogs", site.admin, **values)["logs"]]

    both = ["user.suspended", "user.role_changed"]
    assert found(action="user.suspended") == ["user.suspended"]
    assert found(adminId=site.root.user_id) == found(targetId=site.ada.user_id) == both
    assert found(targetType="user") == both
    assert found(adminId=site.admin.user_id) == found(targetType="system_setting") == []
    assert found(startDate=suspended["createdAt"]) == ["user.suspended"]
    assert found(endDate=changed["createdAt"]) == ["user.role_changed"]
    assert found(limit=1, offset=1) == ["user.role_changed"]
    site.api.run(site.api.core.db.execute(delete(users).where(users.c.id == site.root.user_id)))
    (entry, _) = site("getAuditLogs", site.admin)["logs"]
    assert entry["adminId"] == "" and "adminName" not in entry


def test_a_change_that_fails_is_not_in_the_log(site: Site, monkeypatch) -> None:
    """And a change that cannot be logged is not made."""

    async def broken(*arguments: Any) -> None:
        raise OSError("full")

    monkeypatch.setattr(site.api.core.audit, "append", broken)
    tried: list[tuple[str, dict[str, Any]]] = [
        ("updateUserRole", {"userId": site.ada.user_id, "role": "admin"}),
        ("suspendUser", {"userId": site.ada.user_id, "reason": "x"}),
        ("setSetting", {"key": "x", "value": 1}),
        ("upsertFeatureFlag", {"name": "x", "enabled": True}),
    ]
    for name, values in tried:
        with pytest.raises(OSError, match="full"):
            site(name, site.root, **values)
    ada = site("getUser", site.root, userId=site.ada.user_id)
    assert (ada["role"], ada["suspended"]) == ("user", False)
    assert site("getSettings", site.root) == site("getFeatureFlags", site.root) == []


def test_listing_repositories(site: Site) -> None:
    for name, private in [("zoo", False), ("apes", True)]:
        site.api.repository(f"ada/{name}", private=private)

    def found(**values: Any) -> list[str]:
        return [row["name"] for row in site("listRepositories", site.admin, **values)["repos"]]

    assert found() == ["apes", "zoo"]
    assert found(sortBy="name", sortOrder="desc") == ["zoo", "apes"]
    assert found(sortBy="starsCount", limit=1) != []
    assert found(isPrivate=True) == found(search="PE") == ["apes"]
    assert found(search="_") == []
    assert site("listRepositories", site.admin, limit=1)["total"] == 2


def test_sign_ins(site: Site) -> None:
    now = site.api.core.runtime.now()
    for number, (email, success) in enumerate([("ada", True), ("x@y.z", False), ("ADA", False)]):
        site.api.run(
            site.api.core.db.execute(
                insert(login_attempts),
                id=str(number),
                email=email,
                user_id=site.ada.user_id if success else None,
                success=success,
                ip_address="192.0.2.1",
                user_agent="curl",
                failure_reason=None if success else "unauthorized",
                created_at=now + timedelta(seconds=number),
            )
        )

    def found(**values: Any) -> list[str]:
        page = site("getLoginAttempts", site.admin, **values)
        return [row["id"] for row in page["attempts"]]

    assert found() == ["2", "1", "0"]
    assert found(email="Ada") == ["2", "0"]
    assert found(success=False) == ["2", "1"]
    assert found(startDate=now + timedelta(seconds=1), endDate=now + timedelta(seconds=1)) == ["1"]
    assert found(limit=1, offset=2) == ["0"]
    (row,) = site("getLoginAttempts", site.admin, success=True)["attempts"]
    assert (row["userId"], row["email"], row["failureReason"]) == (site.ada.user_id, "ada", None)
    with pytest.raises(BadInput):
        site("getLoginAttempts", site.admin, startDate="2024-01-01T00:00:00")
