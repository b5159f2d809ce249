"""Finding, making, changing, giving away and removing repositories."""

from __future__ import annotations

from sqlalchemy import insert

from tests.operations.routers.repos.conftest import People
from wit.db.tables import team_repositories, teams
from wit.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from wit.operations.api import BadInput


def test_create_and_find(people: People) -> None:
    made = people.call("repos.create", "alice", name="Tools", description="of mine")
    assert (made["name"], made["ownerId"], made["isPrivate"]) == (
        "Tools",
        people.id("alice"),
        False,
    )
    assert made["defaultBranch"] == "main" and made["diskPath"] == "/repos/alice/Tools.git"
    assert people.disk(made["id"]).joinpath("HEAD").read_text() == "ref: refs/heads/main\n"
    found = people.call("repos.get", None, owner="ALICE", repo="tools.git")
    assert found["repo"] == made
    assert found["owner"]["username"] == "alice" and found["owner"]["email"] == ""
    assert people.call("repos.getById", None, id=made["id"]) == made
    other = people.call("repos.create", "alice", name="trunked", defaultBranch="trunk")
    assert people.disk(other["id"]).joinpath("HEAD").read_text() == "ref: refs/heads/trunk\n"
    people.refused(Conflict, "repos.create", "alice", name="TOOLS")
    people.refused(Unauthorized, "repos.create", None, name="x")
    people.refused(Forbidden, "repos.create", people.token("alice", "repo:read"), name="x")
    for wrong in ("", "a b", "x" * 101, "a/b"):
        people.refused(BadInput, "repos.create", "alice", name=wrong)
    for wrong in ("..", "x.git", "-x"):
        people.refused(Invalid, "repos.create", "alice", name=wrong)
    people.refused(Invalid, "repos.create", "alice", name="x", defaultBranch="a..b")


def test_the_names_of_the_documentation_page(people: People) -> None:
    made = people.call("repository.create", "alice", name="doc", description="x", isPrivate=True)
    assert made["isPrivate"]
    assert people.call("repository.get", "alice", owner="alice", name="doc")["repo"] == made


def test_private_means_invisible(people: People) -> None:
    secret = people.new("alice/secret", private=True)
    missing = "00000000-0000-4000-8000-000000000000"
    for who, error in (("bob", NotFound), (None, Unauthorized)):
        assert people.refused(
            error, "repos.get", who, owner="alice", repo="secret"
        ) == people.refused(error, "repos.get", who, owner="alice", repo="nothing")
        assert people.refused(error, "repos.getById", who, id=secret) == people.refused(
            error, "repos.getById", who, id=missing
        )
    for name in ("stargazers", "watchers", "forks"):
        people.refused(NotFound, f"repos.{name}", "bob", repoId=secret)
    people.collaborator(secret, "bob", "read")
    assert people.call("repos.getById", "bob", id=secret)["name"] == "secret"


def test_lists_hold_what_one_may_read(people: People) -> None:
    people.new("alice/open")
    closed = people.new("alice/closed", private=True)
    people.new("acme/vault", private=True)

    def listed(who: object, owner: str = "alice", **values: object) -> list[str]:
        rows = people.call("repos.list", who, owner=owner, **values)  # type: ignore[arg-type]
        return [row["name"] for row in rows]

    assert people.call("repos.list") == []
    assert listed("alice") == ["closed", "open"], "the latest change comes first"
    assert listed("bob") == listed(None) == ["open"]
    assert listed(people.token("alice", "user:read")) == ["open"]
    people.collaborator(closed, "bob", "read")
    assert listed("bob") == ["closed", "open"]
    assert listed("alice", limit=1, offset=1) == ["open"]
    assert listed("bob", "nobody") == []
    assert listed("alice", "ACME", ownerType="organization") == ["vault"]
    assert listed("bob", "acme") == []


def test_repositories_of_organizations(people: People) -> None:
    run, core = people.run, people.core
    org = {"orgId": people.org_id, "name": "shop"}
    people.refused(Forbidden, "repos.createForOrg", "bob", **org)
    run(core.organizations.add_member(people.org_id, people.id("bob"), "member"))
    people.refused(Forbidden, "repos.createForOrg", "bob", **org)
    run(core.organizations.set_role(people.org_id, people.id("bob"), "admin"))
    people.refused(Forbidden, "repos.createForOrg", people.token("bob", "repo:admin"), **org)
    made = people.call("repos.createForOrg", "bob", **org, isPrivate=True)
    assert made["ownerType"] == "organization" and made["isPrivate"]
    found = people.call("repos.get", "bob", owner="acme", repo="shop")
    assert found["owner"] == {"id": people.org_id, "name": "acme", "type": "organization"}
    people.refused(Conflict, "repos.createForOrg", "bob", **org)
    people.refused(Forbidden, "repos.delete", "bob", repoId=made["id"])
    assert people.call("repos.delete", "alice", repoId=made["id"]) is True


def test_update(people: People) -> None:
    repo = people.filled("alice/x")
    people.new("alice/taken")
    people.collaborator(repo, "bob", "write")
    people.collaborator(repo, "carol", "admin")
    people.refused(Forbidden, "repos.update", "bob", repoId=repo, description="mine")
    changed = people.call(
        "repos.update", "carol", repoId=repo, description=" tools ", isPrivate=True
    )
    assert (changed["description"], changed["isPrivate"]) == ("tools", True)
    assert people.call("repos.update", "carol", repoId=repo) | {"updatedAt": 0} == changed | {
        "updatedAt": 0
    }
    assert people.call("repos.update", "carol", repoId=repo, description="")["description"] is None
    renamed = people.call("repos.update", "carol", repoId=repo, name="y", isPrivate=False)
    assert renamed["diskPath"] == "/repos/alice/y.git" and not renamed["isPrivate"]
    assert people.disk(repo).is_dir()
    message = people.refused(
        Conflict, "repos.update", "carol", repoId=repo, name="Taken", description="lost"
    )
    assert "already" in message and people.row(repo)["description"] is None
    people.refused(Invalid, "repos.update", "carol", repoId=repo, homepage="javascript:alert(1)")
    people.call("repos.update", "carol", repoId=repo, homepage="https://example.org/x")
    assert people.row(repo)["homepage"] == "https://example.org/x"


