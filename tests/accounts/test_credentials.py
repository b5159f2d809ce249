from __future__ import annotations

import hashlib
import unicodedata
from datetime import timedelta

import attrs
import pytest
from sqlalchemy import insert, select, update
from twisted.internet.defer import Deferred, DeferredList

from tests.accounts.conftest import Accounts, make_accounts
from tests.accounts.test_ssh_keys import new_key
from wit.access.actor import Origin, token_scopes
from wit.accounts.credentials import Credentials, cli_actor
from wit.accounts.passwords import Check, Passwords
from wit.accounts.public_keys import parse_public_key
from wit.accounts.signing import Signer
from wit.db.port import Database
from wit.db.tables import account_credentials, sessions, ssh_keys, tokens
from wit.errors import Forbidden, RateLimited, Unauthorized
from wit.oauth.tokens import OAuthTokens
from wit.runtime import Runtime, utc_now

HERE = "192.0.2.1"
PASSWORD = "correct horse:with:colons"


@pytest.fixture
def ada(accounts: Accounts, run):
    return run(accounts.user("ada", PASSWORD))


def basic(accounts: Accounts, run, username: str, password: str, address: str = HERE):
    return run(accounts.credentials.basic(username, password, address))


@pytest.mark.attack(29)
def test_password_by_name_and_by_email(accounts: Accounts, run, ada) -> None:
    for login in ("ada", "ADA", "ada@example.org", "Ada@Example.Org"):
        actor = basic(accounts, run, login, PASSWORD)
        assert (actor.user_id, actor.username) == (ada["id"], "ada")
        assert actor.origin is Origin.PASSWORD
        assert actor.scopes is None and not actor.is_admin
    for login, password in [
        ("ada", "wrong"),
        ("ada", ""),
        ("ada", PASSWORD.split(":")[0]),
        ("", PASSWORD),
        ("nobody", PASSWORD),
        ("ada\0", PASSWORD),
        ("\ud800", PASSWORD),
        ("x" * 10_000, PASSWORD),
    ]:
        with pytest.raises(Unauthorized, match="wrong user name, password or token"):
            basic(accounts, run, login, password, address=login)


def test_a_user_without_a_password_has_none(accounts: Accounts, run) -> None:
    run(accounts.user("bot"))
    for password in ("", "None", "null", "some password"):
        with pytest.raises(Unauthorized):
            basic(accounts, run, "bot", password)


def test_tokens_as_password_or_as_name(accounts: Accounts, run, ada) -> None:
    run(accounts.user("bob"))
    run(accounts.user("token"))
    row, secret = run(accounts.tokens.create(ada["id"], "ci", ["repo:read"]))
    for username, password in [
        ("ada", secret),
        ("Ada@example.org", secret),
        ("x-access-token", secret),
        ("oauth2", secret),
        ("git", secret),
        ("token", secret),
        ("", secret),
        ("whatever", secret),
        ("what\0ever", secret),
        (secret, ""),
        (secret, "x-oauth-basic"),
    ]:
        actor = basic(accounts, run, username, password)
        assert actor.user_id == ada["id"]
        assert actor.origin is Origin.TOKEN
        assert actor.scopes == token_scopes(frozenset({"repo:read"}))
        assert actor.credential_id == row["id"]
    for username in ("bob", "BOB", "bob@example.org"):
        with pytest.raises(Unauthorized, match="another user"):
            basic(accounts, run, username, secret)
    for username, password in [("ada", "wit_" + "0" * 40), ("wit_" + "0" * 40, "")]:
        with pytest.raises(Unauthorized, match="wrong or has expired"):
            basic(accounts, run, username, password)
    with pytest.raises(Unauthorized):
        basic(accounts, run, secret, "something else")


def test_bearer_token(accounts: Accounts, run, ada) -> None:
    _, secret = run(accounts.tokens.create(ada["id"], "ci", ["repo:read", "repo:write"]))
    actor = run(accounts.credentials.bearer(secret))
    assert actor.user_id == ada["id"]
    assert actor.scopes == token_scopes(frozenset({"repo:read", "repo:write"}))
    assert actor.has_scope("issue:write") and not actor.has_scope("repo:admin")
    for wrong in ("", "wit_" + "1" * 40, "x" * 32, "\ud800", "wit_oauth_" + "0" * 40):
        with pytest.raises(Unauthorized):
            run(accounts.credentials.bearer(wrong))


