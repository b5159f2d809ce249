"""From a credential to an Actor: the one place where doors learn who is asking."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import unquote

import attrs
from sqlalchemy import and_, bindparam, or_, select, update

from wit.access.actor import Actor, Origin, oauth_scopes, token_scopes
from wit.accounts.passwords import Check, Passwords
from wit.accounts.signing import Signer
from wit.accounts.ssh_keys import KeyManager
from wit.accounts.throttle import Throttle
from wit.accounts.tokens import Tokens, is_token, secret_hash
from wit.addresses import address_group
from wit.db.port import Database, Row
from wit.db.tables import account_credentials, sessions, two_factor, users
from wit.errors import Forbidden, Unauthorized
from wit.oauth.formats import is_access_token
from wit.oauth.tokens import OAuthTokens
from wit.runtime import Runtime
from wit.sandboxes.tokens import SandboxTokens, is_sandbox_token

ANY_NAME = frozenset({"", "x-access-token", "x-oauth-basic", "oauth2", "git", "token"})
"""User names that clients send by convention when the password is a token."""

_SESSION_SHAPE = re.compile(r"[A-Za-z0-9]{32}")
_WRONG = "wrong user name, password or token"

_WITH_PASSWORD = (
    select(
        users,
        account_credentials.c.password,
        two_factor.c.enabled.label("two_factor_enabled"),
    )
    .join_from(
        users,
        account_credentials,
        and_(
            account_credentials.c.user_id == users.c.id,
            account_credentials.c.provider_id == "credential",
        ),
        isouter=True,
    )
    .join(two_factor, two_factor.c.user_id == users.c.id, isouter=True)
)
_BY = {
    "email": _WITH_PASSWORD.where(users.c.email == bindparam("login")),
    "username": _WITH_PASSWORD.where(users.c.username == bindparam("login")),
    "either": _WITH_PASSWORD.where(
        or_(users.c.username == bindparam("login"), users.c.email == bindparam("login"))
    ),
    "id": _WITH_PASSWORD.where(users.c.id == bindparam("login")),
}
_USER_NAMED = select(users.c.id).where(
    or_(users.c.username == bindparam("login"), users.c.email == bindparam("login"))
)
_BY_SESSION = (
    select(users, sessions.c.id.label("session_id"), sessions.c.expires_at)
    .join_from(sessions, users)
    .where(sessions.c.token_hash == bindparam("hash"))
    .execution_options(quick=True)
)
_UPGRADE = (
    update(account_credentials)
    .where(account_credentials.c.user_id == bindparam("who"))
    .where(account_credentials.c.provider_id == "credential")
    .where(account_credentials.c.password == bindparam("old"))
    .values(password=bindparam("new"), updated_at=bindparam("now"))
)


class Credentials:
    """Each method reads the user's row anew, so that a suspension counts at once."""

    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        passwords: Passwords,
        tokens: Tokens,
        keys: KeyManager,
        *,
        signer: Signer,
        oauth: OAuthTokens,
        failures_per_minute: int = 10,
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._passwords = passwords
        self._tokens = tokens
        self._keys = keys
        self._signer = signer
        self._oauth = oauth
        self._sandboxes = SandboxTokens(db, runtime)
        self._throttle = Throttle(runtime, failures_per_minute)

    async def basic(self, username: str, password: str, address: str) -> Actor:
        """HTTP Basic (RFC 7617): a token as the password or as the user name, or a password; from
        within a sandbox, the sandbox's token, which is good for git and nowhere else.

        Raises Unauthorized; Forbidden for a suspended user; RateLimited after too many wrong
        passwords from ``address`` or for ``username``. Tokens are never limited: nobody guesses
        160 bits, and so nobody else's failures stop a program that has one.
        """
        if is_token(password):
            return await self._token(password, username)
        if is_token(username) and password in ("", "x-oauth-basic"):
            return await self._token(username, "")
        if is_access_token(password):
            return await self._oauth_token(password, username)
        if is_access_token(username) and password in ("", "x-oauth-basic"):
            return await self._oauth_token(username, "")
        if is_sandbox_token(password):
            return await self._sandbox_token(password, username)
        return await self._password(username, password, address)

    async def bearer(self, token: str) -> Actor:
        """A personal access token, an OAuth access token or a session's secret.

        Raises Unauthorized, Forbidden.
        """
        if is_token(token):
            return await self._token(token, "")
        if is_access_token(token):
            return await self._oauth_token(token, "")
        row = None
        if _SESSION_SHAPE.fullmatch(token):
            row = await self._db.fetch_one(_BY_SESSION, hash=secret_hash(token))
        if row is None or row["expires_at"] <= self._runtime.now():
            raise Unauthorized("this token is wrong or has expired")
        return _actor(row, row["id"], Origin.SESSION, credential_id=row["session_id"])

    async def session_cookie(self, value: str) -> Actor | None:
        """Whose session the cookie's value is (``token.signature``, URL-encoded or not).

        None for a forged one and for a session that is over: a browser keeps sending those, and is
        then simply not signed in. Raises Forbidden for a suspended user.
        """
        token = self._signer.verify(unquote(value))
        if token is None or not _SESSION_SHAPE.fullmatch(token):
            return None
        row = await self._db.fetch_one(_BY_SESSION, hash=secret_hash(token))
        if row is None or row["expires_at"] <= self._runtime.now():
            return None
        return _actor(row, row["id"], Origin.SESSION, credential_id=row["session_id"])

    async def ssh_key(self, blob: bytes) -> Actor | None:
        """Whose key this is, or None. Raises Forbidden for a suspended user.

        The door calls :meth:`ssh_key_used` once the signature has been verified.
        """
        found = await self._keys.verify(blob)
        if found is None:
            return None
        user, key = found
        return _actor(user, user["id"], Origin.SSH_KEY, credential_id=key["id"])

    def ssh_key_used(self, actor: Actor) -> None:
        """Record that ``actor`` has signed in with its key now."""
        if actor.origin is Origin.SSH_KEY and actor.credential_id is not None:
            self._keys.used(actor.credential_id)

    async def _token(self, secret: str, username: str) -> Actor:
        row = await self._tokens.verify(secret)
        if row is None:
            raise Unauthorized("this token is wrong or has expired")
        await self._check_name(username, row)
        return _actor(
            row,
            row["user_id"],
            Origin.TOKEN,
            scopes=token_scopes(frozenset(row["scopes"])),
            credential_id=row["id"],
        )

    async def _oauth_token(self, secret: str, username: str) -> Actor:
        """What the user has granted to an app, and never an administrator's power."""
        row = await self._oauth.verify(secret)
        if row is None:
            raise Unauthorized("this token is wrong or has expired")
        await self._check_name(username, row)
        return _actor(
            row,
            row["user_id"],
            Origin.OAUTH,
            scopes=oauth_scopes(frozenset(row["scopes"])),
            credential_id=row["id"],
        )

    async def _sandbox_token(self, secret: str, username: str) -> Actor:
        """The sandbox's user, for one repository, and never with an administrator's power."""
        row = await self._sandboxes.verify(secret)
        if row is None:
            raise Unauthorized("this token is wrong, or its sandbox is paused or over")
        await self._check_name(username, row)
        actor = _actor(
            row,
            row["user_id"],
            Origin.SANDBOX,
            scopes=frozenset({"repo:read", "repo:write"} if row["can_write"] else {"repo:read"}),
            credential_id=row["id"],
        )
        return attrs.evolve(actor, only_repo_id=row["repo_id"])

    async def _check_name(self, username: str, token: Row) -> None:
        """A token goes with any name but another user's. Raises Unauthorized."""
        login = username.lower()
        if login not in ANY_NAME and login not in (token["username"], token["email"]):
            named = await self._db.fetch_value(_USER_NAMED, login=_searchable(login))
            if named is not None and named != token["user_id"]:
                raise Unauthorized("this token belongs to another user")

    async def _password(self, username: str, password: str, address: str) -> Actor:
        row = await self.password(username, password, address)
        actor = _actor(row, row["id"], Origin.PASSWORD)
        if row["two_factor_enabled"]:
            raise Unauthorized("this account signs in with two factors: use an access token here")
        return actor

    async def password(
        self,
        login: str,
        password: str,
        address: str,
        by: Literal["email", "username", "either", "id"] = "either",
    ) -> Row:
        """The user with this login and password, with ``two_factor_enabled``.

        Only the password is looked at: whether the user is suspended, or has to show a second
        factor, is for the caller. An unknown login takes as long as a wrong password, and counts
        as one. Raises Unauthorized, RateLimited.
        """
        if by != "id":
            login = login.lower()
        limits = (f"address {address_group(address)}", f"name {login[:254]}")
        self._throttle.check(*limits)
        row = await self._db.fetch_one(_BY[by], login=_searchable(login))
        check = await self._passwords.check(None if row is None else row["password"], password)
        # Again, because many guesses may have been sent at once: those that were still being
        # checked when the limit was reached are not answered, right or wrong.
        self._throttle.check(*limits)
        if row is None or not check.right:
            self._throttle.failed(*limits)
            raise Unauthorized(_WRONG)
        await self._upgrade(row, check)
        return {name: value for name, value in row.items() if name != "password"}

    async def _upgrade(self, row: Row, check: Check) -> None:
        """Store the newer form of a hash that was made by an older method."""
        if check.upgraded is not None:
            await self._db.execute(
                _UPGRADE,
                who=row["id"],
                old=row["password"],
                new=check.upgraded,
                now=self._runtime.now(),
            )


def _searchable(login: str) -> str:
    """``login``, or nothing if it has characters that no name has and no database takes."""
    return login if login.isprintable() else ""


def check_active(user: Row) -> None:
    """Raises Forbidden if the user is suspended."""
    if user["suspended"]:
        reason = user["suspended_reason"] or "no reason given"
        raise Forbidden(f"this account is suspended: {reason}")


def cli_actor() -> Actor:
    """Whoever runs ``wit`` on the server's own machine, and so could change every file anyway."""
    return Actor(
        user_id="system",
        username="system",
        origin=Origin.CLI,
        is_admin=True,
        is_superadmin=True,
    )


def _actor(
    user: Row,
    user_id: str,
    origin: Origin,
    scopes: frozenset[str] | None = None,
    credential_id: str | None = None,
) -> Actor:
    """Raises Forbidden if the user is suspended."""
    check_active(user)
    powerful = scopes is None or (origin is Origin.TOKEN and "repo:admin" in scopes)
    return Actor(
        user_id=user_id,
        username=user["username"],
        origin=origin,
        is_admin=powerful and user["role"] in ("admin", "superadmin"),
        is_superadmin=powerful and user["role"] == "superadmin",
        scopes=scopes,
        credential_id=credential_id,
    )
