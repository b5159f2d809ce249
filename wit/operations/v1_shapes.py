"""Inputs and answers of the public REST API (contract, rest.md, "/api/v1").

Names are in snake case, addresses are paths without a host, but for ``clone_url``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired
from urllib.parse import quote

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from wit.db.port import Row
from wit.operations.inputs import OfRepo, OwnerName
from wit.operations.registry import Input, Page, Rest, Style

V1 = "/api/v1"
MAX_PER_PAGE = 100


def route(method: str, path: str, status: int = 200) -> Rest:
    """A route below /api/v1."""
    return Rest(method, V1 + path, status, Style.V1)


class Paged(Input):
    """``per_page`` above the most is the most."""

    page: Annotated[int, Field(ge=1, le=10_000)] = 1
    per_page: Annotated[
        int, Field(ge=1, le=1_000_000), AfterValidator(lambda size: min(size, MAX_PER_PAGE))
    ] = 30

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.per_page


class PagedRepo(Paged, OfRepo):
    pass


class Sorted(Paged):
    sort: Literal["created", "updated", "pushed"] = "updated"
    direction: Literal["asc", "desc"] = "desc"


class OfOrg(Input):
    org: OwnerName


class Account(TypedDict):
    """A user or an organization inside of another answer."""

    id: str
    login: str
    name: str | None
    avatar_url: str | None
    type: Literal["User", "Organization"]
    html_url: str
    url: str


class UserItem(Account):
    """A user in a list."""

    repos_url: str


class User(UserItem):
    bio: str | None
    location: str | None
    blog: str | None
    company: str | None
    twitter_username: str | None
    public_repos: int
    followers: int
    following: int
    created_at: datetime
    updated_at: datetime


class OwnUser(User):
    email: str | None
    private_repos: int


class Permissions(TypedDict):
    pull: bool
    triage: bool
    push: bool
    maintain: bool
    admin: bool


class Collaborator(UserItem):
    permissions: Permissions
    role_name: Literal["read", "write", "admin"]


class Member(UserItem):
    role: Literal["member", "admin", "owner"]


class Organization(Account):
    description: str | None
    repos_url: str
    members_url: str
    public_repos: int
    created_at: datetime
    updated_at: datetime
    blog: str | None
    location: str | None
    email: str | None
    is_verified: bool
    billing_email: NotRequired[str | None]
    private_repos: NotRequired[int]


class Repository(TypedDict):
    id: str
    name: str
    full_name: str
    owner: Account
    private: bool
    description: str | None
    fork: bool
    created_at: datetime
    updated_at: datetime
    pushed_at: datetime | None
    homepage: str | None
    size: int
    stargazers_count: int
    watchers_count: int
    forks_count: int
    open_issues_count: int
    open_prs_count: int
    default_branch: str
    language: str | None
    topics: list[str]
    visibility: Literal["public", "private"]
    has_issues: bool
    has_projects: bool
    archived: bool
    html_url: str
    url: str
    clone_url: str
    branches_url: str
    commits_url: str
    contents_url: str
    issues_url: str
    pulls_url: str
    collaborators_url: str
    stargazers_url: str


def user_account(row: Row) -> Account:
    """From a row of ``user``."""
    return _account(
        row["id"],
        row["display_username"] or row["username"],
        row["name"],
        row["avatar_url"] or row["image"],
        "User",
    )


def org_account(row: Row) -> Account:
    """From a row of ``organizations``."""
    return _account(row["id"], row["name"], row["display_name"], row["avatar_url"], "Organization")


def user_item(row: Row) -> UserItem:
    account = user_account(row)
    return {**account, "repos_url": f"{account['url']}/repos"}


def user(row: Row, public_repos: int) -> User:
    """Nobody follows anybody here, and there is nowhere to say a company."""
    return {
        **user_item(row),
        "bio": row["bio"],
        "location": row["location"],
        "blog": row["website"],
        "company": None,
        "twitter_username": None,
        "public_repos": public_repos,
        "followers": 0,
        "following": 0,
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def organization(row: Row, public_repos: int) -> Organization:
    account = org_account(row)
    return {
        "id": account["id"],
        "login": account["login"],
        "name": account["name"],
        "avatar_url": account["avatar_url"],
        "type": account["type"],
        "html_url": account["html_url"],
        "url": account["url"],
        "description": row["description"],
        "repos_url": f"{account['url']}/repos",
        "members_url": f"{account['url']}/members",
        "public_repos": public_repos,
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "blog": row["website"],
        "location": row["location"],
        "email": None,
        "is_verified": False,
    }


def repository(row: Row, public_url: str) -> Repository:
    """From a row of :class:`wit.repositories.directory.Directory` or of the gate; ``size`` is in
    KiB."""
    full_name = f"{row['owner_name']}/{row['name']}"
    url = f"{V1}/repos/{full_name}"
    of_user = row["owner_type"] == "user"
    return {
        "id": row["id"],
        "name": row["name"],
        "full_name": full_name,
        "owner": _account(
            row["owner_id"],
            row["owner_name"],
            row["owner_display_name"],
            row["owner_avatar_url"] or row["owner_image"],
            "User" if of_user else "Organization",
        ),
        "private": row["is_private"],
        "description": row["description"],
        "fork": row["is_fork"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "pushed_at": row["pushed_at"],
        "homepage": row["homepage"],
        "size": (row["storage_size_bytes"] or 0) // 1024,
        "stargazers_count": row["stars_count"],
        "watchers_count": row["watchers_count"],
        "forks_count": row["forks_count"],
        "open_issues_count": row["open_issues_count"],
        "open_prs_count": row["open_prs_count"],
        "default_branch": row["default_branch"],
        "language": _language(row["language_stats"]),
        "topics": [],
        "visibility": "private" if row["is_private"] else "public",
        "has_issues": True,
        "has_projects": True,
        "archived": row["is_archived"],
        "html_url": f"/{full_name}",
        "url": url,
        "clone_url": f"{public_url}/{full_name}.git",
        "branches_url": f"{url}/branches{{/branch}}",
        "commits_url": f"{url}/commits{{/sha}}",
        "contents_url": f"{url}/contents/{{+path}}",
        "issues_url": f"{url}/issues{{/number}}",
        "pulls_url": f"{url}/pulls{{/number}}",
        "collaborators_url": f"{url}/collaborators{{/collaborator}}",
        "stargazers_url": f"{url}/stargazers",
    }


def commit_url(full_name: str, oid: str) -> str:
    return f"{V1}/repos/{quote(full_name)}/commits/{oid}"


def page_of(items: list[Any], asked: Paged, total: int) -> Page[Any]:
    return Page(items, more=asked.offset + len(items) < total and bool(items), total=total)


def _account(
    id_: str,
    login: str,
    name: str | None,
    avatar_url: str | None,
    type_: Literal["User", "Organization"],
) -> Account:
    places = "users" if type_ == "User" else "orgs"
    return {
        "id": id_,
        "login": login,
        "name": name,
        "avatar_url": avatar_url,
        "type": type_,
        "html_url": f"/{login}",
        "url": f"{V1}/{places}/{login}",
    }


def _language(stats: list[Any] | None) -> str | None:
    """The one with the most bytes."""
    counted = [entry for entry in stats or () if isinstance(entry, dict)]
    if not counted:
        return None
    name = max(counted, key=lambda entry: entry.get("bytes") or 0).get("language")
    return str(name) if name else None