def test_bearer_session(database: Database, runtime: Runtime, run) -> None:
    time = [utc_now()]
    accounts = make_accounts(database, attrs.evolve(runtime, now=lambda: time[0]))
    user = run(accounts.user("ada"))
    secret = "S" * 32
    run(
        database.execute(
            insert(sessions),
            id="s1",
            user_id=user["id"],
            token_hash=hashlib.sha256(secret.encode()).hexdigest(),
            expires_at=time[0] + timedelta(days=1),
            created_at=time[0],
            updated_at=time[0],
        )
    )
    actor = run(accounts.credentials.bearer(secret))
    assert (actor.user_id, actor.origin, actor.scopes) == (user["id"], Origin.SESSION, None)
    time[0] += timedelta(days=1)
    with pytest.raises(Unauthorized):
        run(accounts.credentials.bearer(secret))


def test_ssh_key_and_its_use(accounts: Accounts, run, ada) -> None:
    line = new_key()
    blob = parse_public_key(line).blob
    assert run(accounts.credentials.ssh_key(blob)) is None
    row = run(accounts.keys.add(ada["id"], line))
    actor = run(accounts.credentials.ssh_key(blob))
    assert (actor.user_id, actor.origin) == (ada["id"], Origin.SSH_KEY)
    assert actor.scopes is None and actor.credential_id == row["id"]
    run(accounts.last_use.flush())
    used = select(ssh_keys.c.last_used_at)
    assert run(accounts.db.fetch_value(used)) is None, "offering a key proves nothing"
    accounts.credentials.ssh_key_used(actor)
    run(accounts.last_use.flush())
    assert run(accounts.db.fetch_value(used)) is not None


def test_suspension_counts_at_once_for_every_credential(accounts: Accounts, run, ada) -> None:
    _, secret = run(accounts.tokens.create(ada["id"], "ci", ["repo:read"]))
    line = new_key()
    run(accounts.keys.add(ada["id"], line))
    blob = parse_public_key(line).blob
    credentials = accounts.credentials

    def all_ways():
        return [
            credentials.basic("ada", PASSWORD, HERE),
            credentials.basic("ada", secret, HERE),
            credentials.bearer(secret),
            credentials.ssh_key(blob),
        ]

    for way in all_ways():
        assert run(way).user_id == ada["id"]
    run(accounts.users.suspend(ada["id"], "unpaid bills"))
    for way in all_ways():
        with pytest.raises(Forbidden, match="this account is suspended: unpaid bills"):
            run(way)
    with pytest.raises(Unauthorized):
        basic(accounts, run, "ada", "wrong password")
    run(accounts.users.resume(ada["id"]))
    for way in all_ways():
        assert run(way).user_id == ada["id"]


def test_a_changed_password_counts_at_once(accounts: Accounts, run, ada) -> None:
    basic(accounts, run, "ada", PASSWORD)
    run(accounts.users.set_password(ada["id"], "another password"))
    with pytest.raises(Unauthorized):
        basic(accounts, run, "ada", PASSWORD)
    assert basic(accounts, run, "ada", "another password").user_id == ada["id"]


def test_an_old_hash_is_replaced_when_it_was_right(accounts: Accounts, run, ada) -> None:
    salt = "00112233445566778899aabbccddeeff"
    secret = unicodedata.normalize("NFKC", PASSWORD).encode()
    key = hashlib.scrypt(secret, salt=salt.encode(), n=16384, r=16, p=1, dklen=64, maxmem=1 << 26)
    run(accounts.db.execute(update(account_credentials), password=f"{salt}:{key.hex()}"))
    stored = select(account_credentials.c.password)
    with pytest.raises(Unauthorized):
        basic(accounts, run, "ada", "wrong password")
    assert run(accounts.db.fetch_value(stored)).startswith(salt)
    for _ in range(2):
        assert basic(accounts, run, "ada", PASSWORD).user_id == ada["id"]
        assert run(accounts.db.fetch_value(stored)).startswith("$argon2id$")


