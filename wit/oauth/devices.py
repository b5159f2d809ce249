"""Device authorization (RFC 8628): a program without a browser shows a short code, which its user
enters in a browser somewhere else; meanwhile the program asks again and again."""

from __future__ import annotations

from datetime import timedelta

import attrs
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy import delete as delete_from

from wit.accounts.throttle import Throttle
from wit.accounts.tokens import secret_hash
from wit.db.port import Connection, Database, Row
from wit.db.tables import oauth_apps, oauth_device_codes, users
from wit.errors import NotFound, Unavailable
from wit.oauth.authorizations import Authorizations, lock
from wit.oauth.errors import InvalidGrant, OAuthError
from wit.oauth.formats import new_device_code, new_user_code, read_user_code
from wit.oauth.scopes import Scopes
from wit.oauth.tokens import Issued, OAuthTokens
from wit.runtime import Runtime

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
LIFE = timedelta(minutes=10)
INTERVAL = 5
"""Seconds between two questions of the program; each time it asks too soon, as much more."""
TOLERANCE = 1
"""Seconds by which a question may come early: networks are not even."""
MAX_PENDING = 1000
"""Codes of one app that wait at once: anybody may ask for one in the name of an open app."""
WRONG_CODES_PER_MINUTE = 10

_codes = oauth_device_codes.c
_PENDING = (_codes.state == "pending") & (_codes.expires_at > bindparam("now"))
_COUNT_PENDING = (
    select(func.count())
    .select_from(oauth_device_codes)
    .where(_codes.app_id == bindparam("app"), _PENDING)
)
_LOCK = (
    select(oauth_device_codes).where(_codes.device_code_hash == bindparam("hash")).with_for_update()
)
_SUSPENDED = select(users.c.suspended).where(users.c.id == bindparam("user"))
_SHOWN = (
    select(
        _codes.id.label("device_id"),
        _codes.user_code,
        _codes.scopes,
        _codes.openid,
        oauth_apps,
    )
    .join_from(oauth_device_codes, oauth_apps)
    .where(_codes.user_code == bindparam("typed"), _PENDING)
)
_DECIDE = (
    update(oauth_device_codes)
    .where(_codes.user_code == bindparam("typed"), _PENDING)
    .values(state=bindparam("decision"), user_id=bindparam("decider"))
)
_POLLED = (
    update(oauth_device_codes)
    .where(_codes.id == bindparam("which"))
    .values(polled_at=bindparam("at"), interval_seconds=bindparam("seconds"))
)
_USE = update(oauth_device_codes).where(_codes.id == bindparam("which")).values(state="used")
_SWEEP = delete_from(oauth_device_codes).where(_codes.expires_at < bindparam("before"))


@attrs.frozen
class Started:
    device_code: str = attrs.field(repr=False)
    user_code: str


class Devices:
    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        authorizations: Authorizations,
        tokens: OAuthTokens,
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._authorizations = authorizations
        self._tokens = tokens
        self._throttle = Throttle(runtime, WRONG_CODES_PER_MINUTE)

    async def start(self, app: Row, scopes: Scopes) -> Started:
        """Raises OAuthError; Unavailable while too many codes of the app wait."""
        if not scopes:
            raise OAuthError("invalid_scope", "scope has no scope that wit knows")
        now = self._runtime.now()
        if await self._db.fetch_value(_COUNT_PENDING, app=app["id"], now=now) >= MAX_PENDING:
            raise Unavailable("too many devices of this app wait for their users; try again later")
        started = Started(new_device_code(self._runtime), new_user_code(self._runtime))
        await self._db.execute(
            insert(oauth_device_codes),
            id=self._runtime.new_id(),
            device_code_hash=secret_hash(started.device_code),
            user_code=started.user_code,
            app_id=app["id"],
            scopes=list(scopes.names),
            openid=scopes.openid,
            interval_seconds=INTERVAL,
            expires_at=now + LIFE,
            created_at=now,
        )
        return started

    async def find(self, typed: str, user_id: str) -> Row:
        """The app of a code that waits, with ``device_id``, ``user_code``, ``scopes``, ``openid``.

        Raises NotFound; RateLimited for a user who has typed too many wrong ones.
        """
        self._throttle.check(user_id)
        user_code = read_user_code(typed)
        row = None
        if user_code is not None:
            row = await self._db.fetch_one(_SHOWN, typed=user_code, now=self._runtime.now())
        if row is None:
            self._throttle.failed(user_id)
            raise NotFound("this code is wrong or has expired")
        return row

    async def decide(self, user_code: str, user_id: str, *, approved: bool) -> None:
        """Raises NotFound if the code does not wait any more."""
        now = self._runtime.now()
        async with self._db.transaction() as tx:
            row = await tx.fetch_one(_SHOWN, typed=user_code, now=now)
            done = await tx.execute(
                _DECIDE,
                typed=user_code,
                now=now,
                decision="approved" if approved else "denied",
                decider=user_id,
            )
            if row is None or not done:
                raise NotFound("this code is wrong or has expired")
            if approved:
                scopes = Scopes.of(row["scopes"], row["openid"])
                await self._authorizations.grant(tx, row["id"], user_id, scopes)

    async def poll(self, app: Row, device_code: str) -> Issued:
        """Tokens, when the user has approved. Raises OAuthError with the codes of section 3.5."""
        async with self._db.transaction() as tx:
            outcome = await self._poll(tx, app, device_code)
        if isinstance(outcome, OAuthError):
            raise outcome
        return outcome

    async def _poll(self, tx: Connection, app: Row, device_code: str) -> Issued | OAuthError:
        """An error that is returned, not raised, leaves something written."""
        row = await tx.fetch_one(_LOCK, hash=secret_hash(device_code))
        if row is None or row["app_id"] != app["id"]:
            raise InvalidGrant("this device code is unknown, or another app's")
        now = self._runtime.now()
        if row["state"] == "used":
            await lock(tx, app["id"], row["user_id"])
            await self._tokens.revoke_grant(tx, row["id"])
            return InvalidGrant("this device code was used before: its tokens are revoked")
        if row["expires_at"] <= now:
            raise OAuthError("expired_token", "the device code has expired; start again")
        if row["state"] == "denied":
            raise OAuthError("access_denied", "the user has refused")
        if row["state"] == "pending":
            return await self._wait(tx, row)
        authorization = await lock(tx, app["id"], row["user_id"])
        if authorization is None or await tx.fetch_value(_SUSPENDED, user=row["user_id"]):
            raise OAuthError("access_denied", "the user has taken the authorization back")
        await tx.execute(_USE, which=row["id"])
        scopes = Scopes.of(row["scopes"], row["openid"])
        return await self._tokens.issue(tx, authorization, row["id"], scopes, scopes)

    async def _wait(self, tx: Connection, row: Row) -> OAuthError:
        now, seconds = self._runtime.now(), row["interval_seconds"]
        polled = row["polled_at"]
        wait = timedelta(seconds=seconds - TOLERANCE)
        too_soon = polled is not None and now < polled + wait
        if too_soon:
            seconds += INTERVAL
        await tx.execute(_POLLED, which=row["id"], at=now, seconds=seconds)
        if too_soon:
            return OAuthError("slow_down", f"ask every {seconds} seconds")
        return OAuthError("authorization_pending", "the user has not decided yet")

    async def sweep(self) -> None:
        """Forget codes that expired a day ago."""
        await self._db.execute(_SWEEP, before=self._runtime.now() - timedelta(days=1))
