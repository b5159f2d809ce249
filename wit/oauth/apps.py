"""OAuth apps: registering and changing them, and the proof that a request comes from one."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Select, bindparam, delete, desc, func, insert, or_, select, true, update

from wit.accounts.audit import COMMAND_LINE, AuditLog, Change
from wit.accounts.tokens import secret_hash
from wit.db.port import Database, Row
from wit.db.tables import oauth_apps, oauth_authorizations, users
from wit.errors import Invalid, NotFound
from wit.oauth.errors import InvalidClient
from wit.oauth.formats import (
    SECRET_PREFIX_LENGTH,
    is_client_id,
    new_client_id,
    new_client_secret,
)
from wit.oauth.redirects import check_registered, check_web_address
from wit.runtime import Runtime

MAX_ADDITIONAL_URLS = 10

LINKS = ("website_url", "logo_url", "privacy_policy_url", "terms_of_service_url")

_OF_OWNER = oauth_apps.c.owner_id == bindparam("owner")
_ONE = (oauth_apps.c.id == bindparam("app")) & _OF_OWNER
_LOCK_USER = select(users.c.id).where(users.c.id == bindparam("user")).with_for_update()
_COUNT = select(func.count()).select_from(oauth_apps).where(_OF_OWNER)
_ALL = select(oauth_apps).where(_OF_OWNER).order_by(oauth_apps.c.created_at, oauth_apps.c.id)
_GET = select(oauth_apps).where(_ONE)
_DELETE = delete(oauth_apps).where(_ONE)
_BY_CLIENT_ID = select(oauth_apps).where(oauth_apps.c.client_id == bindparam("client"))
_SET_SECRET = (
    update(oauth_apps)
    .where(_ONE)
    .values(
        client_secret_hash=bindparam("hash"),
        client_secret_prefix=bindparam("prefix"),
        updated_at=bindparam("now"),
    )
)
_SET_VERIFIED = (
    update(oauth_apps)
    .where(oauth_apps.c.id == bindparam("which"))
    .values(is_verified=bindparam("verified"), updated_at=bindparam("now"))
)
_PUBLISHED = oauth_apps.c.is_published == true()
_GET_PUBLISHED = select(oauth_apps).where(_PUBLISHED, oauth_apps.c.id == bindparam("app"))


def _most_installed(statement: Select[Any]) -> Select[Any]:
    order = (desc(oauth_apps.c.installations_count), oauth_apps.c.name, oauth_apps.c.id)
    return statement.where(_PUBLISHED).order_by(*order).limit(bindparam("limit"))


_POPULAR = _most_installed(select(oauth_apps)).offset(bindparam("offset"))
_SEARCH = _most_installed(
    select(oauth_apps).where(
        or_(
            func.lower(oauth_apps.c.name).like(bindparam("pattern"), escape="\\"),
            func.lower(oauth_apps.c.description).like(bindparam("pattern"), escape="\\"),
        )
    )
)
_OF_APP = oauth_authorizations.c.app_id == bindparam("app")
_INSTALLATIONS = (
    select(oauth_authorizations)
    .where(_OF_APP)
    .order_by(desc(oauth_authorizations.c.created_at), oauth_authorizations.c.id)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
_COUNT_INSTALLATIONS = select(func.count()).select_from(oauth_authorizations).where(_OF_APP)


class Apps:
    """Apps of users. A foreign app is not found, like one that is not there."""

    def __init__(self, db: Database, runtime: Runtime, max_per_user: int = 25) -> None:
        self._db = db
        self._runtime = runtime
        self._max_per_user = max_per_user
        self._audit = AuditLog(db, runtime)

    async def create(
        self,
        owner_id: str,
        *,
        name: str,
        callback_url: str,
        additional_callback_urls: Iterable[str] = (),
        description: str | None = None,
        confidential: bool = True,
        links: Mapping[str, str | None] | None = None,
    ) -> tuple[Row, str]:
        """A new app: its row and its secret. ``links`` are values of LINKS.

        An app that is not confidential runs where its users could read a secret out of it: it
        needs none, and PKCE instead. Raises Invalid; NotFound if there is no such user.
        """
        values = {
            "name": _check_name(name),
            "description": description,
            "callback_url": check_registered(callback_url),
            "additional_callback_urls": _check_additional(additional_callback_urls),
            **_check_links(links or {}),
        }
        app_id = self._runtime.new_id()
        secret = new_client_secret(self._runtime)
        now = self._runtime.now()
        async with self._db.transaction() as tx:
            if await tx.fetch_value(_LOCK_USER, user=owner_id) is None:
                raise NotFound("user not found")
            if await tx.fetch_value(_COUNT, owner=owner_id) >= self._max_per_user:
                raise Invalid(
                    f"a user has at most {self._max_per_user} OAuth apps: "
                    "delete one that is not used"
                )
            await tx.execute(
                insert(oauth_apps),
                id=app_id,
                owner_id=owner_id,
                owner_type="user",
                client_id=new_client_id(self._runtime),
                client_secret_hash=secret_hash(secret),
                client_secret_prefix=secret[:SECRET_PREFIX_LENGTH],
                is_confidential=confidential,
                created_at=now,
                updated_at=now,
                **values,
            )
        return await self.get(owner_id, app_id), secret

    async def of_owner(self, owner_id: str) -> list[Row]:
        """The user's apps, oldest first."""
        return await self._db.fetch_all(_ALL, owner=owner_id)

    async def get(self, owner_id: str, app_id: str) -> Row:
        """Raises NotFound."""
        return _found(await self._db.fetch_one(_GET, owner=owner_id, app=app_id))

    async def update(self, owner_id: str, app_id: str, changes: Mapping[str, Any]) -> Row:
        """Set columns: name, description, callback_url, additional_callback_urls, is_published,
        and LINKS, which None clears. Who has verified the app has not seen what is new, so that
        it is verified no more. Raises Invalid, NotFound."""
        values = dict(changes)
        if values.keys() - {"is_published"}:
            values["is_verified"] = False
        if "name" in values:
            values["name"] = _check_name(values["name"])
        if "callback_url" in values:
            check_registered(values["callback_url"])
        if "additional_callback_urls" in values:
            values["additional_callback_urls"] = _check_additional(
                values["additional_callback_urls"]
            )
        _check_links({column: values[column] for column in LINKS if column in values})
        statement = update(oauth_apps).where(_ONE).values(**values, updated_at=self._runtime.now())
        if not await self._db.execute(statement, owner=owner_id, app=app_id):
            raise NotFound("OAuth app not found")
        return await self.get(owner_id, app_id)

    async def regenerate_secret(self, owner_id: str, app_id: str) -> str:
        """A new secret; the old one is wrong from now on, tokens stay. Raises NotFound."""
        secret = new_client_secret(self._runtime)
        done = await self._db.execute(
            _SET_SECRET,
            owner=owner_id,
            app=app_id,
            hash=secret_hash(secret),
            prefix=secret[:SECRET_PREFIX_LENGTH],
            now=self._runtime.now(),
        )
        if not done:
            raise NotFound("OAuth app not found")
        return secret

    async def delete(self, owner_id: str, app_id: str) -> None:
        """With all its authorizations, codes and tokens. Raises NotFound."""
        if not await self._db.execute(_DELETE, owner=owner_id, app=app_id):
            raise NotFound("OAuth app not found")

    async def installations(
        self, owner_id: str, app_id: str, limit: int, offset: int
    ) -> tuple[int, list[Row]]:
        """How many users use the app, and some of the authorizations, newest first.

        Raises NotFound.
        """
        await self.get(owner_id, app_id)
        total = await self._db.fetch_value(_COUNT_INSTALLATIONS, app=app_id)
        rows = await self._db.fetch_all(_INSTALLATIONS, app=app_id, limit=limit, offset=offset)
        return total, rows

    async def set_verified(self, client_id: str, verified: bool) -> Row:
        """Say whether whoever runs the server vouches for the app, which its users are shown; the
        audit log notes it. Raises NotFound."""
        async with self._db.transaction() as tx:
            app = _found(await tx.fetch_one(_BY_CLIENT_ID, client=client_id))
            now = self._runtime.now()
            await tx.execute(_SET_VERIFIED, which=app["id"], verified=verified, now=now)
            change = Change(
                "oauth_app.verified" if verified else "oauth_app.unverified",
                "oauth_app",
                app["id"],
                f"{'Vouched' if verified else 'No longer vouched'} for the app {app['name']}",
            )
            await self._audit.append(tx, COMMAND_LINE, change)
        return {**app, "is_verified": verified}

    # what everybody sees: published apps

    async def get_published(self, app_id: str) -> Row:
        """Raises NotFound."""
        return _found(await self._db.fetch_one(_GET_PUBLISHED, app=app_id))

    async def popular(self, limit: int, offset: int) -> list[Row]:
        """Those with the most users first."""
        return await self._db.fetch_all(_POPULAR, limit=limit, offset=offset)

    async def search(self, text: str, limit: int) -> list[Row]:
        """Those with ``text`` in name or description, in any case."""
        literal = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return await self._db.fetch_all(_SEARCH, pattern=f"%{literal}%", limit=limit)

    # apps that ask

    async def find(self, client_id: str) -> Row:
        """The app with this client id; nothing is proven yet. Raises InvalidClient."""
        row = None
        if is_client_id(client_id):
            row = await self._db.fetch_one(_BY_CLIENT_ID, client=client_id)
        if row is None:
            raise InvalidClient("there is no app with this client_id")
        return row

    async def authenticate(self, client_id: str, secret: str | None) -> Row:
        """The app, which a confidential one proves to be by its secret (RFC 6749, section 3.2.1).

        Another one has to give its name only; a wrong secret is refused all the same. Raises
        InvalidClient, with the same words for an unknown app and a wrong secret.
        """
        row = None
        if is_client_id(client_id):
            row = await self._db.fetch_one(_BY_CLIENT_ID, client=client_id)
        if row is None:
            raise InvalidClient
        if secret is None:
            if row["is_confidential"]:
                raise InvalidClient("this app has to authenticate with its client_secret")
        elif not hmac.compare_digest(secret_hash(secret), row["client_secret_hash"]):
            raise InvalidClient
        return row


def callback_urls(app: Row) -> list[str]:
    """All that are registered."""
    return [app["callback_url"], *(app["additional_callback_urls"] or ())]


def _found(row: Row | None) -> Row:
    if row is None:
        raise NotFound("OAuth app not found")
    return row


def _check_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise Invalid("an app's name is one line of 1 to 100 characters")
    return name


def _check_additional(urls: Iterable[str]) -> list[str]:
    checked = [check_registered(url) for url in urls]
    if len(checked) > MAX_ADDITIONAL_URLS:
        raise Invalid(f"an app has at most {MAX_ADDITIONAL_URLS} additional callback URLs")
    return checked


def _check_links(links: Mapping[str, str | None]) -> Mapping[str, str | None]:
    for column, url in links.items():
        if url is not None:
            check_web_address(url, column.replace("_", " "))
    return links