@pytest.mark.attack(51)
def test_wrong_passwords_are_limited_but_tokens_never(accounts: Accounts, run, ada) -> None:
    _, secret = run(accounts.tokens.create(ada["id"], "ci", ["repo:read"]))
    basic(accounts, run, "ada", PASSWORD)
    for number in range(5):
        with pytest.raises(Unauthorized):
            basic(accounts, run, f"nobody{number}", "wrong password")
    with pytest.raises(RateLimited) as raised:
        basic(accounts, run, "ada", PASSWORD)
    assert 0 < raised.value.retry_after <= 60
    assert basic(accounts, run, "ada", PASSWORD, "192.0.2.2").user_id == ada["id"]
    for _ in range(20):
        assert basic(accounts, run, "ada", secret).user_id == ada["id"]
        with pytest.raises(Unauthorized):
            basic(accounts, run, "ada", "wit_" + "0" * 40, "192.0.2.3")
    assert basic(accounts, run, "ada", PASSWORD, "192.0.2.3").user_id == ada["id"]


@pytest.mark.attack(51)
def test_wrong_passwords_for_one_name_are_limited_from_everywhere(
    accounts: Accounts, run, ada
) -> None:
    for number in range(5):
        with pytest.raises(Unauthorized):
            basic(accounts, run, "ADA", "wrong password", f"198.51.100.{number}")
    with pytest.raises(RateLimited):
        basic(accounts, run, "ada", PASSWORD, "203.0.113.1")


class Together(Passwords):
    """Begins with the checks when ``count`` passwords have come, and takes the right one last:
    in which order the database's connections bring them is left to chance."""

    def __init__(self, runtime: Runtime, count: int) -> None:
        super().__init__(runtime)
        self.count = count
        self.come: list[tuple[bool, Deferred[None]]] = []

    async def check(self, stored: str | None, password: str) -> Check:
        turn: Deferred[None] = Deferred()
        self.come.append((password == PASSWORD, turn))
        if len(self.come) == self.count:
            for _, each in sorted(self.come, key=lambda one: one[0]):
                each.callback(None)
        await turn
        return await super().check(stored, password)


@pytest.mark.attack(51)
def test_many_guesses_at_once_gain_nothing(accounts: Accounts, run, ada) -> None:
    guesses = [f"wrong password {n}" for n in range(12)] + [PASSWORD]
    credentials = Credentials(
        accounts.db,
        accounts.runtime,
        Together(accounts.runtime, len(guesses)),
        accounts.tokens,
        accounts.keys,
        signer=Signer("s" * 32),
        oauth=OAuthTokens(accounts.db, accounts.runtime, accounts.last_use),
        failures_per_minute=5,
    )

    async def burst():
        return await DeferredList(
            [Deferred.fromCoroutine(credentials.basic("ada", guess, HERE)) for guess in guesses],
            consumeErrors=True,
        )

    results = run(burst())
    assert not any(success for success, _ in results)
    kinds = [failure.type for _, failure in results]
    assert kinds.count(Unauthorized) == 5
    assert kinds[-1] is RateLimited


def test_many_right_ones_at_once_are_all_let_in(accounts: Accounts, run, ada) -> None:
    async def burst():
        return await DeferredList(
            [
                Deferred.fromCoroutine(accounts.credentials.basic("ada", PASSWORD, HERE))
                for _ in range(12)
            ],
            consumeErrors=True,
        )

    assert all(success for success, _ in run(burst()))


def test_who_is_an_administrator(accounts: Accounts, run, ada) -> None:
    _, weak = run(accounts.tokens.create(ada["id"], "ci", ["repo:read", "repo:write"]))
    _, strong = run(accounts.tokens.create(ada["id"], "ops", ["repo:admin"]))
    for role, powers in [
        ("user", (False, False)),
        ("admin", (True, False)),
        ("superadmin", (True, True)),
    ]:
        run(accounts.users.set_role(ada["id"], role))
        for credential in (PASSWORD, strong):
            actor = basic(accounts, run, "ada", credential)
            assert (actor.is_admin, actor.is_superadmin) == powers
        actor = basic(accounts, run, "ada", weak)
        assert (actor.is_admin, actor.is_superadmin) == (False, False)
    actor = cli_actor()
    assert actor.is_admin and actor.is_superadmin
    assert not actor.anonymous and actor.origin is Origin.CLI


def test_token_use_is_noted(accounts: Accounts, run, ada) -> None:
    _, secret = run(accounts.tokens.create(ada["id"], "ci", ["repo:read"]))
    basic(accounts, run, "ada", secret)
    run(accounts.last_use.flush())
    assert run(accounts.db.fetch_value(select(tokens.c.last_used_at))) is not None
