"""Passwords and tokens: the right one in the right place, or nothing."""

from __future__ import annotations

import pytest

from tests.support.daemon import PASSWORD
from tests.support.site import Site, new_name
from tests.support.wire import Http, ask, basic, push_history, shared_repository

pytestmark = pytest.mark.attack(29)


def looked(
    site: Site, name: str, headers: dict[str, str], query: str = "", source: str = ""
) -> int:
    target = f"/{name}/info/refs?service=git-upload-pack{query}"
    return ask(site.daemon, "GET", target, headers, source=source).status


def test_the_right_user_and_any_password(each_site: Site) -> None:
    site, name = each_site, new_name()
    push_history(site.daemon, site.alice, name)
    token = site.alice.token
    wrong = ["", "x", "alice", "admin", PASSWORD[:-1], PASSWORD.upper(), PASSWORD + "\0", "null"]
    for number, password in enumerate(wrong):  # an address each: failures are counted
        source = f"127.0.1.{number + 1}"
        assert looked(site, name, {"Authorization": basic("alice", password)}, "", source) == 401
    guesses = [token[:-1], token + "0", token.upper(), token[4:], "wit_" + "0" * 40]
    for number, guess in enumerate(guesses):
        source = f"127.0.2.{number + 1}"
        for header in (basic("alice", guess), basic(guess, ""), f"Bearer {guess}"):
            assert looked(site, name, {"Authorization": header}, "", source) in (401, 429)
    assert looked(site, name, {"Authorization": basic("alice", token)}) == 200
    assert looked(site, name, {"Authorization": f"Bearer {token}"}) == 200


def test_a_token_of_one_is_no_password_of_another(each_site: Site) -> None:
    site, name = each_site, new_name()
    push_history(site.daemon, site.alice, name)
    assert looked(site, name, {"Authorization": basic("alice", site.bob.token)}) == 401
    assert looked(site, name, {"Authorization": basic("bob", site.alice.token)}) == 401
    assert looked(site, name, {"Authorization": basic("bob", site.bob.token)}) == 404


def test_a_token_in_the_address_is_ignored(each_site: Site) -> None:
    site, name = each_site, new_name()
    push_history(site.daemon, site.alice, name)
    token = site.alice.token
    for query in (f"&token={token}", f"&access_token={token}", f"&private_token={token}",
                  f"&authorization=Bearer%20{token}", f"&password={token}&user=alice"):  # fmt: skip
        assert looked(site, name, {}, query) == 401
    for header in ({"Cookie": f"token={token}"}, {"X-Token": token}, {"PRIVATE-TOKEN": token},
                   {"Proxy-Authorization": basic("alice", token)}):  # fmt: skip
        assert looked(site, name, header) == 401


@pytest.mark.parametrize(
    "header",
    ["", "Basic", "Basic ", "Basic !!!", "Basic YWxpY2U=", "Bearer", "Bearer ", "Digest x",
     "Negotiate YWxpY2U=", "Basic " + "A" * 5000, "Basic /w==:", "Basic OnBhc3M=", "Token {}",
     "Bearer {} x", "Bearer {},{}", "Basic {}"],
)  # fmt: skip
def test_malformed_headers_are_refused(site: Site, header: str) -> None:
    name, _ = shared_repository(site)
    header = header.replace("{}", site.alice.token)
    assert looked(site, name, {"Authorization": header}, "", "127.0.3.1") == 401


def test_two_headers_are_refused(site: Site) -> None:
    """Which of the two would count?"""
    name, _ = shared_repository(site)
    right = basic("alice", site.alice.token)
    lines = f"Authorization: {right}\r\nAuthorization: {basic('bob', site.bob.token)}\r\n"
    with Http(site.daemon.http_port) as http:
        http.send(
            f"GET /{name}/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode()
        )
        assert http.answer().status == 401


def test_a_password_with_colons(each_site: Site) -> None:
    """All behind the first colon is the password."""
    site, name = each_site, new_name()
    owner = f"colon{name.partition('/')[2]}"
    password = "pa:ss::wörd:"
    site.do(lambda core: core.users.create(owner, f"{owner}@example.org", password))
    mine = site.create(f"{owner}/x")
    assert looked(site, mine, {"Authorization": basic(owner, password)}, "", "127.0.4.1") == 200
    for wrong in ("pa", "pa:ss", password[:-1], "ss::wörd:", password + ":"):
        header = {"Authorization": basic(owner, wrong)}
        assert looked(site, mine, header, "", "127.0.4.2") == 401


def test_who_is_suspended_or_revoked_is_out_at_once(each_site: Site) -> None:
    site, name = each_site, new_name()
    owner = f"gone{name.partition('/')[2]}"
    user = site.do(lambda core: core.users.create(owner, f"{owner}@example.org", "a password"))
    scopes = ["repo:read", "repo:write"]
    row, token = site.do(lambda core: core.tokens.create(user["id"], "test", scopes))
    mine = site.create(f"{owner}/x")
    header = {"Authorization": basic(owner, token)}
    assert looked(site, mine, header) == 200
    site.do(lambda core: core.users.suspend(user["id"], "test"))
    assert looked(site, mine, header) == 403
    site.do(lambda core: core.users.resume(user["id"]))
    assert looked(site, mine, header) == 200
    site.do(lambda core: core.tokens.remove(user["id"], row["id"]))
    assert looked(site, mine, header) == 401


def test_guessing_is_slowed_down(each_site: Site) -> None:
    """Failures of one address and for one name; a token goes on working all the while."""
    site, name = each_site, new_name()
    push_history(site.daemon, site.alice, name)
    source = "127.0.5.1"
    statuses = [
        looked(site, name, {"Authorization": basic(f"guess{number}", "x")}, "", source)
        for number in range(14)
    ]
    assert statuses[:10] == [401] * 10 and statuses[-1] == 429
    header = {"Authorization": basic("alice", site.alice.token)}
    assert looked(site, name, header, "", source) == 200
