"""Where a request comes from: only proxies that are named in the settings are believed."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.daemon import wait_until
from tests.support.site import Site, new_name
from tests.support.wire import Answer, ask, basic, sign_in

pytestmark = pytest.mark.attack(50)

PROXY = "127.0.0.9"
"""STRICT trusts it, and nobody else; all of 127.0.0.0/8 is this machine."""


def logged_address(site: Site, headers: dict[str, str], source: str) -> str:
    """The address that the daemon wrote down for a request from ``source``."""
    answer = ask(site.daemon, "GET", "/livez", headers, source=source)
    request_id = answer.headers["x-request-id"]
    line = wait_until(
        lambda: [line for line in site.daemon.log().splitlines() if request_id in line]
    )[0]
    found = re.search(r"address=(\S+)", line)
    assert found is not None, line
    return found[1].strip('"')


FORGED = {
    "X-Forwarded-For": "192.0.2.7",
    "X-Real-IP": "192.0.2.7",
    "Forwarded": "for=192.0.2.7",
    "X-Client-IP": "192.0.2.7",
    "CF-Connecting-IP": "192.0.2.7",
    "True-Client-IP": "192.0.2.7",
}


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.8", "127.0.0.10"])
def test_a_stranger_cannot_say_who_he_is(strict: Site, source: str) -> None:
    assert logged_address(strict, FORGED, source) == source


def test_the_proxy_is_believed_and_what_stands_before_it_is_not(strict: Site) -> None:
    cases = {
        "192.0.2.7": "192.0.2.7",
        "10.0.0.1, 192.0.2.7": "192.0.2.7",
        "127.0.0.1, 192.0.2.7, 127.0.0.9": "192.0.2.7",
        "2001:db8::1": "2001:db8::1",
        "not an address": PROXY,
        "192.0.2.7, not an address": PROXY,
        "": PROXY,
        ", ,": PROXY,
        "127.0.0.9": PROXY,
        "a" * 4000: PROXY,
    }
    for sent, expected in cases.items():
        assert logged_address(strict, {"X-Forwarded-For": sent}, PROXY) == expected, sent
    unread = {name: value for name, value in FORGED.items() if name != "X-Forwarded-For"}
    assert logged_address(strict, unread, PROXY) == PROXY


def guess(site: Site, number: int, forwarded: str, source: str) -> Answer:
    headers = {"Authorization": basic(f"nobody{source}{number}", "x"), "X-Forwarded-For": forwarded}
    target = "/alice/x/info/refs?service=git-upload-pack"
    return ask(site.daemon, "GET", target, headers, source=source)


def test_a_forged_address_is_no_way_round_the_limit(strict: Site) -> None:
    statuses = [guess(strict, n, f"192.0.2.{n}", "127.0.0.77").status for n in range(1, 14)]
    assert statuses[-1] == 429 and 200 not in statuses
    # ... nor a way to use up somebody else's:
    fresh = guess(strict, 99, "127.0.0.77", "127.0.0.78")
    assert fresh.status == 401


def test_behind_the_proxy_each_client_has_a_limit_of_its_own(strict: Site) -> None:
    statuses = [guess(strict, n, "192.0.2.200", PROXY).status for n in range(1, 14)]
    assert statuses[-1] == 429
    assert guess(strict, 99, "192.0.2.201", PROXY).status == 401


def repos_listed(answer: Answer) -> set[str]:
    return {repo["name"] for repo in json.loads(answer.body)["repositories"]}


def test_scheme_and_host_of_strangers_change_no_address_that_is_shown(site: Site) -> None:
    headers = {
        "Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": "1", "X-Original-URL": "/repos", "X-Rewrite-URL": "/repos",
        "X-HTTP-Method-Override": "DELETE", "X-Remote-User": "alice", "Remote-User": "alice",
    }  # fmt: skip
    for target in ("/livez", "/health", "/repos", "/nowhere", "/alice/x/info/refs"):
        answer = ask(site.daemon, "GET", target, headers)
        assert "evil.example" not in answer.text + str(dict(answer.headers)), answer
    private = site.create(new_name())
    assert private.partition("/")[2] not in repos_listed(ask(site.daemon, "GET", "/repos", headers))
    assert private.partition("/")[2] in repos_listed(
        ask(site.daemon, "GET", "/repos", headers | sign_in(site.alice))
    )
