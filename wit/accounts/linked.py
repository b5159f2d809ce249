"""By what a user can sign in: a password, accounts at other sites."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select, update

from wit.accounts.github import PROVIDER, Granted, Person
from wit.accounts.secrets import Secrets
from wit.accounts.users import random_id
from wit.db.port import Connection, Database, Row, UniqueViolation
from wit.db.tables import account_credentials, users
from wit.errors import Conflict, Invalid, NotFound
from wit.runtime import Runtime

MAX_SHOWN = 100

_account = account_credentials.c
_SHOWN = (
    _account.id,
    _account.provider_id,
    _account.account_id,
    _account.user_id,
    _account.scope,
    _account.created_at,
    _account.updated_at,
)
_LIST = (
    select(*_SHOWN)
    .where(_account.user_id == bindparam("who"))
    .order_by(_account.created_at, _account.id)
    .limit(MAX_SHOWN)
)
_LOCK_USER = select(users.c.id).where(users.c.id == bindparam("who")).with_for_update()
_OWNER = select(_account.user_id).where(
    _account.provider_id == bindparam("provider"), _account.account_id == bindparam("account")
)
_TOKEN = select(_account.access_token).where(
    _account.user_id == bindparam("who"), _account.provider_id == bindparam("provider")
)
_REFRESH = (
    update(account_credentials)
    .where(
        _account.provider_id == bindparam("provider"), _account.account_id == bindparam("account")
    )
    .values(
        access_token=bindparam("sealed"), scope=bindparam("granted"), updated_at=bindparam("now")
    )
)
_DISCONNECT = delete(account_credentials).where(
    _account.user_id == bindparam("who"), _account.provider_id == bindparam("provider")
)


class AlreadyLinked(Conflict):
    """The account at the other site belongs to another user here."""


class LinkedAccounts:
    """Access tokens are sealed."""

    def __init__(self, db: Database, runtime: Runtime, secrets: Secrets) -> None:
        self._db = db
        self._runtime = runtime
        self._secrets = secrets

    async def list(self, user_id: str) -> list[Row]:
        """Oldest first, without secrets; ``scope`` has commas."""
        return await self._db.fetch_all(_LIST, who=user_id)

    async def owner(self, person: Person) -> str | None:
        """Which user this person at GitHub is."""
        found = await self._db.fetch_value(_OWNER, provider=PROVIDER, account=person.id)
        return None if found is None else str(found)

    async def link(self, tx: Connection, user_id: str, person: Person, granted: Granted) -> None:
        """Let the person sign in as the user. Raises UniqueViolation."""
        now = self._runtime.now()
        await tx.execute(
            insert(account_credentials),
            id=random_id(self._runtime),
            provider_id=PROVIDER,
            account_id=person.id,
            user_id=user_id,
            access_token=self._secrets.seal(granted.token),
            scope=granted.scope.replace(" ", ","),
            created_at=now,
            updated_at=now,
        )

    async def connect(self, user_id: str, person: Person, granted: Granted) -> None:
        """As :meth:`link`, or take the newer token. Raises AlreadyLinked."""
        owner = await self.owner(person)
        if owner is None:
            try:
                async with self._db.transaction() as tx:
                    await self.link(tx, user_id, person, granted)
                return
            except UniqueViolation:
                owner = await self.owner(person)
        if owner != user_id:
            raise AlreadyLinked("this GitHub account belongs to another user of this server")
        await self._db.execute(
            _REFRESH,
            provider=PROVIDER,
            account=person.id,
            sealed=self._secrets.seal(granted.token),
            granted=granted.scope.replace(" ", ","),
            now=self._runtime.now(),
        )

    async def token(self, user_id: str, provider: str) -> str | None:
        """The user's access token there; None if there is none."""
        sealed = await self._db.fetch_value(_TOKEN, who=user_id, provider=provider)
        return None if sealed is None else self._secrets.open(sealed)

    async def disconnect(self, user_id: str, provider: str) -> None:
        """Raises NotFound; Invalid for the last way to sign in."""
        async with self._db.transaction() as tx:
            await tx.fetch_value(_LOCK_USER, who=user_id)
            ways = {row["provider_id"] for row in await tx.fetch_all(_LIST, who=user_id)}
            if provider not in ways:
                raise NotFound("no such account is connected")
            if len(ways) == 1:
                raise Invalid("this is your last way to sign in: set up another one first")
            await tx.execute(_DISCONNECT, who=user_id, provider=provider)
