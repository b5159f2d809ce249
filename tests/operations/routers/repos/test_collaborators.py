"""Collaborators, and invitations by mail."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.operations.routers.repos.conftest import People
from wit.db.tables import invitations
from wit.errors import Forbidden, Invalid, NotFound, Unauthorized
from wit.operations.api import BadInput
from wit.repositories.invitations import Invited


@pytest.mark.parametrize(
    "names",
    [
        ("collaborators.list", "collaborators.add", "collaborators.remove"),
        ("repos.collaborators", "repos.addCollaborator", "repos.removeCollaborator"),
    ],
    ids=["collaborators", "repos"],
)
def test_collaborators(people: People, names: tuple[str, str, str]) -> None:
    list_, add, remove = names
    repo = people.new("alice/x", private=True)
    bob = {"repoId": repo, "userId": people.id("bob")}
    people.refused(NotFound, add, "carol", **bob, permission="admin")
    made = people.call(add, "alice", **bob, permission="read")
    assert made == {**bob, "permission": "read", "createdAt": made["createdAt"]}
    people.refused(Invalid, add, "alice", **bob, permission="write")
    people.refused(Invalid, add, "alice", repoId=repo, userId=people.id("alice"), permission="read")
    people.refused(NotFound, add, "alice", repoId=repo, userId="x" * 32, permission="read")
    people.refused(BadInput, add, "alice", **bob, permission="owner")
    people.refused(Forbidden, add, "bob", repoId=repo, userId=people.id("carol"), permission="read")
    (shown,) = people.call(list_, "bob", repoId=repo)
    assert shown["user"]["username"] == "bob" and shown["user"]["email"] == ""
    assert shown["permission"] == "read" and shown["userId"] == people.id("bob")
    people.refused(NotFound, list_, "carol", repoId=repo)
    people.refused(Forbidden, remove, "bob", **bob)
    assert people.call(remove, "alice", **bob) == {"success": True}
    people.refused(NotFound, remove, "alice", **bob)
    people.refused(NotFound, "repos.getById", "bob", id=repo)


def test_permissions(people: People) -> None:
    repo = people.new("alice/x", private=True)
    bob = {"repoId": repo, "userId": people.id("bob")}

    def has(permission: str, who: Any = "bob", repo_id: str = repo) -> bool:
        answer = people.call(
            "collaborators.checkPermission", who, repoId=repo_id, permission=permission
        )
        found: bool = answer["hasPermission"]
        return found

    assert not has("read") and has("admin", "alice")
    assert not has("read", repo_id="00000000-0000-4000-8000-000000000000")
    people.refused(
        Unauthorized, "collaborators.checkPermission", None, repoId=repo, permission="read"
    )
    people.refused(NotFound, "collaborators.updatePermission", "alice", **bob, permission="read")
    people.call("collaborators.add", "alice", **bob, permission="write")
    assert has("write") and not has("admin")
    assert not has("write", people.token("bob", "repo:read"))
    changed = people.call("collaborators.updatePermission", "alice", **bob, permission="admin")
    assert changed["permission"] == "admin" and has("admin")


def test_a_new_collaborator_is_told(people: People) -> None:
    repo = people.new("alice/x", private=True)
    people.call(
        "collaborators.add", "alice", repoId=repo, userId=people.id("bob"), permission="write"
    )
    (mail,) = people.mails()
    assert mail.to == "bob@example.org" and "alice/x" in mail.subject
    assert "write access" in mail.text and "/alice/x" in mail.text


def invite(people: People, repo: str, **values: Any) -> tuple[dict[str, Any], str]:
    """An invitation of bob, and the secret of its mail."""
    values = {"email": "Bob@example.org", "permission": "write", **values}
    made = people.call("collaborators.invite", "alice", repoId=repo, **values)
    found = re.search(r"/invitations/(\w{40})\n", people.mails()[-1].text)
    assert found is not None
    return made, found[1]


def test_an_invitation_is_accepted_once(people: People) -> None:
    repo = people.new("alice/x", private=True)
    made, secret = invite(people, repo)
    assert (made["email"], made["permission"]) == ("bob@example.org", "write")
    assert people.call("collaborators.listInvitations", "alice", repoId=repo) == [made]
    stored = people.run(people.core.db.fetch_all(select(invitations)))
    assert secret not in repr(stored)
    people.refused(Unauthorized, "collaborators.acceptInvitation", None, token=secret)
    looked = people.run(people.core.invitations.look(secret))
    assert looked == Invited("alice/x", "write", "alice")
    accepted = people.call("collaborators.acceptInvitation", "bob", token=secret)
    assert accepted == {"success": True, "repoId": repo}
    (shown,) = people.call("collaborators.list", "bob", repoId=repo)
    assert shown["permission"] == "write"
    people.refused(NotFound, "collaborators.acceptInvitation", "carol", token=secret)
    assert people.call("collaborators.listInvitations", "alice", repoId=repo) == []
    assert people.mails() == [], "nothing is to be sent any more"


def test_of_two_who_accept_one_does(people: People) -> None:
    repo = people.new("alice/x", private=True)
    _, secret = invite(people, repo)
    answers = people.together(
        *[("collaborators.acceptInvitation", name, {"token": secret}) for name in ("bob", "carol")]
    )
    assert sorted(isinstance(answer, NotFound) for answer in answers) == [False, True]
    assert len(people.call("collaborators.list", "alice", repoId=repo)) == 1


def test_an_invitation_takes_no_rights_away(people: People) -> None:
    repo = people.new("alice/x", private=True)
    _, secret = invite(people, repo)
    people.refused(Invalid, "collaborators.acceptInvitation", "alice", token=secret)
    people.collaborator(repo, "bob", "admin")
    people.call("collaborators.acceptInvitation", "bob", token=secret)
    (shown,) = people.call("collaborators.list", "bob", repoId=repo)
    assert shown["permission"] == "admin"
    people.collaborator(repo, "carol", "read")
    _, secret = invite(people, repo, email="carol@example.org")
    people.call("collaborators.acceptInvitation", "carol", token=secret)
    levels = {
        row["user"]["username"]: row["permission"]
        for row in people.call("collaborators.list", "bob", repoId=repo)
    }
    assert levels == {"bob": "admin", "carol": "write"}


def test_invitations_that_are_worth_nothing(people: People) -> None:
    repo = people.new("alice/x", private=True)
    made, cancelled = invite(people, repo)
    place = {"repoId": repo, "id": made["id"]}
    other = people.new("alice/y")
    people.refused(NotFound, "collaborators.cancelInvitation", "alice", **place | {"repoId": other})
    assert people.call("collaborators.cancelInvitation", "alice", **place) == {"success": True}
    people.refused(NotFound, "collaborators.cancelInvitation", "alice", **place)
    _, replaced = invite(people, repo)
    _, declined = invite(people, repo)
    assert len(people.call("collaborators.listInvitations", "alice", repoId=repo)) == 1
    people.call("collaborators.declineInvitation", "bob", token=declined)
    _, late = invite(people, repo)
    past = people.core.runtime.now() - timedelta(seconds=1)
    people.run(people.core.db.execute(update(invitations).values(expires_at=past)))
    for secret in (cancelled, replaced, declined, late, "x" * 40):
        people.refused(NotFound, "collaborators.acceptInvitation", "bob", token=secret)
        people.refused(NotFound, "collaborators.declineInvitation", "bob", token=secret)
        with pytest.raises(NotFound):
            people.run(people.core.invitations.look(secret))
    people.refused(NotFound, "repos.getById", "bob", id=repo)


def test_an_invitation_is_void_when_the_inviter_has_no_say_any_more(people: People) -> None:
    repo = people.new("bob/x", private=True)
    people.collaborator(repo, "alice", "admin")
    _, secret = invite(people, repo, email="carol@example.org")
    people.collaborator(repo, "alice", "write")
    people.refused(NotFound, "collaborators.acceptInvitation", "carol", token=secret)
    people.collaborator(repo, "alice", "admin")
    people.run(people.core.users.suspend(people.id("alice"), "spam"))
    people.refused(NotFound, "collaborators.acceptInvitation", "carol", token=secret)
    people.run(people.core.users.resume(people.id("alice")))
    people.call("collaborators.acceptInvitation", "carol", token=secret)


def test_who_may_invite(people: People) -> None:
    repo = people.new("alice/x")
    people.collaborator(repo, "bob", "write")
    values = {"repoId": repo, "email": "x@example.org"}
    people.refused(Forbidden, "collaborators.invite", "bob", **values)
    people.refused(Forbidden, "collaborators.listInvitations", "bob", repoId=repo)
    people.refused(Invalid, "collaborators.invite", "alice", **values | {"email": "not one"})
    assert people.call("collaborators.invite", "alice", **values)["permission"] == "read"