def test_default_branch(people: People) -> None:
    repo = people.filled("alice/x")
    place = {"owner": "alice", "repo": "x"}
    people.call("repos.createBranch", "alice", **place, name="next")
    people.refused(Invalid, "repos.update", "alice", repoId=repo, defaultBranch="nothing")
    people.refused(Invalid, "repos.update", "alice", repoId=repo, defaultBranch="a..b")
    assert (
        people.call("repos.update", "alice", repoId=repo, defaultBranch="next")["defaultBranch"]
        == "next"
    )
    assert people.disk(repo).joinpath("HEAD").read_text() == "ref: refs/heads/next\n"
    people.refused(Invalid, "repos.deleteBranch", "alice", **place, name="next")
    people.call("repos.deleteBranch", "alice", **place, name="main")
    empty = people.new("alice/empty")
    people.call("repos.update", "alice", repoId=empty, defaultBranch="trunk")
    assert people.disk(empty).joinpath("HEAD").read_text() == "ref: refs/heads/trunk\n"


def test_rest_names(people: People) -> None:
    repo = people.new("alice/x")
    place = {"owner": "alice", "repo": "x"}
    changed = people.call("reposByName.update", "alice", **place, description="by path")
    assert changed["id"] == repo and changed["description"] == "by path"
    people.refused(Forbidden, "reposByName.delete", "bob", **place)
    assert people.call("reposByName.delete", "alice", **place) == {"success": True}
    people.refused(NotFound, "repos.get", "alice", **place)


def test_delete(people: People) -> None:
    repo = people.filled("alice/x")
    people.collaborator(repo, "bob", "admin")
    people.refused(Forbidden, "repos.delete", "bob", repoId=repo)
    disk = people.disk(repo)
    assert people.call("repos.delete", "alice", repoId=repo) is True
    assert not disk.exists()
    people.refused(NotFound, "repos.delete", "alice", repoId=repo)


def test_transfer_to_a_user(people: People) -> None:
    repo = people.filled("alice/x")
    place = {"owner": "alice", "repo": "x"}
    to_bob = {"newOwner": "BOB", "newOwnerType": "user"}
    people.collaborator(repo, "bob", "admin")
    people.refused(Forbidden, "repos.transfer", "bob", **place, **to_bob)
    people.refused(
        NotFound, "repos.transfer", "alice", **place, newOwner="nobody", newOwnerType="user"
    )
    people.refused(BadInput, "repos.transfer", "alice", **place, newOwner="bob")
    clash = people.new("bob/X")
    people.refused(Conflict, "repos.transfer", "alice", **place, **to_bob)
    people.call("repos.delete", "bob", repoId=clash)
    done = people.call("repos.transfer", "alice", **place, **to_bob)
    assert (done["previousOwner"], done["newOwner"]) == ("alice", "bob")
    assert done["repo"]["id"] == repo and done["repo"]["diskPath"] == "/repos/bob/x.git"
    (event,) = people.events("repo.transferred")
    assert event.actor_id == people.id("alice")
    assert event.payload["newOwnerName"] == "bob" and event.payload["newOwnerType"] == "user"
    assert people.call("repos.collaborators", "bob", repoId=repo) == []


def test_transfer_to_an_organization(people: People) -> None:
    repo = people.new("bob/x", private=True)
    place = {"owner": "bob", "repo": "x", "newOwner": "acme", "newOwnerType": "organization"}
    people.refused(Forbidden, "repos.transfer", "bob", **place)
    people.run(people.core.organizations.add_member(people.org_id, people.id("bob"), "admin"))
    people.refused(Forbidden, "repos.transfer", people.token("bob", "repo:admin"), **place)
    people.refused(
        NotFound, "repos.transfer", "bob", owner="bob", repo="x", newOwner="carol",
        newOwnerType="organization",
    )  # fmt: skip
    done = people.call("repos.transfer", people.token("bob", "repo:admin", "user:write"), **place)
    assert done["repo"]["ownerType"] == "organization"
    back = {"owner": "acme", "repo": "x", "newOwner": "bob", "newOwnerType": "user"}
    people.refused(Forbidden, "repos.transfer", "bob", **back)
    people.call("repos.transfer", "alice", **back)
    assert people.row(repo)["owner_name"] == "bob"


def test_teams_lose_what_is_given_away(people: People) -> None:
    repo = people.new("acme/x", private=True)
    core, now = people.core, people.core.runtime.now()
    team = core.runtime.new_id()

    async def grant() -> None:
        await core.db.execute(
            insert(teams), id=team, org_id=people.org_id, name="t", created_at=now
        )
        await core.db.execute(
            insert(team_repositories), team_id=team, repo_id=repo, permission="admin",
            created_at=now,
        )  # fmt: skip

    people.run(grant())
    place = {"owner": "acme", "repo": "x", "newOwner": "bob", "newOwnerType": "user"}
    people.call("repos.transfer", "alice", **place)
    assert people.run(core.db.fetch_all(team_repositories.select())) == []
