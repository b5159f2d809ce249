"""People of every kind, and what they have rights to: what the access matrix is tried on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
from sqlalchemy import insert

from wit import config_sources
from wit.access.actor import (
    ANONYMOUS,
    OAUTH_SCOPES,
    TOKEN_SCOPES,
    Actor,
    Level,
    OrgRole,
    Origin,
    oauth_scopes,
    token_scopes,
)
from wit.core import Core
from wit.db.tables import team_members, team_repositories, teams
from wit.git.names import RepoName, parse_full_name
from wit.packages.declaring import Texts
from wit.packages.names import PackageName
from wit.runtime import Runtime

OPEN, CLOSED, VAULT, MISSING = "alice/open", "alice/closed", "acme/vault", "alice/missing"
"""A public, a private, and an organization's private repository, and one that is not there."""

OF_OPEN, HIDDEN, OF_CLOSED, OF_VAULT, NO_PACKAGE = (
    "of-open", "hidden", "of-closed", "of-vault", "no-package",
)  # fmt: skip
PACKAGES: dict[str, tuple[str, str]] = {
    OF_OPEN: (OPEN, "public"),
    HIDDEN: (OPEN, "private"),
    OF_CLOSED: (CLOSED, "public"),
    OF_VAULT: (VAULT, "private"),
}
"""The repository of each package, and its visibility."""
MAINTAINERS = ("alice", "member")
"""Of the packages of alice's repositories; member has no other right there."""

PEOPLE = (
    "alice", "stranger", "reader", "writer", "admin", "member", "teammate", "orgadmin",
    "orgowner", "siteadmin", "superadmin", "suspended",
)  # fmt: skip

NOTHING = {OPEN: Level.READ, CLOSED: Level.NONE, VAULT: Level.NONE}

LEVELS: dict[str, dict[str, Level]] = {
    "reader": {OPEN: Level.READ, CLOSED: Level.READ, VAULT: Level.NONE},
    "writer": {OPEN: Level.WRITE, CLOSED: Level.WRITE, VAULT: Level.NONE},
    "admin": {OPEN: Level.ADMIN, CLOSED: Level.ADMIN, VAULT: Level.NONE},
    "alice": {OPEN: Level.OWNER, CLOSED: Level.OWNER, VAULT: Level.OWNER},
    "member": {**NOTHING, VAULT: Level.READ},
    "teammate": {**NOTHING, VAULT: Level.ADMIN},
    "orgadmin": {**NOTHING, VAULT: Level.WRITE},
    "orgowner": {**NOTHING, VAULT: Level.OWNER},
}
"""What each person may do; those who are not named have NOTHING."""

ROLES = {
    "alice": OrgRole.OWNER,
    "member": OrgRole.MEMBER,
    "teammate": OrgRole.MEMBER,
    "orgadmin": OrgRole.ADMIN,
    "orgowner": OrgRole.OWNER,
}
"""In the organization acme."""


@attrs.frozen
class Caller:
    """One kind of caller: a person, and a credential of that person."""

    name: str
    person: str | None
    actor: Callable[[str | None], Awaitable[Actor]]
    """Given the scope that the declaration asks for. Raises what signing in raises."""
    by_token: bool = False
    """With a token that lacks that scope."""

    @property
    def levels(self) -> dict[str, Level]:
        return LEVELS.get(self.person or "", NOTHING)

    @property
    def role(self) -> OrgRole | None:
        return ROLES.get(self.person or "")


@attrs.frozen
class World:
    core: Core
    user_ids: dict[str, str]
    repo_ids: dict[str, str]
    org_id: str
    team_id: str
    package_ids: dict[str, str]
    callers: tuple[Caller, ...]


