"""The router ``auth``: signing in without cookies, and one's own account."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from tests.support.daemon import PASSWORD
from tests.support.site import Site
from wit.access.actor import ANONYMOUS, Actor
from wit.core import Core
from wit.errors import Conflict, Forbidden, Invalid, NotFound, RateLimited, Unauthorized
from wit.operations.api import BadInput, invoke, wit_api
from wit.operations.call import Call, Client

API = wit_api()


@attrs.define
class Caller:
    """Calls procedures as ``actor``, each time from another address."""

    site: Site
    actor: Actor = ANONYMOUS
    address: str = ""
    _number: int = 0

    def __call__(self, name: str, /, **values: Any) -> Any:
        operation = API.get(f"auth.{name}")
        assert operation is not None
        self._number += 1
        client = Client(self.address or f"{id(self)}-{self._number}", "a program")
        return self.site.do(
            lambda core: invoke(operation, Call(core, self.actor, client), values or None)
        )

    def by(self, session_id: str) -> Caller:
        """The caller with this Bearer token."""
        actor = self.site.do(lambda core: core.credentials.bearer(session_id))
        self.site.do(lambda core: core.last_use.flush())
        return Caller(self.site, actor)


@pytest.fixture
def call(site: Site) -> Iterator[Caller]:
    async def policy(core: Core, value: str) -> None:
        core.identity.sign_up._policy = value

    site.do(lambda core: policy(core, "open"))
    yield Caller(site)
    site.do(lambda core: policy(core, "first-user"))


_names = iter(f"router{number}" for number in range(1000))


def register(call: Caller, **more: Any) -> Any:
    name = next(_names)
    return call(
        "register",
        **{"username": name, "email": f"{name}@example.org", "password": PASSWORD, **more},
    )


def test_register_and_login_give_a_session(call: Caller) -> None:
    made = register(call, name="A Name")
    user = made["user"]
    assert (user["name"], user["role"], user["suspended"]) == ("A Name", "user", False)
    again = call("login", usernameOrEmail=user["username"], password=PASSWORD)
    by_email = call("login", usernameOrEmail=user["email"].upper(), password=PASSWORD)
    assert len({made["sessionId"], again["sessionId"], by_email["sessionId"]}) == 3
    for answer in (made, again, by_email):
        me = call.by(answer["sessionId"])("me")
        assert me == {
            "id": user["id"], "email": user["email"], "name": "A Name",
            "username": user["username"], "image": None,
        }  # fmt: skip
    assert call("me") is None


def test_what_is_refused(call: Caller) -> None:
    user = register(call)["user"]
    with pytest.raises(Conflict):
        register(call, username=user["username"].upper())
    with pytest.raises(Conflict):
        register(call, email=user["email"].upper())
    with pytest.raises(Invalid):
        register(call, username="api")
    for bad in ({"username": "ab"}, {"email": "nothing"}, {"password": "short"}):
        with pytest.raises(BadInput):
            register(call, **bad)
    for login, password in ((user["username"], "wrong password"), ("nobody-at-all", PASSWORD)):
        with pytest.raises(Unauthorized, match="wrong user name"):
            call("login", usernameOrEmail=login, password=password)


def test_sign_up_may_be_closed(site: Site) -> None:
    with pytest.raises(Forbidden, match="invitation"):
        register(Caller(site))


@pytest.mark.attack(51)
def test_guessing_is_slowed_down(call: Caller) -> None:
    user = register(call)["user"]
    guesser = Caller(call.site, address="198.51.100.1")
    for number in range(10):
        with pytest.raises(Unauthorized):
            guesser("login", usernameOrEmail=f"nobody{number}", password="wrong password")
    with pytest.raises(RateLimited):
        guesser("login", usernameOrEmail=user["username"], password=PASSWORD)


def test_what_is_still_free(call: Caller) -> None:
    user = register(call)["user"]
    assert call("checkUsername", username=user["username"].upper()) == {"available": False}
    assert call("checkUsername", username="nobody.at.all") == {"available": True}
    assert call("checkUsername", username="settings") == {"available": False}
    assert call("checkEmail", email=user["email"].upper()) == {"available": False}
    assert call("checkEmail", email="nobody@example.org") == {"available": True}
    with pytest.raises(BadInput):
        call("checkEmail", email="nothing")


def test_the_profile(call: Caller) -> None:
    own = call.by(register(call)["sessionId"])
    site = "https://example.org"
    row = own("updateProfile", name="New", bio="b", location="here", website=site, avatarUrl=site)
    assert (row["name"], row["bio"], row["website"]) == ("New", "b", site)
    row = own("updateProfile", website="", avatarUrl="", bio=None)
    assert (row["name"], row["bio"]) == ("New", None)
    assert (row["website"], row["avatarUrl"], row["location"]) == (None, None, "here")
    with pytest.raises(Invalid):
        own("updateProfile", website="javascript:alert(1)")
    with pytest.raises(Unauthorized):
        call("updateProfile", name="x")


def test_logout_all_leaves_the_session_that_asks(call: Caller) -> None:
    made = register(call)
    other = call("login", usernameOrEmail=made["user"]["username"], password=PASSWORD)
    own = call.by(made["sessionId"])
    assert own("logoutAll") == {"success": True}
    assert call.by(made["sessionId"])("me") is not None
    with pytest.raises(Unauthorized):
        call.by(other["sessionId"])


def test_ways_to_sign_in(call: Caller) -> None:
    made = register(call)
    own = call.by(made["sessionId"])
    (account,) = own("getConnectedAccounts")
    assert (account["provider"], account["accountId"]) == ("credential", made["user"]["id"])
    assert own("canChangePassword") == {"canChange": True}
    assert own("getGitHubToken") == {"connected": False, "token": None, "username": None}
    with pytest.raises(Invalid, match="last way"):
        own("disconnectAccount", provider="credential")
    with pytest.raises(NotFound):
        own("disconnectAccount", provider="github")


@pytest.mark.attack(53)
def test_a_token_is_not_the_person(call: Caller) -> None:
    """A personal access token with every scope gives neither secrets nor sessions away."""
    user = register(call)["user"]
    scopes = ["repo:admin", "user:read", "user:write"]
    _, secret = call.site.do(lambda core: core.tokens.create(user["id"], "all", scopes))
    token = call.by(secret)
    assert token("me")["email"] == user["email"]
    for name in ("getGitHubToken", "logoutAll"):
        with pytest.raises(Forbidden):
            token(name)
    with pytest.raises(Forbidden):
        token("disconnectAccount", provider="github")
    _, secret = call.site.do(lambda core: core.tokens.create(user["id"], "few", ["repo:read"]))
    few = call.by(secret)
    assert few("me")["email"] == ""
    with pytest.raises(Forbidden):
        few("updateProfile", bio="x")
