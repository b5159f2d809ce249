"""Private packages, to people who may not know of them: as if they were not there."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest

from tests.support.npm import ABBREVIATED, Answer, Registry, document, tarball
from tests.support.package_site import PackageSite, new_package

pytestmark = pytest.mark.attack(40)

READS: list[tuple[str, str]] = [
    ("GET", "{name}"),
    ("HEAD", "{name}"),
    ("GET", "{name}/1.0.0"),
    ("GET", "{name}/latest"),
    ("GET", "{name}/-/{name}-1.0.0.tgz"),
    ("HEAD", "{name}/-/{name}-1.0.0.tgz"),
    ("GET", "-/package/{name}/dist-tags"),
    ("GET", "-/package/{name}/visibility"),
    ("GET", "-/package/{name}/collaborators"),
    ("GET", "-/npm/v1/attestations/{name}@1.0.0"),
]
CHANGES: list[tuple[str, str, Any]] = [
    ("PUT", "-/package/{name}/dist-tags/next", "1.0.0"),
    ("DELETE", "-/package/{name}/dist-tags/next", None),
    ("DELETE", "{name}/-rev/1-0", None),
    ("DELETE", "{name}/-/{name}-1.0.0.tgz/-rev/1-0", None),
    ("PUT", "{name}/-rev/1-0", {"name": "{name}", "maintainers": [{"name": "carol"}]}),
    ("POST", "-/package/{name}/access", {"access": "public"}),
]


@attrs.frozen
class Hidden:
    name: str
    packed: bytes


@pytest.fixture(scope="module", params=["in a private repository", "marked as private"])
def hidden(request: pytest.FixtureRequest, registry: PackageSite) -> Hidden:
    """A package of bob's that carol may not see."""
    marked = request.param == "marked as private"
    manifest = new_package(repository="bob/open" if marked else "bob/closed")
    manifest["description"] = "hidden-treasure"
    packed = tarball(manifest, {"secret": b"hidden-treasure"})
    body = document(manifest, packed, access="restricted" if marked else None)
    answer = registry.bob.publish(body)
    assert answer.status == 200, answer
    return Hidden(manifest["name"], packed)


def words(answer: Answer, name: str) -> Any:
    """All of an answer that may not depend on whether the package is there."""
    body = answer.body.replace(name.encode(), b"NAME")
    kept = {
        key.lower(): value.replace(name, "NAME")
        for key, value in answer.headers.items()
        if key.lower() not in {"date", "x-request-id", "x-trace-id", "content-length"}
    }
    return answer.status, kept, re.sub(rb'"requestId":"[^"]*"', b"", body)


def filled(value: Any, name: str) -> Any:
    return None if value is None else json.loads(json.dumps(value).replace("{name}", name))


def outsiders(registry: PackageSite) -> dict[str, Registry]:
    return {"nobody": registry.nobody, "carol": registry.carol}


@pytest.mark.parametrize(("method", "path"), READS)
@pytest.mark.parametrize("who", ["nobody", "carol"])
def test_reading(registry: PackageSite, hidden: Hidden, method: str, path: str, who: str) -> None:
    client = outsiders(registry)[who]
    missing = f"{hidden.name}0"
    answers = [
        client.ask(method, path.replace("{name}", name), headers={"Accept": accept})
        for name in (hidden.name, missing)
        for accept in ("application/json", ABBREVIATED)
    ]
    assert answers[0].status in (401, 404)
    for there, absent in zip(answers[:2], answers[2:], strict=True):
        assert words(there, hidden.name) == words(absent, missing)


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
@pytest.mark.parametrize("who", ["nobody", "carol"])
def test_changing(
    registry: PackageSite, hidden: Hidden, method: str, path: str, body: Any, who: str
) -> None:
    client = outsiders(registry)[who]
    shown = []
    for name in (hidden.name, f"{hidden.name}0"):
        answer = client.ask(method, path.replace("{name}", name), filled(body, name))
        assert answer.status == (401 if who == "nobody" else 404), answer
        shown.append(words(answer, name))
    assert shown[0] == shown[1]


