from __future__ import annotations

import hashlib
import re
from datetime import timedelta

import attrs
import pytest
from sqlalchemy import select

from tests.accounts.conftest import Accounts, make_accounts
from wit.db.port import Database
from wit.db.tables import tokens
from wit.errors import Invalid, NotFound
from wit.runtime import Runtime, utc_now


def test_a_token_is_seen_once_and_stored_as_a_hash(accounts: Accounts, run) -> None:
    user = run(accounts.user("ada"))
    row, secret = run(accounts.tokens.create(user["id"], "laptop", ["repo:write", "repo:read"]))
    assert re.fullmatch("wit_[0-9a-f]{40}", secret)
    stored = run(accounts.db.fetch_one(select(tokens)))
    assert stored["token_hash"] == hashlib.sha256(secret.encode()).hexdigest()
    assert stored["token_prefix"] == secret[:8]
    assert "token_hash" not in row and secret not in repr(row)
    assert row["scopes"] == ["repo:read", "repo:write"]
    assert row["expires_at"] is None and row["last_used_at"] is None
    assert run(accounts.tokens.list(user["id"])) == [row]
    found = run(accounts.tokens.verify(secret))
    assert found["id"] == row["id"]
    assert found["username"] == "ada" and found["suspended"] is False
    assert "token_hash" not in found


@pytest.mark.parametrize("secret", ["", "wit_", "wit_" + "0" * 40, "WIT_" + "0" * 40, "x" * 5000])
def test_other_secrets_are_none(accounts: Accounts, run, secret: str) -> None:
    user = run(accounts.user("ada"))
    run(accounts.tokens.create(user["id"], "laptop", ["repo:read"]))
    assert run(accounts.tokens.verify(secret)) is None


def test_expiry(database: Database, runtime: Runtime, run) -> None:
    time = [utc_now()]
    accounts = make_accounts(database, attrs.evolve(runtime, now=lambda: time[0]))
    user = run(accounts.user("ada"))
    row, secret = run(accounts.tokens.create(user["id"], "ci", ["repo:read"], expires_in_days=1))
    assert row["expires_at"] - row["created_at"] == timedelta(days=1)
    time[0] += timedelta(hours=23, minutes=59)
    assert run(accounts.tokens.verify(secret)) is not None
    time[0] += timedelta(minutes=1)
    assert run(accounts.tokens.verify(secret)) is None


@pytest.mark.parametrize(
    ("name", "scopes", "days"),
    [
        ("", ["repo:read"], None),
        ("x" * 101, ["repo:read"], None),
        ("a\nb", ["repo:read"], None),
        ("ci", [], None),
        ("ci", ["repo:everything"], None),
        ("ci", ["repo:read"], 0),
        ("ci", ["repo:read"], 366),
    ],
)
def test_invalid_tokens_are_refused(accounts: Accounts, run, name, scopes, days) -> None:
    user = run(accounts.user("ada"))
    with pytest.raises(Invalid):
        run(accounts.tokens.create(user["id"], name, scopes, days))
    assert run(accounts.tokens.list(user["id"])) == []


def test_the_limit_is_per_user(accounts: Accounts, run) -> None:
    ada, bob = run(accounts.user("ada")), run(accounts.user("bob"))
    made = [run(accounts.tokens.create(ada["id"], f"t{n}", ["repo:read"]))[0] for n in range(3)]
    with pytest.raises(Invalid, match="at most 3 tokens"):
        run(accounts.tokens.create(ada["id"], "one more", ["repo:read"]))
    run(accounts.tokens.create(bob["id"], "his", ["repo:read"]))
    run(accounts.tokens.remove(ada["id"], made[0]["id"]))
    run(accounts.tokens.create(ada["id"], "one more", ["repo:read"]))


def test_tokens_of_others_cannot_be_touched(accounts: Accounts, run) -> None:
    ada, bob = run(accounts.user("ada")), run(accounts.user("bob"))
    row, secret = run(accounts.tokens.create(ada["id"], "hers", ["repo:read"]))
    for attempt in (
        accounts.tokens.get(bob["id"], row["id"]),
        accounts.tokens.remove(bob["id"], row["id"]),
        accounts.tokens.create("nobody", "x", ["repo:read"]),
    ):
        with pytest.raises(NotFound):
            run(attempt)
    assert run(accounts.tokens.verify(secret)) is not None
    run(accounts.tokens.remove(ada["id"], row["id"]))
    assert run(accounts.tokens.verify(secret)) is None
