"""Feature flags and settings of the site (contract, trpc-notes.md, "admin (19)")."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, JsonValue
from typing_extensions import TypedDict

from wit.accounts.site_settings import Flag
from wit.db.port import Row
from wit.operations.access import Administrator, Public
from wit.operations.audited import operator
from wit.operations.call import Call
from wit.operations.inputs import Maybe, UserId
from wit.operations.registry import Input, Router
from wit.operations.shapes import Success

FlagName = Annotated[str, Field(min_length=1, max_length=100)]
Key = Annotated[str, Field(min_length=1, max_length=100)]
Description = Annotated[str, Field(max_length=1000)]
UserIds = Annotated[list[UserId], Field(max_length=1000)]

router = Router("admin")


class UpsertFeatureFlag(Input):
    """What is left out stays as it is; a new flag is rolled out to nobody."""

    name: FlagName
    enabled: bool
    description: Maybe[Description] = None
    rolloutPercentage: Maybe[Annotated[int, Field(ge=0, le=100)]] = None
    allowedUsers: Maybe[UserIds] = None
    blockedUsers: Maybe[UserIds] = None


class OfFlag(Input):
    name: FlagName


class OfKey(Input):
    key: Key


class SetSetting(OfKey):
    value: JsonValue = None
    description: Maybe[Description] = None


class FeatureFlag(TypedDict):
    id: str
    name: str
    description: str | None
    enabled: bool
    rolloutPercentage: int | None
    allowedUsers: list[str] | None
    blockedUsers: list[str] | None
    createdAt: datetime
    updatedAt: datetime
    createdBy: str | None


class Enabled(TypedDict):
    enabled: bool


class SystemSetting(TypedDict):
    key: str
    value: Any
    description: str | None
    updatedAt: datetime
    updatedBy: str | None


class SettingValue(TypedDict):
    key: str
    value: Any


def feature_flag(row: Row) -> FeatureFlag:
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "enabled": row["enabled"],
        "rolloutPercentage": row["rollout_percentage"],
        "allowedUsers": row["allowed_users"],
        "blockedUsers": row["blocked_users"],
        "createdAt": row["created_at"],
        "updatedAt": row["updated_at"],
        "createdBy": row["created_by"],
    }


def system_setting(row: Row) -> SystemSetting:
    return {
        "key": row["key"],
        "value": row["value"],
        "description": row["description"],
        "updatedAt": row["updated_at"],
        "updatedBy": row["updated_by"],
    }


@router.query("getFeatureFlags", access=Administrator())
async def get_feature_flags(call: Call) -> list[FeatureFlag]:
    """All feature flags, by name."""
    return [feature_flag(row) for row in await call.core.site_settings.flags()]


@router.mutation("upsertFeatureFlag", access=Administrator())
async def upsert_feature_flag(call: Call, values: UpsertFeatureFlag) -> Success:
    """Make or change a feature flag."""
    flag = Flag(
        enabled=values.enabled,
        description=values.description,
        rollout_percentage=values.rolloutPercentage,
        allowed_users=values.allowedUsers,
        blocked_users=values.blockedUsers,
    )
    await call.core.site_settings.set_flag(operator(call), values.name, flag)
    return {"success": True}


@router.mutation("deleteFeatureFlag", access=Administrator(), errors=("not_found",))
async def delete_feature_flag(call: Call, values: OfFlag) -> Success:
    """Remove a feature flag: the feature is off for everybody."""
    await call.core.site_settings.remove_flag(operator(call), values.name)
    return {"success": True}


@router.query("checkFeature", access=Public(), limit="relaxed")
async def check_feature(call: Call, values: OfFlag) -> Enabled:
    """Whether a feature is on for the caller."""
    return {"enabled": await call.core.site_settings.enabled(values.name, call.actor.user_id)}


@router.query("getSettings", access=Administrator())
async def get_settings(call: Call) -> list[SystemSetting]:
    """All settings that administrators made, by key."""
    return [system_setting(row) for row in await call.core.site_settings.settings()]


@router.query("getSetting", access=Administrator())
async def get_setting(call: Call, values: OfKey) -> SettingValue:
    """The value of one setting; null if there is none."""
    return {"key": values.key, "value": await call.core.site_settings.setting(values.key)}


@router.mutation("setSetting", access=Administrator(superior=True), errors=("invalid",))
async def set_setting(call: Call, values: SetSetting) -> Success:
    """Make or change a setting."""
    await call.core.site_settings.set_setting(
        operator(call), values.key, values.value, values.description
    )
    return {"success": True}
