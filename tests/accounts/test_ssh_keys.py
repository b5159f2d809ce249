from __future__ import annotations

import struct
from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.accounts.conftest import Accounts
from wit.accounts.public_keys import parse_public_key
from wit.errors import Conflict, Invalid, NotFound


def new_key(comment: str = "") -> str:
    point = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    blob = struct.pack(">L", 11) + b"ssh-ed25519" + struct.pack(">L", 32) + point
    return f"ssh-ed25519 {b64encode(blob).decode()} {comment}".strip()


def test_add_verify_list_remove(accounts: Accounts, run) -> None:
    user = run(accounts.user("ada"))
    line = new_key("ada@laptop")
    row = run(accounts.keys.add(user["id"], line + "\n"))
    key = parse_public_key(line)
    assert row["title"] == "ada@laptop"
    assert row["public_key"] == line
    assert row["fingerprint"] == key.fingerprint
    assert row["key_type"] == "ssh-ed25519"
    assert row["last_used_at"] is None
    assert run(accounts.keys.list(user["id"])) == [row]
    found = run(accounts.keys.verify(key.blob))
    assert found == (run(accounts.users.get(user["id"])), row)
    run(accounts.keys.remove(user["id"], row["id"]))
    assert run(accounts.keys.list(user["id"])) == []
    assert run(accounts.keys.verify(key.blob)) is None


def test_unknown_blobs_are_none(accounts: Accounts, run) -> None:
    for blob in (b"", b"x" * 100, parse_public_key(new_key()).blob):
        assert run(accounts.keys.verify(blob)) is None


def test_a_key_belongs_to_one_user_and_the_refusal_does_not_tell_whose(
    accounts: Accounts, run
) -> None:
    ada, bob = run(accounts.user("ada")), run(accounts.user("bob"))
    line = new_key()
    run(accounts.keys.add(ada["id"], line))
    for user in (ada, bob):
        with pytest.raises(Conflict) as raised:
            run(accounts.keys.add(user["id"], line + " other comment", "other title"))
        assert "ada" not in raised.value.message
    assert run(accounts.keys.list(bob["id"])) == []


def test_limit_and_titles(accounts: Accounts, run) -> None:
    user = run(accounts.user("ada"))
    row = run(accounts.keys.add(user["id"], new_key()))
    assert row["title"] == "ssh-ed25519"
    row = run(accounts.keys.add(user["id"], new_key("c" * 300)))
    assert row["title"] == "c" * 100
    row = run(accounts.keys.add(user["id"], new_key("comment"), "work"))
    assert row["title"] == "work"
    with pytest.raises(Invalid, match="at most 3 SSH keys"):
        run(accounts.keys.add(user["id"], new_key()))
    run(accounts.keys.remove(user["id"], row["id"]))
    for title in ("x" * 101, "a\nb"):
        with pytest.raises(Invalid, match="title"):
            run(accounts.keys.add(user["id"], new_key(), title))


def test_keys_of_others_cannot_be_touched(accounts: Accounts, run) -> None:
    ada, bob = run(accounts.user("ada")), run(accounts.user("bob"))
    row = run(accounts.keys.add(ada["id"], new_key()))
    for attempt in (
        accounts.keys.get(bob["id"], row["id"]),
        accounts.keys.remove(bob["id"], row["id"]),
        accounts.keys.add("nobody", new_key()),
    ):
        with pytest.raises(NotFound):
            run(attempt)
    assert run(accounts.keys.list(ada["id"])) == [row]
