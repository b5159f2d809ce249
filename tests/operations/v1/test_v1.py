"""The public REST API, called without a door, on each engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support.daemon import commit, git
from wit import config_sources
from wit.access.actor import ANONYMOUS, Actor, Origin, oauth_scopes, token_scopes
from wit.core import Core
from wit.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from wit.git.names import RepoName
from wit.operations.api import BadInput, invoke, wit_api
from wit.operations.call import Call, Client
from wit.operations.registry import Page
from wit.repositories.rights import Protection
from wit.runtime import Runtime

Run = Callable[[Any], Any]
API = wit_api()


@attrs.frozen
class V1:
    """A core with alice, bob and carol; alice owns open and closed, and acme with vault."""

    core: Core
    run: Run
    people: dict[str, Actor]

    def call(self, name: str, actor: Actor | str | None = None, /, **values: Any) -> Any:
        """The result of an operation; ``actor`` is a person in person, or anonymous."""
        operation = API.get(f"v1.{name}")
        assert operation is not None
        who = self.people[actor] if isinstance(actor, str) else actor or ANONYMOUS
        call = Call(self.core, who, Client(address="192.0.2.1"))
        result = self.run(invoke(operation, call, values or None))
        # What goes out has the declared type.
        out = result.items if isinstance(result, Page) else result
        operation.output_adapter.validate_python(out)
        return result

    def refused(
        self, error: type[Exception], name: str, actor: Any = None, /, **values: Any
    ) -> str:
        with pytest.raises(error) as caught:
            self.call(name, actor, **values)
        return str(caught.value)

    def token(self, name: str, *scopes: str) -> Actor:
        return attrs.evolve(
            self.people[name], origin=Origin.TOKEN, scopes=token_scopes(frozenset(scopes))
        )


@pytest.fixture
def v1(run: Run, runtime: Runtime, database_url: str, tmp_path: Path) -> Iterator[V1]:
    async def make() -> V1:
        config = config_sources.load(
            tmp_path, {}, {"DATABASE_URL": database_url}, write_default=False
        )
        core = Core(config, runtime)
        await core.open()
        people = {}
        for name in ("alice", "bob", "carol"):
            row = await core.users.create(name, f"{name}@example.org")
            people[name] = Actor(row["id"], name, Origin.SESSION)
        await core.organizations.create("acme", people["alice"].user_id or "")
        for full_name in ("alice/open", "alice/closed", "acme/vault", "acme/shop"):
            owner, _, name = full_name.partition("/")
            private = name in ("closed", "vault")
            await core.repos.create(RepoName(owner, name), private=private, description=f"a {name}")
        return V1(core, run, people)

    made = run(make())
    yield made
    run(made.core.close())


def names(page: Any) -> list[str]:
    items = page.items if isinstance(page, Page) else page["items"]
    return [item.get("full_name") or item["login"] for item in items]


ALICE = {"username": "alice"}
OPEN = {"owner": "alice", "repo": "open"}
CLOSED = {"owner": "alice", "repo": "closed"}


def test_every_operation_is_counted_under_a_preset_that_exists(v1: V1) -> None:
    assert {operation.limit for operation in API} <= v1.core.limits.presets.keys()
    public = [operation for operation in API if operation.name.startswith("v1.")]
    assert len(public) >= 25
    assert {operation.limit for operation in public} == {"api"}


def test_root_and_rate_limit(v1: V1) -> None:
    root = v1.call("meta.root")
    assert root["version"] == "v1"
    assert root["endpoints"]["user"] == "/api/v1/users/{username}"
    v1.core.limits.check("api", "address:192.0.2.1")
    rate = v1.call("meta.rateLimit")["rate"]
    assert (rate["limit"], rate["remaining"], rate["used"]) == (60, 59, 1)
    assert v1.call("meta.rateLimit", "alice")["resources"]["core"]["limit"] == 5000


def test_users(v1: V1) -> None:
    alice = v1.call("users.get", None, username="ALICE")
    assert (alice["login"], alice["type"], alice["public_repos"]) == ("alice", "User", 1)
    assert alice["repos_url"] == "/api/v1/users/alice/repos"
    assert "email" not in alice
    v1.refused(NotFound, "users.get", None, username="nobody")
    me = v1.call("users.me", "alice")
    assert (me["email"], me["private_repos"]) == ("alice@example.org", 1)
    v1.refused(Unauthorized, "users.me")
    v1.refused(Forbidden, "users.me", v1.token("alice", "repo:read"))
    app = attrs.evolve(v1.people["alice"], scopes=oauth_scopes(frozenset({"user:read"})))
    seen = v1.call("users.me", app)
    assert (seen["email"], seen["private_repos"]) == (None, 0)


def test_profile(v1: V1) -> None:
    changed = v1.call("users.update", "bob", name="Bob B.", bio="digs", blog="https://b.example")
    assert (changed["name"], changed["bio"], changed["blog"]) == (
        "Bob B.",
        "digs",
        "https://b.example",
    )
    assert v1.call("users.update", "bob", bio=None, company="dropped")["bio"] is None
    v1.refused(Invalid, "users.update", "bob", company="only this")
    v1.refused(Invalid, "users.update", "bob")
    v1.refused(Invalid, "users.update", "bob", blog="javascript:alert(1)")
    v1.refused(BadInput, "users.update", "bob", bio="x" * 501)
    v1.refused(Forbidden, "users.update", v1.token("bob", "user:read"), bio="x")


def test_repositories_of_a_user(v1: V1) -> None:
    assert names(v1.call("users.repos", None, **ALICE)) == ["alice/open"]
    assert names(v1.call("users.repos", "bob", **ALICE)) == ["alice/open"]
    mine = v1.call("users.repos", "alice", **ALICE, sort="created", direction="asc")
    assert names(mine) == ["alice/open", "alice/closed"]
    assert (mine.more, mine.total) == (False, 2)
    assert names(v1.call("users.repos", v1.token("alice", "user:read"), **ALICE)) == ["alice/open"]
    last = v1.call(
        "users.repos", "alice", **ALICE, sort="created", direction="desc", per_page=1, page=2
    )
    assert (names(last), last.more, last.total) == (["alice/open"], False, 2)
    first = v1.call("users.repos", "alice", **ALICE, sort="pushed", per_page=1)
    assert (len(first.items), first.more) == (1, True)
    v1.refused(NotFound, "users.repos", None, username="acme")


def test_pages_are_bounded(v1: V1) -> None:
    v1.call("users.repos", None, **ALICE, per_page=500)
    for wrong in ({"page": 0}, {"per_page": 0}, {"page": 10**9}, {"page": "x"}):
        v1.refused(BadInput, "users.repos", None, **ALICE, **wrong)
    empty = v1.call("users.repos", None, **ALICE, page=9)
    assert (empty.items, empty.more) == ([], False)


def test_repository(v1: V1) -> None:
    shown = v1.call("repos.get", None, **OPEN)
    assert shown["full_name"] == "alice/open"
    assert shown["owner"]["login"] == "alice"
    assert (shown["visibility"], shown["private"], shown["size"]) == ("public", False, 0)
    assert shown["clone_url"].endswith("/alice/open.git") and "://" in shown["clone_url"]
    assert shown["branches_url"] == "/api/v1/repos/alice/open/branches{/branch}"
    vault = v1.call("repos.get", "alice", owner="acme", repo="vault")
    assert (vault["owner"]["type"], vault["owner"]["url"]) == ("Organization", "/api/v1/orgs/acme")


@pytest.mark.attack(28)
@pytest.mark.parametrize(
    "name", ["get", "branches", "stargazers", "collaborators", "update", "delete", "star"]
)
def test_private_is_like_missing(v1: V1, name: str) -> None:
    missing = {"owner": "alice", "repo": "missing"}
    for actor, error in ((None, Unauthorized), ("bob", NotFound)):
        said = {v1.refused(error, f"repos.{name}", actor, **repo) for repo in (CLOSED, missing)}
        assert len(said) == 1


def test_changing_a_repository(v1: V1) -> None:
    changed = v1.call(
        "repos.update", "alice", **OPEN,
        description="new", homepage="https://o.example", private=True, archived=True,
    )  # fmt: skip
    assert (changed["description"], changed["homepage"]) == ("new", "https://o.example")
    assert (changed["visibility"], changed["archived"]) == ("private", True)
    assert v1.call("repos.update", "alice", **OPEN, description=None)["description"] is None
    renamed = v1.call("repos.update", "alice", **OPEN, name="opened", private=False)
    assert renamed["full_name"] == "alice/opened"
    opened = {"owner": "alice", "repo": "opened"}
    v1.refused(Conflict, "repos.update", "alice", **opened, name="closed")
    v1.refused(Forbidden, "repos.update", "bob", **opened, description="mine")
    v1.refused(Forbidden, "repos.update", v1.token("alice", "repo:admin"), **opened, private=True)
    reading = v1.token("alice", "repo:read")
    v1.refused(Forbidden, "repos.update", reading, **opened, private=True)
    # contract, rest.md: an administrator's token needs repo:write here, and repo:read for the list
    assert v1.call("repos.update", v1.token("alice", "repo:write"), **opened)["name"] == "opened"
    v1.refused(Forbidden, "repos.collaborators", v1.token("alice", "user:read"), **opened)
    v1.call("repos.collaborators", reading, **opened)


def test_deleting_a_repository(v1: V1) -> None:
    v1.call("repos.setCollaborator", "alice", **OPEN, username="bob", permission="admin")
    v1.refused(Forbidden, "repos.delete", "bob", **OPEN)
    assert v1.call("repos.delete", "alice", **OPEN) is None
    v1.refused(NotFound, "repos.get", "alice", **OPEN)


def test_branches(v1: V1, tmp_path: Path) -> None:
    assert v1.call("repos.branches", None, **OPEN).items == []
    repo = v1.run(v1.core.repos.get(RepoName("alice", "open")))
    work = tmp_path / "work"
    git("init", "-q", str(work))
    oid = commit(work)
    bare = v1.core.repos.bare(repo).path
    git("push", "-q", bare, "HEAD:refs/heads/main", "HEAD:refs/heads/topic/a", cwd=work)
    v1.run(v1.core.rights.protect(repo["id"], "topic/*", Protection()))
    page = v1.call("repos.branches", None, **OPEN)
    assert page.items == [
        {"name": name, "protected": protected,
         "commit": {"sha": oid, "url": f"/api/v1/repos/alice/open/commits/{oid}"}}
        for name, protected in (("main", False), ("topic/a", True))
    ]  # fmt: skip
    second = v1.call("repos.branches", None, **OPEN, page=2, per_page=1)
    assert [branch["name"] for branch in second.items] == ["topic/a"]
    assert (second.more, second.total) == (False, 2)


def test_collaborators(v1: V1) -> None:
    v1.call("repos.setCollaborator", "alice", **CLOSED, username="bob")
    v1.call("repos.setCollaborator", "alice", **CLOSED, username="carol", permission="read")
    page = v1.call("repos.collaborators", "alice", **CLOSED)
    assert [(who["login"], who["role_name"]) for who in page.items] == [
        ("bob", "write"),
        ("carol", "read"),
    ]
    assert page.items[0]["permissions"] == {
        "pull": True, "triage": True, "push": True, "maintain": False, "admin": False,
    }  # fmt: skip
    v1.refused(Forbidden, "repos.collaborators", "bob", **CLOSED)
    v1.refused(BadInput, "repos.setCollaborator", "alice", **CLOSED, username="bob", permission="x")
    v1.refused(NotFound, "repos.setCollaborator", "alice", **CLOSED, username="nobody")
    v1.call("repos.removeCollaborator", "alice", **CLOSED, username="bob")
    v1.refused(NotFound, "repos.removeCollaborator", "alice", **CLOSED, username="bob")
    v1.refused(NotFound, "repos.get", "bob", **CLOSED)


def test_stars(v1: V1) -> None:
    for _ in range(2):
        v1.call("repos.star", "bob", **OPEN)
    v1.call("repos.star", "carol", **OPEN)
    assert names(v1.call("repos.stargazers", None, **OPEN)) == ["carol", "bob"]
    assert v1.call("repos.get", None, **OPEN)["stargazers_count"] == 2
    v1.call("repos.unstar", "carol", **OPEN)
    v1.call("repos.unstar", "carol", **OPEN)
    page = v1.call("repos.stargazers", None, **OPEN)
    assert (names(page), page.total) == (["bob"], 1)
    v1.refused(Unauthorized, "repos.star", None, **OPEN)


def test_organization(v1: V1) -> None:
    seen = v1.call("orgs.get", "bob", org="ACME")
    assert (seen["login"], seen["public_repos"]) == ("acme", 1)
    assert "private_repos" not in seen
    assert v1.call("orgs.get", "alice", org="acme")["private_repos"] == 1
    assert "private_repos" not in v1.call("orgs.get", v1.token("alice", "repo:read"), org="acme")
    v1.refused(NotFound, "orgs.get", None, org="alice")
    changed = v1.call("orgs.update", "alice", org="acme", name="Acme Inc.", email="a@b.example")
    assert (changed["name"], changed["login"], changed["email"]) == ("Acme Inc.", "acme", None)
    v1.refused(Invalid, "orgs.update", "alice", org="acme", email="a@b.example")
    v1.refused(Forbidden, "orgs.update", "bob", org="acme", name="Mine")
    v1.refused(Unauthorized, "orgs.update", None, org="acme", name="Mine")
    assert names(v1.call("orgs.repos", None, org="acme")) == ["acme/shop"]
    assert set(names(v1.call("orgs.repos", "alice", org="acme"))) == {"acme/shop", "acme/vault"}


def test_memberships(v1: V1) -> None:
    made = v1.call("orgs.setMembership", "alice", org="acme", username="bob", role="admin")
    assert (made["role"], made["state"], made["user"]["login"]) == ("admin", "active", "bob")
    v1.call("orgs.setMembership", "bob", org="acme", username="carol")
    page = v1.call("orgs.members", None, org="acme")
    roles = [(who["login"], who["role"]) for who in page.items]
    assert roles == [("alice", "owner"), ("bob", "admin"), ("carol", "member")]
    assert names(v1.call("orgs.members", None, org="acme", role="admin")) == ["bob"]
    change = {"org": "acme", "username": "alice"}
    v1.refused(Forbidden, "orgs.setMembership", "bob", **change)
    v1.refused(Invalid, "orgs.setMembership", "alice", **change)
    v1.refused(Forbidden, "orgs.setMembership", "carol", org="acme", username="bob")
    v1.refused(BadInput, "orgs.setMembership", "alice", **change, role="owner")
    v1.refused(Forbidden, "orgs.removeMembership", "carol", org="acme", username="bob")
    v1.refused(Invalid, "orgs.removeMembership", "alice", **change)
    v1.call("orgs.removeMembership", "carol", org="acme", username="carol")
    v1.call("orgs.removeMembership", "alice", org="acme", username="bob")
    assert v1.call("orgs.members", None, org="acme").total == 1
    v1.refused(Unauthorized, "orgs.removeMembership", None, **change)


def test_search(v1: V1) -> None:
    found = v1.call("search.repositories", None, q="O")
    assert set(names(found)) == {"alice/open", "acme/shop"}
    assert (found["total_count"], found["incomplete_results"]) == (2, False)
    assert names(v1.call("search.repositories", "alice", q="alice/cl")) == ["alice/closed"]
    assert names(v1.call("search.repositories", None, q="A SHOP")) == ["acme/shop"]
    for nothing in ("closed", "%", "_", "\\"):
        assert v1.call("search.repositories", "bob", q=nothing)["total_count"] == 0
    assert names(v1.call("search.users", None, q="AR")) == ["carol"]
    assert v1.call("search.users", None, q="example.org")["total_count"] == 0
    assert v1.call("search.issues", None, q="x")["items"] == []
    for kind in ("repositories", "users", "issues"):
        v1.refused(BadInput, f"search.{kind}")
