"""Feature flags and settings of the whole site, kept in the database.

(What the daemon needs to start is in wit.toml instead: wit/config.py.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from wit.accounts.audit import AuditLog, Change, Operator
from wit.db.port import Database, Row
from wit.db.tables import feature_flags, system_settings
from wit.errors import Invalid, NotFound
from wit.runtime import Runtime

MAX_PAGE = 1000
MAX_VALUE = 64 * 1024
"""Characters of a setting's value as JSON."""
RESERVED = "wit."
"""Settings whose keys begin so are wit's own notes, which nobody sees or changes here."""

_FLAGS = select(feature_flags).order_by(feature_flags.c.name).limit(MAX_PAGE)
_FLAG = select(feature_flags).where(feature_flags.c.name == bindparam("which"))
_LOCK_FLAG = _FLAG.with_for_update()
_DELETE_FLAG = delete(feature_flags).where(feature_flags.c.name == bindparam("which"))
_new_flag = insert(feature_flags)
_SET_FLAG = _new_flag.on_conflict_do_update(
    index_elements=[feature_flags.c.name],
    set_={
        name: _new_flag.excluded[name]
        for name in (
            "description",
            "enabled",
            "rollout_percentage",
            "allowed_users",
            "blocked_users",
            "updated_at",
        )
    },
)
_SETTINGS = (
    select(system_settings)
    .where(~system_settings.c.key.startswith(RESERVED, autoescape=True))
    .order_by(system_settings.c.key)
    .limit(MAX_PAGE)
)
_SETTING = select(system_settings).where(system_settings.c.key == bindparam("which"))
_new_setting = insert(system_settings)
_SET_SETTING = _new_setting.on_conflict_do_update(
    index_elements=[system_settings.c.key],
    set_={
        name: _new_setting.excluded[name]
        for name in ("value", "description", "updated_at", "updated_by")
    },
)


@attrs.frozen
class Flag:
    """What a feature flag is set to; None: as it was, or the default for a new one."""

    enabled: bool
    description: str | None = None
    rollout_percentage: int | None = None
    allowed_users: Sequence[str] | None = None
    blocked_users: Sequence[str] | None = None


class SiteSettings:
    def __init__(self, db: Database, runtime: Runtime, audit: AuditLog) -> None:
        self._db = db
        self._runtime = runtime
        self._audit = audit

    # Feature flags

    async def flags(self) -> list[Row]:
        """By name."""
        return await self._db.fetch_all(_FLAGS)

    async def set_flag(self, operator: Operator, name: str, flag: Flag) -> None:
        """Make or change one."""
        given = attrs.asdict(flag, recurse=False)
        async with self._db.transaction() as tx:
            old = await tx.fetch_one(_LOCK_FLAG, which=name)
            defaults: Mapping[str, Any] = old or {"rollout_percentage": 0}
            values = {
                column: defaults.get(column) if value is None else value
                for column, value in given.items()
            }
            now = self._runtime.now()
            await tx.execute(
                _SET_FLAG,
                id=self._runtime.new_id(),
                name=name,
                created_at=now,
                updated_at=now,
                created_by=operator.user_id,
                **values,
            )
            action, verb = ("created", "Made") if old is None else ("updated", "Changed")
            await self._audit.append(
                tx,
                operator,
                Change(
                    f"feature_flag.{action}",
                    "feature_flag",
                    name,
                    f"{verb} the feature flag {name}",
                    {key: value for key, value in given.items() if value is not None},
                ),
            )

    async def remove_flag(self, operator: Operator, name: str) -> None:
        """Raises NotFound."""
        async with self._db.transaction() as tx:
            if not await tx.execute(_DELETE_FLAG, which=name):
                raise NotFound("there is no such feature flag")
            await self._audit.append(
                tx,
                operator,
                Change(
                    "feature_flag.deleted",
                    "feature_flag",
                    name,
                    f"Removed the feature flag {name}",
                ),
            )

    async def enabled(self, name: str, user_id: str | None) -> bool:
        """Whether the feature is on for this user; None: for somebody who is not signed in."""
        flag = await self._db.fetch_one(_FLAG, which=name)
        return flag is not None and user_id is not None and is_on(flag, user_id)

    # Settings

    async def settings(self) -> list[Row]:
        """By key."""
        return await self._db.fetch_all(_SETTINGS)

    async def setting(self, key: str) -> Any:
        """The value, or None."""
        row = None if key.startswith(RESERVED) else await self._db.fetch_one(_SETTING, which=key)
        return None if row is None else row["value"]

    async def set_setting(
        self, operator: Operator, key: str, value: Any, description: str | None = None
    ) -> None:
        """``value`` is JSON data, but not null. Raises Invalid."""
        if key.startswith(RESERVED):
            raise Invalid(f"keys that begin with {RESERVED} are wit's own")
        if value is None:
            raise Invalid("a setting needs a value")
        try:
            text = json.dumps(value, allow_nan=False)
        except ValueError:
            raise Invalid("NaN and infinite numbers have no form in JSON") from None
        if len(text) > MAX_VALUE:
            raise Invalid(f"a setting's value has at most {MAX_VALUE} characters as JSON")
        async with self._db.transaction() as tx:
            old = await tx.fetch_one(_SETTING, which=key)
            if description is None and old is not None:
                description = old["description"]
            await tx.execute(
                _SET_SETTING,
                key=key,
                value=value,
                description=description,
                updated_at=self._runtime.now(),
                updated_by=operator.user_id,
            )
            await self._audit.append(
                tx,
                operator,
                Change(
                    "system_setting.updated",
                    "system_setting",
                    key,
                    f"Changed the setting {key}",
                    {"oldValue": None if old is None else old["value"], "newValue": value},
                ),
            )


def is_on(flag: Row, user_id: str) -> bool:
    """Block list, then allow list, then a part of all users that stays the same (contract)."""
    if not flag["enabled"] or user_id in (flag["blocked_users"] or ()):
        return False
    if user_id in (flag["allowed_users"] or ()):
        return True
    place = sum(map(ord, user_id)) % 100
    return place < int(flag["rollout_percentage"] or 0)
