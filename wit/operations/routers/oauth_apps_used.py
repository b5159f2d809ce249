"""OAuth apps as those see them who use them: published apps, and what the caller has granted to
apps (contract, trpc-notes.md, "sshKeys, tokens, oauthApps")."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import OAuthScope
from wit.db.port import Row
from wit.oauth.scopes import DESCRIPTIONS
from wit.operations.access import Public, SignedIn
from wit.operations.call import Call
from wit.operations.inputs import ById, Offset, Uuid
from wit.operations.registry import Input, Router
from wit.operations.shapes import Success

router = Router("oauthApps")


class Search(Input):
    query: Annotated[str, Field(min_length=1, max_length=100)]
    limit: Annotated[int, Field(ge=1, le=50)] = 20


class Popular(Input):
    limit: Annotated[int, Field(ge=1, le=50)] = 20
    offset: Offset = 0


class ByAuthorization(Input):
    authorizationId: Uuid


class PublicApp(TypedDict):
    id: str
    name: str
    description: str | None
    logoUrl: str | None
    websiteUrl: str | None
    privacyPolicyUrl: str | None
    termsOfServiceUrl: str | None
    isVerified: bool
    installationsCount: int
    createdAt: datetime


class ListedApp(TypedDict):
    id: str
    name: str
    description: str | None
    logoUrl: str | None
    websiteUrl: str | None
    isVerified: bool
    installationsCount: int


class ScopeInfo(TypedDict):
    name: OAuthScope
    description: str


class AuthorizedApp(TypedDict):
    id: str
    name: str
    description: str | None
    logoUrl: str | None
    websiteUrl: str | None
    isVerified: bool


class Authorization(TypedDict):
    id: str
    app: AuthorizedApp | None
    scopes: list[OAuthScope]
    createdAt: datetime
    updatedAt: datetime


def listed(row: Row) -> ListedApp:
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "logoUrl": row["logo_url"],
        "websiteUrl": row["website_url"],
        "isVerified": row["is_verified"],
        "installationsCount": row["installations_count"],
    }


def authorization_shape(row: Row) -> Authorization:
    """From a row of ``Authorizations.of_user``."""
    return {
        "id": row["id"],
        "app": {
            "id": row["app_id"],
            "name": row["name"],
            "description": row["description"],
            "logoUrl": row["logo_url"],
            "websiteUrl": row["website_url"],
            "isVerified": row["is_verified"],
        },
        "scopes": row["scopes"],
        "createdAt": row["created_at"],
        "updatedAt": row["updated_at"],
    }


@router.query("getPublic", access=Public(), errors=("not_found",))
async def get_public(call: Call, values: ById) -> PublicApp:
    """A published app, as everybody sees it."""
    row = await call.core.oauth.apps.get_published(values.id)
    return {
        **listed(row),
        "privacyPolicyUrl": row["privacy_policy_url"],
        "termsOfServiceUrl": row["terms_of_service_url"],
        "createdAt": row["created_at"],
    }


@router.query("search", access=Public(), limit="search")
async def search(call: Call, values: Search) -> list[ListedApp]:
    """Published apps with the text in their name or description, most used first."""
    return [listed(row) for row in await call.core.oauth.apps.search(values.query, values.limit)]


@router.query("listPopular", access=Public())
async def list_popular(call: Call, values: Popular) -> list[ListedApp]:
    """Published apps, most used first."""
    return [listed(row) for row in await call.core.oauth.apps.popular(values.limit, values.offset)]


@router.query("scopes", access=Public())
async def scopes(call: Call) -> list[ScopeInfo]:
    """What an app can ask for."""
    return [{"name": name, "description": text} for name, text in DESCRIPTIONS.items()]  # type: ignore[typeddict-item]


@router.query("authorizations", access=SignedIn("user:read"))
async def authorizations(call: Call) -> list[Authorization]:
    """What the caller has granted to apps, last changed first."""
    rows = await call.core.oauth.authorizations.of_user(call.user_id)
    return [authorization_shape(row) for row in rows]


@router.mutation("revokeAuthorization", access=SignedIn("user:write"), errors=("not_found",))
async def revoke_authorization(call: Call, values: ByAuthorization) -> Success:
    """Take back what was granted to an app: all its tokens for the caller stop working, refresh
    tokens included."""
    await call.core.oauth.authorizations.revoke(call.user_id, values.authorizationId)
    return {"success": True}
