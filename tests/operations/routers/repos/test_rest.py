"""The REST routes that are renamings of procedures, against a running daemon."""

from __future__ import annotations

import json
from typing import Any

from tests.support.site import Person, Site, new_name


def ask(
    site: Site, person: Person | None, method: str, path: str, body: Any = None
) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"}
    if person is not None:
        headers["Authorization"] = f"Bearer {person.token}"
    data = None if body is None else json.dumps(body).encode()
    status, _, answer = site.daemon.get(f"api/repos{path}", headers, method, data)
    return status, json.loads(answer)


def test_the_life_of_a_repository(site: Site) -> None:
    token = site.daemon.token("alice", "repo:read,repo:write,repo:admin")
    alice = Person("alice", token, site.alice.key)
    full_name = new_name()
    name = full_name.partition("/")[2]
    status, made = ask(site, alice, "POST", "", {"name": name, "isPrivate": True})
    assert status == 201 and made["isPrivate"] and made["createdAt"].endswith("Z")
    status, found = ask(site, alice, "GET", f"/{full_name}")
    assert status == 200 and found["repo"] == made and found["owner"]["username"] == "alice"
    status, listed = ask(site, alice, "GET", "/alice?limit=1")
    assert status == 200 and listed == [made]
    assert ask(site, None, "GET", f"/{full_name}")[0] == 401
    assert ask(site, site.bob, "GET", f"/{full_name}")[0] == 404
    assert ask(site, site.bob, "GET", "/nobody") == (200, [])
    changes = {"description": "by path", "isPrivate": False, "name": f"{name}-new"}
    status, changed = ask(site, alice, "PATCH", f"/{full_name}", changes)
    assert status == 200 and changed["name"] == f"{name}-new"
    place = f"/alice/{name}-new"
    assert ask(site, site.bob, "GET", place)[1]["repo"]["description"] == "by path"
    assert ask(site, site.bob, "DELETE", place)[0] == 403
    assert ask(site, alice, "POST", f"{place}/transfer", {"newOwner": "bob"})[0] == 400
    to_bob = {"newOwner": "bob", "newOwnerType": "user"}
    assert ask(site, site.bob, "POST", f"{place}/transfer", to_bob)[0] == 403
    status, moved = ask(site, alice, "POST", f"{place}/transfer", to_bob)
    assert status == 200 and (moved["previousOwner"], moved["newOwner"]) == ("alice", "bob")
    bob = Person("bob", site.daemon.token("bob", "repo:admin"), site.bob.key)
    assert ask(site, bob, "DELETE", f"/bob/{name}-new") == (200, {"success": True})
    assert ask(site, bob, "GET", f"/bob/{name}-new")[0] == 404
