from __future__ import annotations

import pytest

from tests.accounts.test_ssh_keys import new_key
from tests.operations.people.conftest import NOWHERE, Api, with_token
from wit.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from wit.operations.api import BadInput


def test_a_key_from_adding_to_removing(api: Api) -> None:
    ada = api.user("ada")
    line = new_key("ada@laptop in the office")
    made = api("sshKeys.add", ada, title="laptop", publicKey=line)
    assert (made["title"], made["keyType"]) == ("laptop", "ssh-ed25519")
    kind, data, comment = line.split(" ", 2)
    assert made["publicKeyPreview"] == f"{kind} {data[:12]}...{data[-12:]} {comment}"
    (listed,) = api("sshKeys.list", ada)
    assert listed == {**made, "lastUsedAt": None}
    whole = api("sshKeys.get", ada, id=made["id"])
    assert whole["publicKey"] == line
    assert api("sshKeys.verify", ada, fingerprint=made["fingerprint"]) == {
        "valid": True,
        "userId": ada.user_id,
        "keyId": made["id"],
        "keyType": "ssh-ed25519",
    }
    renamed = api("sshKeys.updateTitle", ada, id=made["id"], title="desk")
    assert renamed == {**listed, "title": "desk"}
    assert api("sshKeys.delete", ada, id=made["id"]) == {"success": True}
    assert api("sshKeys.list", ada) == []
    assert api("sshKeys.verify", ada, fingerprint=made["fingerprint"]) == {
        "valid": False,
        "userId": None,
    }


def test_a_key_of_a_suspended_user_is_not_valid(api: Api) -> None:
    ada, bob = api.user("ada"), api.user("bob")
    made = api("sshKeys.add", ada, title="laptop", publicKey=new_key())
    assert api("sshKeys.verify", bob, fingerprint=made["fingerprint"])["userId"] == ada.user_id
    api.run(api.core.users.suspend(str(ada.user_id), "spam"))
    assert api("sshKeys.verify", bob, fingerprint=made["fingerprint"])["valid"] is False


@pytest.mark.attack(53)
def test_no_token_adds_a_key(api: Api) -> None:
    ada = api.user("ada")
    every = with_token(ada, "repo:admin", "user:write", "user:read")
    with pytest.raises(Forbidden, match="token"):
        api("sshKeys.add", every, title="backdoor", publicKey=new_key())
    assert api("sshKeys.list", every) == []
    made = api("sshKeys.add", ada, title="laptop", publicKey=new_key())
    with pytest.raises(Forbidden):
        api("sshKeys.delete", with_token(ada, "user:read"), id=made["id"])
    api("sshKeys.delete", with_token(ada, "user:write"), id=made["id"])


def test_keys_of_others_are_not_found(api: Api) -> None:
    ada, eve = api.user("ada"), api.user("eve")
    line = new_key()
    made = api("sshKeys.add", ada, title="laptop", publicKey=line)
    for key_id in (made["id"], NOWHERE):
        for name, values in [("get", {}), ("delete", {}), ("updateTitle", {"title": "mine"})]:
            with pytest.raises(NotFound, match=r"^SSH key not found$"):
                api(f"sshKeys.{name}", eve, id=key_id, **values)
    with pytest.raises(Conflict) as raised:
        api("sshKeys.add", eve, title="stolen", publicKey=line)
    assert "ada" not in raised.value.message
    assert api("sshKeys.get", ada, id=made["id"])["title"] == "laptop"
    with pytest.raises(Unauthorized):
        api("sshKeys.list")


def test_bad_keys_and_titles(api: Api) -> None:
    ada = api.user("ada")
    for wrong in ("ssh-ed25519 AAAA", "nonsense", "ssh-dss AAAAB3NzaC1kc3MAAAA="):
        with pytest.raises(Invalid):
            api("sshKeys.add", ada, title="x", publicKey=wrong)
    for values in (
        {"title": "", "publicKey": new_key()},
        {"title": "x" * 101, "publicKey": new_key()},
        {"title": "x", "publicKey": "x" * 10_001},
        {"publicKey": new_key()},
    ):
        with pytest.raises(BadInput):
            api("sshKeys.add", ada, **values)
    made = api("sshKeys.add", ada, title="x", publicKey=new_key())
    with pytest.raises(Invalid):
        api("sshKeys.updateTitle", ada, id=made["id"], title="a\nb")
    with pytest.raises(BadInput):
        api("sshKeys.get", ada, id="1; drop table")