def test_lists_and_searches(registry: PackageSite, hidden: Hidden) -> None:
    paths: list[str] = [
        f"-/v1/search?text={hidden.name}",
        "-/v1/search?text=hidden-treasure",
        "-/org/bob/package",
        "-/user/bob/package",
    ]
    for client in outsiders(registry).values():
        for path in paths:
            answer = client.get(path)
            assert answer.status in (200, 401, 403, 404), answer
            # What was asked for may be repeated in a sentence, what was found may not.
            assert b"hidden-treasure" not in answer.body or answer.status != 200
            assert hidden.name.encode() not in answer.body or answer.status != 200
    found = registry.bob.get(f"-/v1/search?text={hidden.name}").json
    assert [entry["package"]["name"] for entry in found["objects"]] == [hidden.name]
    assert found["total"] == 1


def test_who_may_see_it_does(registry: PackageSite, hidden: Hidden) -> None:
    shown = registry.bob.get(hidden.name)
    assert shown.json["versions"].keys() == {"1.0.0"}
    got = registry.bob.get(f"{hidden.name}/-/{hidden.name}-1.0.0.tgz")
    assert got.body == hidden.packed
    for answer in (shown, got):
        assert "public" not in (answer.headers["Cache-Control"] or "")
        assert answer.headers["Cache-Control"], "a cache between may not keep it"


def test_an_etag_proves_nothing(registry: PackageSite, hidden: Hidden) -> None:
    for path in (hidden.name, f"{hidden.name}/-/{hidden.name}-1.0.0.tgz"):
        etag = registry.bob.get(path).headers["ETag"]
        assert etag
        for client in outsiders(registry).values():
            assert client.get(path, **{"If-None-Match": etag}).status in (401, 404)
            assert client.get(path, Range="bytes=0-0").status in (401, 404)


@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        (("packages:read",), 200),
        (("packages:write",), 404),
        (("repo:read", "repo:write", "repo:admin", "user:read", "user:write"), 404),
    ],
)
def test_the_scope_of_a_token(
    registry: PackageSite, hidden: Hidden, scopes: tuple[str, ...], status: int
) -> None:
    """A token without packages:read sees what everybody sees."""
    client = registry.token("bob", *scopes)
    assert client.get(hidden.name).status == status
    assert client.get(f"{hidden.name}/-/{hidden.name}-1.0.0.tgz").status == status
    if "packages:write" not in scopes:
        refused = client.ask("PUT", f"-/package/{hidden.name}/dist-tags/next", "1.0.0")
        assert refused.status in (403, 404)
        assert client.publish(document(new_package())).status == 403


def test_a_name_that_is_taken_stays_hidden(registry: PackageSite, hidden: Hidden) -> None:
    """Whoever publishes under it learns no more than that he cannot."""
    if not registry.site.disk("carol/own").exists():
        registry.site.create("carol/own", private=False)
    manifest = {"name": hidden.name, "version": "9.0.0", "repository": "carol/own"}
    answer = registry.carol.publish(document(manifest))
    assert answer.status in (403, 404, 409), answer
    assert b"bob" not in answer.body
    assert b"1.0.0" not in answer.body
    assert registry.bob.get(hidden.name).json["versions"].keys() == {"1.0.0"}


def test_dependents_that_cannot_be_seen(registry: PackageSite) -> None:
    """What hinders an unpublish is counted, and named only to who may see it."""
    base = new_package()
    registry.publish(base)
    secret = new_package(repository="bob/closed")
    registry.publish({**secret, "dependencies": {base["name"]: "1.0.0"}})

    rev = registry.bob.get(base["name"]).json["_rev"]
    path = f"{base['name']}/-/{base['name']}-1.0.0.tgz/-rev/{rev}"
    named = registry.bob.ask("DELETE", path)
    assert named.status in (403, 409), named
    assert secret["name"] in named.json["error"]
    owners = [{"name": name, "email": f"{name}@example.org"} for name in ("bob", "carol")]
    body = {"_id": base["name"], "_rev": rev, "maintainers": owners}
    assert registry.bob.ask("PUT", f"{base['name']}/-rev/{rev}", body).status == 200
    rev = registry.bob.get(base["name"]).json["_rev"]
    path = f"{base['name']}/-/{base['name']}-1.0.0.tgz/-rev/{rev}"
    counted = registry.carol.ask("DELETE", path)
    assert counted.status in (403, 409), counted
    assert secret["name"] not in counted.json["error"]
