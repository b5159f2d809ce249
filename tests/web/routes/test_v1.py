"""The public REST API over HTTP: headers, limits, pages, errors; and the limits of the tRPC door."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.message import Message
from typing import Any

import attrs
import pytest

from tests.support.daemon import Daemon
from tests.support.site import Site

LIMITED = {
    "WIT_LIMITS_API_ANONYMOUS": "3",
    "WIT_LIMITS_API": "5",
    "WIT_LIMITS_STANDARD_ANONYMOUS": "4",
    "WIT_SERVER_TRUSTED_PROXIES": "127.0.0.0/8",
    "WIT_SERVER_PUBLIC_URL": "https://git.example.org",
}


@attrs.frozen
class Guarded:
    daemon: Daemon
    token: str


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, plain_git_environment: None
) -> Iterator[Guarded]:
    """A daemon with low limits behind a trusted proxy."""
    daemon = Daemon(tmp_path_factory.mktemp("guarded") / "data", environment=LIMITED).start()
    try:
        daemon.user("alice")
        yield Guarded(daemon, daemon.token("alice", "user:read"))
    finally:
        assert daemon.stop() == 0, daemon.log()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def get(
    daemon: Daemon, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, Message, Any]:
    status, answered, body = daemon.get(path, headers, method)
    return status, answered, json.loads(body) if body else None


def test_an_answer_and_its_headers(site: Site) -> None:
    status, headers, body = get(site.daemon, "api/v1/users/alice", bearer(site.bob.token))
    assert (status, body["login"]) == (200, "alice")
    assert body["created_at"].endswith("Z")
    assert headers["X-API-Version"] == "v1"
    assert headers["X-RateLimit-Limit"] == "5000"
    assert int(headers["X-RateLimit-Remaining"]) < 5000
    assert int(headers["X-RateLimit-Reset"]) > 1_700_000_000
    assert headers["RateLimit-Policy"] == '"api";q=5000;w=3600'
    assert headers["RateLimit"].startswith('"api";r=')
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["Access-Control-Allow-Credentials"] is None
    assert "PATCH" in headers["Access-Control-Allow-Methods"]
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_errors(site: Site) -> None:
    daemon, bob = site.daemon, bearer(site.bob.token)
    status, headers, body = get(daemon, "api/v1/user")
    assert (status, body["message"]) == (401, "Requires authentication")
    assert "documentation_url" in body and headers["Access-Control-Allow-Origin"] == "*"
    status, _, body = get(daemon, "api/v1/user", bob)
    assert (status, body["required_scopes"]) == (403, ["user:read"])
    status, _, body = get(daemon, "api/v1/repos/alice/none", bob)
    assert (status, body["message"]) == (404, "Not Found")
    status, _, body = get(daemon, "api/v1/search/users", bob)
    assert (status, body["message"]) == (422, "Validation Failed")
    assert body["errors"][0]["field"] == "q"
    assert body["errors"][0]["code"] == "missing_field"


def test_a_list_has_links(site: Site) -> None:
    for name in ("alice/linked-a", "alice/linked-b", "alice/linked-c"):
        site.create(name, private=False)
    path = "api/v1/users/alice/repos?sort=created&direction=desc&per_page=1&page=2"
    status, headers, body = get(site.daemon, path, bearer(site.bob.token))
    assert (status, [repo["name"] for repo in body]) == (200, ["linked-b"])
    link = headers["Link"]
    for relation in ("next", "last", "prev", "first"):
        assert f'rel="{relation}"' in link
    assert "page=3" in link


def test_starring(site: Site, new_name: str) -> None:
    site.create(new_name, private=False)
    bob = bearer(site.bob.token)
    for method in ("PUT", "PUT", "DELETE"):
        status, _, body = get(site.daemon, f"api/v1/repos/starred/{new_name}", bob, method)
        assert (status, body) == (204, None)


@pytest.mark.attack(50)
def test_an_untrusted_client_cannot_choose_its_bucket(site: Site) -> None:
    left = [
        int(headers["X-RateLimit-Remaining"])
        for number in (1, 2)
        for _, headers, _ in [
            get(site.daemon, "api/v1", {"X-Forwarded-For": f"198.51.100.{number}"})
        ]
    ]
    assert left[1] < left[0]


def from_address(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


def test_over_the_limit(guarded: Guarded) -> None:
    client = from_address("192.0.2.1")
    seen = [get(guarded.daemon, "api/v1", client) for _ in range(4)]
    assert [status for status, _, _ in seen] == [200, 200, 200, 429]
    assert [headers["X-RateLimit-Remaining"] for _, headers, _ in seen] == ["2", "1", "0", "0"]
    _, headers, body = seen[3]
    assert 1 <= int(headers["Retry-After"]) <= 7200
    assert set(body) == {"message", "documentation_url"}
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Retry-After" in headers["Access-Control-Expose-Headers"]
    assert get(guarded.daemon, "api/v1", from_address("192.0.2.2"))[0] == 200


def test_one_customer_is_one_address(guarded: Guarded) -> None:
    answers = [
        get(guarded.daemon, "api/v1", from_address(f"2001:db8:1:2::{number}"))[0]
        for number in range(1, 5)
    ]
    assert answers == [200, 200, 200, 429]
    assert get(guarded.daemon, "api/v1", from_address("2001:db8:1:3::1"))[0] == 200


def test_a_user_is_counted_wherever_it_comes_from(guarded: Guarded) -> None:
    answers = [
        get(
            guarded.daemon,
            "api/v1/user",
            {**bearer(guarded.token), **from_address(f"192.0.2.{100 + number}")},
        )[0]
        for number in range(6)
    ]
    assert answers == [200] * 5 + [429]


def test_each_call_of_a_batch_counts(guarded: Guarded) -> None:
    batch = "trpc/" + ",".join(["oauthApps.scopes"] * 6) + "?batch=1&input=%7B%7D"
    status, headers, body = get(guarded.daemon, batch, from_address("192.0.2.50"))
    refused = [each["error"]["json"]["data"]["code"] for each in body if "error" in each]
    assert (status, refused) == (207, ["TOO_MANY_REQUESTS"] * 2)
    assert headers["X-RateLimit-Limit"] == "4"


def test_https_is_kept_to(guarded: Guarded) -> None:
    _, headers, _ = guarded.daemon.get("livez")
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