async def make_world(runtime: Runtime, folder: Path, database_url: str) -> World:
    config = config_sources.load(folder, {}, {"DATABASE_URL": database_url}, write_default=False)
    core = Core(config, runtime)
    await core.open()
    roles = {"siteadmin": "admin", "superadmin": "superadmin"}
    ids = {
        name: (await core.users.create(name, f"{name}@example.org", role=roles.get(name, "user")))[
            "id"
        ]
        for name in PEOPLE
    }
    org_id = (await core.organizations.create("acme", ids["alice"]))["id"]
    for name, role in ROLES.items():
        if name != "alice":
            await core.organizations.add_member(org_id, ids[name], role.name.lower())
    repo_ids = {MISSING: "00000000-0000-4000-8000-000000000000"}
    for full_name in (OPEN, CLOSED, VAULT):
        owner, _, name = full_name.partition("/")
        row = await core.repos.create(RepoName(owner, name), private=full_name != OPEN)
        repo_ids[full_name] = row["id"]
        if owner == "alice":
            for level in ("reader", "writer", "admin"):
                permission = {"reader": "read", "writer": "write"}.get(level, level)
                await core.rights.set_collaborator(row["id"], level, permission)
    team_id = runtime.new_id()
    in_team = {"team_id": team_id, "created_at": runtime.now()}
    for statement in (
        insert(teams).values(
            id=team_id, org_id=org_id, name="keepers", created_at=in_team["created_at"]
        ),
        insert(team_members).values(**in_team, user_id=ids["teammate"]),
        insert(team_repositories).values(**in_team, repo_id=repo_ids[VAULT], permission="admin"),
    ):
        await core.db.execute(statement)
    package_ids = await _make_packages(core, Actor(ids["alice"], "alice", Origin.SESSION))
    _, secret = await core.tokens.create(ids["suspended"], "laptop", list(TOKEN_SCOPES))
    await core.users.suspend(ids["suspended"], "spam")
    callers = _callers(core, ids, secret)
    return World(core, ids, repo_ids, org_id, team_id, package_ids, callers)


async def _make_packages(core: Core, alice: Actor) -> dict[str, str]:
    package_ids = {NO_PACKAGE: "00000000-0000-4000-8000-000000000000"}
    for text, (full_name, visibility) in PACKAGES.items():
        repo = await core.gate.repository(alice, parse_full_name(full_name), Level.OWNER)
        name = PackageName(None, text)
        row = await core.packages.declaring.create(
            alice, repo, name, visibility=visibility, texts=Texts()
        )
        package_ids[text] = row["id"]
        if repo["owner_id"] == alice.user_id:
            for person in MAINTAINERS[1:]:
                await core.packages.changes.add_maintainer(alice, name, person, "")
    return package_ids


def _callers(core: Core, ids: dict[str, str], suspended_token: str) -> tuple[Caller, ...]:
    def person(name: str, **power: Any) -> Caller:
        async def actor(scope: str | None) -> Actor:
            return Actor(ids[name], name, Origin.SESSION, **power)

        return Caller(name, name, actor)

    async def nobody(scope: str | None) -> Actor:
        return ANONYMOUS

    async def suspended(scope: str | None) -> Actor:
        return await core.credentials.bearer(suspended_token)

    async def token(scope: str | None) -> Actor:
        granted = {part for part in TOKEN_SCOPES if scope not in token_scopes(frozenset((part,)))}
        scopes = token_scopes(frozenset(granted))
        return Actor(ids["alice"], "alice", Origin.TOKEN, scopes=scopes)

    async def oauth_token(scope: str | None) -> Actor:
        granted = {part for part in OAUTH_SCOPES if scope not in oauth_scopes(frozenset((part,)))}
        scopes = oauth_scopes(frozenset(granted))
        return Actor(ids["alice"], "alice", Origin.OAUTH, scopes=scopes)

    return (
        Caller("anonymous", None, nobody),
        *(person(name) for name in PEOPLE[:9]),
        person("siteadmin", is_admin=True),
        person("superadmin", is_admin=True, is_superadmin=True),
        Caller("suspended", "suspended", suspended),
        Caller("token without the scope", "alice", token, by_token=True),
        Caller("OAuth token without the scope", "alice", oauth_token, by_token=True),
    )
