from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from tests.operations.people.conftest import NOWHERE, Api, with_token
from wit.db.tables import repo_ai_keys, user_ai_keys
from wit.errors import Forbidden, Invalid, NotFound, Unauthorized
from wit.operations.api import BadInput

SECRET = "sk-ant-canary-0123456789abcd"
OTHER = "sk-or-canary-9876543210wxyz"


@pytest.mark.attack(57)
def test_a_users_keys(api: Api) -> None:
    ada, eve = api.user("ada"), api.user("eve")
    nothing = {
        "available": False, "source": None, "hasUserKeys": False, "hasServerKeys": False,
    }  # fmt: skip
    assert api("userAiKeys.checkAvailability", ada) == nothing
    made = api("userAiKeys.set", ada, provider="anthropic", apiKey=f" {SECRET}\n")
    assert (made["provider"], made["keyHint"]) == ("anthropic", "...abcd")
    api("userAiKeys.set", ada, provider="openrouter", apiKey=OTHER)
    settings = api("userAiKeys.getSettings", ada)
    assert [key["provider"] for key in settings["keys"]] == ["anthropic", "openrouter"]
    assert settings["keys"] == api("userAiKeys.list", ada)
    assert settings["availability"] == {
        "available": True, "source": "user", "hasUserKeys": True, "hasServerKeys": False,
    }  # fmt: skip
    assert api("userAiKeys.hasKeys", ada) == {"hasKeys": True}
    assert api("userAiKeys.hasKeys", eve) == {"hasKeys": False}
    assert api("userAiKeys.list", eve) == []
    shown = json.dumps([made, settings], default=str)
    rows = api.run(api.core.db.fetch_all(select(user_ai_keys)))
    assert "canary" not in shown + json.dumps([dict(row) for row in rows], default=str)
    by_provider = {row["provider"]: row["encrypted_key"] for row in rows}
    assert api.core.secrets.open(by_provider["anthropic"]) == SECRET
    with pytest.raises(NotFound):
        api("userAiKeys.delete", eve, provider="anthropic")
    assert api("userAiKeys.delete", ada, provider="anthropic") == {"success": True}
    with pytest.raises(NotFound):
        api("userAiKeys.delete", ada, provider="anthropic")


def test_a_new_key_replaces_the_old_one(api: Api) -> None:
    ada = api.user("ada")
    first = api("userAiKeys.set", ada, provider="openai", apiKey="sk-first-key-aaaa")
    second = api("userAiKeys.set", ada, provider="openai", apiKey="sk-second-key-bbbb")
    assert second["keyHint"] == "...bbbb"
    assert (second["id"], second["createdAt"]) == (first["id"], first["createdAt"])
    assert second["updatedAt"] > first["updatedAt"]
    assert api("userAiKeys.list", ada) == [second]


@pytest.mark.parametrize(
    ("provider", "key"),
    [
        ("openai", "pk-1"),
        ("anthropic", "sk-1"),
        ("openrouter", "sk-ant-1"),
        ("openai", "sk-with space"),
        ("openai", "sk-schlüssel"),
        ("coderabbit", "   "),
    ],
)
def test_wrong_keys(api: Api, provider: str, key: str) -> None:
    ada = api.user("ada")
    with pytest.raises(Invalid):
        api("userAiKeys.set", ada, provider=provider, apiKey=key)
    assert api("userAiKeys.list", ada) == []


def test_inputs(api: Api) -> None:
    ada = api.user("ada")
    for values in (
        {"provider": "other", "apiKey": "x"},
        {"provider": "openai", "apiKey": ""},
        {"provider": "openai", "apiKey": "sk-" + "x" * 500},
    ):
        with pytest.raises(BadInput):
            api("userAiKeys.set", ada, **values)
    made = api("userAiKeys.set", ada, provider="coderabbit", apiKey="short")
    assert made["keyHint"] == "..."
    with pytest.raises(Forbidden):
        api("userAiKeys.set", with_token(ada, "user:read"), provider="openai", apiKey="sk-x")
    with pytest.raises(Unauthorized):
        api("userAiKeys.list")


def test_keys_of_a_repository(api: Api) -> None:
    ada, bob, eve = api.user("ada"), api.user("bob"), api.user("eve")
    repo_id = api.repository("ada/tools", private=True)
    api.run(api.core.rights.set_collaborator(repo_id, "bob", "admin"))
    made = api("repoAiKeys.set", ada, repoId=repo_id, provider="anthropic", apiKey=SECRET)
    assert api("repoAiKeys.list", ada, repoId=repo_id) == [made]
    (row,) = api.run(api.core.db.fetch_all(select(repo_ai_keys)))
    assert api.core.secrets.open(row["encrypted_key"]) == SECRET
    assert row["created_by_id"] == ada.user_id
    available = {
        "available": True, "source": "repository", "hasRepoKeys": True, "hasServerKeys": False,
    }  # fmt: skip
    name = {"owner": "ada", "repo": "tools"}
    assert api("repoAiKeys.getSettings", ada, **name) == {
        "isOwner": True, "repoId": repo_id, "keys": [made], "availability": available,
    }  # fmt: skip
    assert api("repoAiKeys.getSettings", bob, **name) == {
        "isOwner": False, "repoId": repo_id, "keys": [], "availability": available,
    }  # fmt: skip
    assert api("repoAiKeys.hasKeys", bob, repoId=repo_id) == {"hasKeys": True}
    assert api("repoAiKeys.checkAvailability", bob, repoId=repo_id) == available
    for procedure, values in [
        ("list", {}),
        ("set", {"provider": "anthropic", "apiKey": SECRET}),
        ("delete", {"provider": "anthropic"}),
    ]:
        with pytest.raises(Forbidden):
            api(f"repoAiKeys.{procedure}", bob, repoId=repo_id, **values)
    for procedure, values in [
        ("getSettings", name),
        ("hasKeys", {"repoId": repo_id}),
        ("checkAvailability", {"repoId": repo_id}),
        ("list", {"repoId": repo_id}),
        ("list", {"repoId": NOWHERE}),
        ("set", {"repoId": repo_id, "provider": "anthropic", "apiKey": SECRET}),
    ]:
        with pytest.raises(NotFound, match=r"^repository not found$"):
            api(f"repoAiKeys.{procedure}", eve, **values)
    with pytest.raises(Forbidden):
        api("repoAiKeys.list", with_token(ada, "repo:read"), repoId=repo_id)
    api("repoAiKeys.delete", ada, repoId=repo_id, provider="anthropic")
    assert api("repoAiKeys.hasKeys", ada, repoId=repo_id) == {"hasKeys": False}


class TestWithKeysOfTheServer:
    @pytest.fixture
    def configure(self) -> dict[str, str]:
        return {"ANTHROPIC_API_KEY": "sk-ant-server-canary"}

    @pytest.mark.attack(57)
    def test_availability(self, api: Api) -> None:
        ada = api.user("ada")
        repo_id = api.repository("ada/tools")
        found = api("userAiKeys.checkAvailability", ada)
        assert (found["available"], found["source"], found["hasUserKeys"]) == (
            True, "server", False,
        )  # fmt: skip
        of_repo = api("repoAiKeys.checkAvailability", ada, repoId=repo_id)
        assert (of_repo["source"], of_repo["hasServerKeys"]) == ("server", True)
        api("userAiKeys.set", ada, provider="anthropic", apiKey=SECRET)
        assert api("userAiKeys.checkAvailability", ada)["source"] == "user"
        assert "canary" not in json.dumps(api("userAiKeys.getSettings", ada), default=str)
