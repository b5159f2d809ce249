"""OAuth apps of the caller (contract, trpc-notes.md, "sshKeys, tokens, oauthApps").

Apps as those see them who use them are in oauth_apps_used.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import OAuthScope
from wit.db.port import Row
from wit.oauth.apps import MAX_ADDITIONAL_URLS
from wit.oauth.redirects import MAX_LENGTH
from wit.operations.access import SignedIn
from wit.operations.call import Call
from wit.operations.inputs import ById, Maybe, Offset, Uuid
from wit.operations.registry import Input, Router
from wit.operations.shapes import Success

WARNING = "Copy the client secret now: it is not shown again."

router = Router("oauthApps")

Name = Annotated[str, Field(min_length=1, max_length=100)]
Description = Annotated[str, Field(max_length=500)]
Url = Annotated[
    str, Field(min_length=1, max_length=MAX_LENGTH, json_schema_extra={"format": "uri"})
]
Urls = Annotated[list[Url], Field(max_length=MAX_ADDITIONAL_URLS)]


class Create(Input):
    name: Name
    callbackUrl: Url
    description: Maybe[Description] = None
    websiteUrl: Maybe[Url] = None
    additionalCallbackUrls: Urls = []
    logoUrl: Maybe[Url] = None
    privacyPolicyUrl: Maybe[Url] = None
    termsOfServiceUrl: Maybe[Url] = None
    isConfidential: bool = True
    """wit's own: false for programs that cannot keep a secret; they must use PKCE."""


class Update(Input):
    id: Uuid
    name: Name = ""
    description: Description = ""
    callbackUrl: Url = ""
    additionalCallbackUrls: Urls = []
    websiteUrl: Url | None = None
    logoUrl: Url | None = None
    privacyPolicyUrl: Url | None = None
    termsOfServiceUrl: Url | None = None


class Installations(Input):
    id: Uuid
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    offset: Offset = 0


class App(TypedDict):
    id: str
    name: str
    description: str | None
    clientId: str
    clientSecretPrefix: str
    callbackUrl: str
    additionalCallbackUrls: list[str]
    logoUrl: str | None
    websiteUrl: str | None
    privacyPolicyUrl: str | None
    termsOfServiceUrl: str | None
    isPublished: bool
    isVerified: bool
    installationsCount: int
    isConfidential: bool
    createdAt: datetime
    updatedAt: datetime


class Created(TypedDict):
    id: str
    name: str
    description: str | None
    clientId: str
    clientSecret: str
    callbackUrl: str
    createdAt: datetime
    warning: str


class Updated(TypedDict):
    id: str
    name: str
    description: str | None
    callbackUrl: str
    additionalCallbackUrls: list[str]
    logoUrl: str | None
    websiteUrl: str | None
    privacyPolicyUrl: str | None
    termsOfServiceUrl: str | None
    updatedAt: datetime


class Published(TypedDict):
    success: bool
    isPublished: bool


class NewSecret(TypedDict):
    clientSecret: str
    warning: str


class Installation(TypedDict):
    id: str
    userId: str
    scopes: list[OAuthScope]
    createdAt: datetime
    updatedAt: datetime


class InstallationPage(TypedDict):
    total: int
    installations: list[Installation]


def app_shape(row: Row) -> App:
    """An app as its owner sees it."""
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "clientId": row["client_id"],
        "clientSecretPrefix": row["client_secret_prefix"],
        "callbackUrl": row["callback_url"],
        "additionalCallbackUrls": row["additional_callback_urls"] or [],
        "logoUrl": row["logo_url"],
        "websiteUrl": row["website_url"],
        "privacyPolicyUrl": row["privacy_policy_url"],
        "termsOfServiceUrl": row["terms_of_service_url"],
        "isPublished": row["is_published"],
        "isVerified": row["is_verified"],
        "installationsCount": row["installations_count"],
        "isConfidential": row["is_confidential"],
        "createdAt": row["created_at"],
        "updatedAt": row["updated_at"],
    }


_COLUMNS = {
    "name": "name",
    "description": "description",
    "callbackUrl": "callback_url",
    "additionalCallbackUrls": "additional_callback_urls",
    "websiteUrl": "website_url",
    "logoUrl": "logo_url",
    "privacyPolicyUrl": "privacy_policy_url",
    "termsOfServiceUrl": "terms_of_service_url",
}


