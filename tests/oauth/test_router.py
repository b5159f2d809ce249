"""The procedures of ``oauthApps``, as the registry calls them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import TypeAdapter

from tests.oauth.conftest import CALLBACK, World
from wit.access.actor import ANONYMOUS, Actor, Origin
from wit.core import Core
from wit.db.port import Row
from wit.errors import Forbidden, Invalid, NotFound, Unauthorized
from wit.operations.api import BadInput, invoke
from wit.operations.call import Call
from wit.operations.registry import Registry
from wit.operations.routers import oauth_apps, oauth_apps_used

API = Registry([oauth_apps.router, oauth_apps_used.router])


class Client:
    """Calls procedures as somebody, and checks what they answer against what they declare."""

    def __init__(self, world: World, actor: Actor) -> None:
        self._world = world
        self._actor = actor

    def __call__(self, name: str, values: Any = None) -> Any:
        operation = API.get(f"oauthApps.{name}")
        assert operation is not None
        core = cast(Core, SimpleNamespace(oauth=self._world.provider))
        result = self._world.run(invoke(operation, Call(core, self._actor), values))
        adapter: TypeAdapter[Any] = operation.output_adapter
        adapter.validate_python(result, strict=True)
        return result


def client(world: World, user_id: str | None, scopes: frozenset[str] | None = None) -> Client:
    if user_id is None:
        return Client(world, ANONYMOUS)
    origin = Origin.SESSION if scopes is None else Origin.TOKEN
    return Client(world, Actor(user_id, "someone", origin, scopes=scopes))


NEW = {"name": "Example", "callbackUrl": CALLBACK}


def test_there_are_fifteen() -> None:
    assert len(API) == 15


def test_the_life_of_an_app(world: World, ada: str) -> None:
    call = client(world, ada)
    made = call("create", NEW | {"description": "Does it", "logoUrl": "https://x.example/l"})
    assert made["clientSecret"].startswith("witsec_") and "warning" in made
    one = {"id": made["id"]}
    app = call("get", one)
    assert app["clientSecretPrefix"] == made["clientSecret"][:12]
    assert app["additionalCallbackUrls"] == [] and app["logoUrl"] == "https://x.example/l"
    assert call("list") == [app]
    changed = call("update", one | {"name": "New", "logoUrl": None})
    assert (changed["name"], changed["logoUrl"], changed["description"]) == ("New", None, "Does it")
    assert call("update", one | {"additionalCallbackUrls": ["http://[::1]/"]})[
        "additionalCallbackUrls"
    ] == ["http://[::1]/"]
    assert call("update", one)["name"] == "New"
    assert call("publish", one) == {"success": True, "isPublished": True}
    anonymous = client(world, None)
    public = anonymous("getPublic", one)
    assert public["name"] == "New" and "clientId" not in public and "callbackUrl" not in public
    assert [app["id"] for app in anonymous("search", {"query": "NEW"})] == [made["id"]]
    assert [app["id"] for app in anonymous("listPopular")] == [made["id"]]
    assert call("unpublish", one)["isPublished"] is False
    with pytest.raises(NotFound):
        anonymous("getPublic", one)
    assert anonymous("search", {"query": "new"}) == anonymous("listPopular") == []
    assert call("regenerateSecret", one)["clientSecret"] != made["clientSecret"]
    assert call("delete", one) == {"success": True} and call("list") == []


def test_other_people_find_nothing(world: World, app: Row) -> None:
    bob, one = client(world, world.user("bob")), {"id": app["id"]}
    for name in ("get", "publish", "unpublish", "regenerateSecret", "delete", "listInstallations"):
        with pytest.raises(NotFound):
            bob(name, one)
    with pytest.raises(NotFound):
        bob("update", one | {"callbackUrl": "https://evil.example/"})


def test_authorizations(world: World, ada: str, app: Row) -> None:
    bob = world.user("bob")
    issued = world.tokens(app, bob, scope="openid repo:read")
    (granted,) = client(world, bob)("authorizations")
    assert granted["app"]["name"] == "Example" and granted["scopes"] == ["repo:read"]
    page = client(world, ada)("listInstallations", {"id": app["id"]})
    assert page["total"] == 1 and page["installations"][0]["userId"] == bob
    one = {"authorizationId": granted["id"]}
    with pytest.raises(NotFound):
        client(world, ada)("revokeAuthorization", one)
    assert client(world, bob)("revokeAuthorization", one) == {"success": True}
    assert not world.works(issued.access_token)
    assert client(world, bob)("authorizations") == []


def test_scopes(world: World) -> None:
    listed = client(world, None)("scopes")
    assert len(listed) == 16 and listed[2]["name"] == "repo:read"


@pytest.mark.parametrize(
    "values",
    [
        {}, {"name": "x"}, NEW | {"name": ""}, NEW | {"name": "x" * 101},
        NEW | {"description": "x" * 501}, NEW | {"callbackUrl": "x" * 3000},
        NEW | {"additionalCallbackUrls": [CALLBACK] * 11},
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit(world: World, ada: str, values) -> None:
    with pytest.raises(BadInput):
        client(world, ada)("create", values)


def test_addresses_that_are_none(world: World, ada: str) -> None:
    for changes in ({"callbackUrl": "javascript:x"}, {"logoUrl": "data:x"}, {"websiteUrl": "x"}):
        with pytest.raises(Invalid):
            client(world, ada)("create", NEW | changes)


def test_who_may(world: World, ada: str, app: Row) -> None:
    one = {"id": app["id"]}
    for name, values in (("list", None), ("create", NEW), ("get", one), ("authorizations", None),
                         ("delete", one)):  # fmt: skip
        with pytest.raises(Unauthorized):
            client(world, None)(name, values)
    everything = frozenset({"user:read", "user:write", "repo:admin"})
    for name, values in (("create", NEW), ("regenerateSecret", one), ("update", one)):
        with pytest.raises(Forbidden, match="token"):
            client(world, ada, everything)(name, values)
    assert client(world, ada, frozenset({"user:read"}))("get", one)["name"] == "Example"
    with pytest.raises(Forbidden, match="scope"):
        client(world, ada, frozenset({"user:read"}))("delete", one)