def _links(values: Create) -> Mapping[str, Any]:
    names = ("websiteUrl", "logoUrl", "privacyPolicyUrl", "termsOfServiceUrl")
    return {_COLUMNS[name]: getattr(values, name) for name in names}


@router.query("list", access=SignedIn("user:read"))
async def list_(call: Call) -> list[App]:
    """The caller's apps, oldest first, without their secrets."""
    return [app_shape(row) for row in await call.core.oauth.apps.of_owner(call.user_id)]


@router.query("get", access=SignedIn("user:read"), errors=("not_found",))
async def get(call: Call, values: ById) -> App:
    """One of the caller's apps."""
    return app_shape(await call.core.oauth.apps.get(call.user_id, values.id))


@router.mutation("create", access=SignedIn(None), errors=("invalid", "not_found"))
async def create(call: Call, values: Create) -> Created:
    """A new app; the answer is the only place where its secret is ever shown."""
    row, secret = await call.core.oauth.apps.create(
        call.user_id,
        name=values.name,
        callback_url=values.callbackUrl,
        additional_callback_urls=values.additionalCallbackUrls,
        description=values.description,
        confidential=values.isConfidential,
        links=_links(values),
    )
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "clientId": row["client_id"],
        "clientSecret": secret,
        "callbackUrl": row["callback_url"],
        "createdAt": row["created_at"],
        "warning": WARNING,
    }


@router.mutation("update", access=SignedIn(None), errors=("invalid", "not_found"))
async def update(call: Call, values: Update) -> Updated:
    """Change what is given; null clears an address. Not with a token: whoever sets a callback URL
    gets the codes."""
    changes = {_COLUMNS[name]: getattr(values, name) for name in values.model_fields_set - {"id"}}
    row = app_shape(await call.core.oauth.apps.update(call.user_id, values.id, changes))
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "callbackUrl": row["callbackUrl"],
        "additionalCallbackUrls": row["additionalCallbackUrls"],
        "logoUrl": row["logoUrl"],
        "websiteUrl": row["websiteUrl"],
        "privacyPolicyUrl": row["privacyPolicyUrl"],
        "termsOfServiceUrl": row["termsOfServiceUrl"],
        "updatedAt": row["updatedAt"],
    }


@router.mutation("publish", access=SignedIn("user:write"), errors=("not_found",))
async def publish(call: Call, values: ById) -> Published:
    """Show the app to everybody: in searches, and by its id."""
    return await _set_published(call, values.id, True)


@router.mutation("unpublish", access=SignedIn("user:write"), errors=("not_found",))
async def unpublish(call: Call, values: ById) -> Published:
    """Hide the app again; who uses it goes on."""
    return await _set_published(call, values.id, False)


async def _set_published(call: Call, app_id: str, published: bool) -> Published:
    changes = {"is_published": published}
    row = await call.core.oauth.apps.update(call.user_id, app_id, changes)
    return {"success": True, "isPublished": row["is_published"]}


@router.mutation("regenerateSecret", access=SignedIn(None), errors=("not_found",))
async def regenerate_secret(call: Call, values: ById) -> NewSecret:
    """A new client secret; the old one is refused from now on. Tokens stay as they are."""
    secret = await call.core.oauth.apps.regenerate_secret(call.user_id, values.id)
    return {"clientSecret": secret, "warning": WARNING}


@router.mutation("delete", access=SignedIn("user:write"), errors=("not_found",))
async def delete(call: Call, values: ById) -> Success:
    """Delete an app with everything that was granted to it."""
    await call.core.oauth.apps.delete(call.user_id, values.id)
    return {"success": True}


@router.query("listInstallations", access=SignedIn("user:read"), errors=("not_found",))
async def list_installations(call: Call, values: Installations) -> InstallationPage:
    """Who has granted what to one of the caller's apps, newest first."""
    total, rows = await call.core.oauth.apps.installations(
        call.user_id, values.id, values.limit, values.offset
    )
    installations: list[Installation] = [
        {
            "id": row["id"],
            "userId": row["user_id"],
            "scopes": row["scopes"],
            "createdAt": row["created_at"],
            "updatedAt": row["updated_at"],
        }
        for row in rows
    ]
    return {"total": total, "installations": installations}
