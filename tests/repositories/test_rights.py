from __future__ import annotations

import pytest

from tests.repositories.world import World, name
from wit.errors import Conflict, Invalid, NotFound
from wit.repositories.rights import Protection


def test_collaborators(world: World, run) -> None:
    repo = run(world.manager.create(name("Ada/x")))["id"]
    rights = world.rights
    for permission in ("read", "admin", "write"):
        run(rights.set_collaborator(repo, "BOB", permission))
        (row,) = run(rights.collaborators(repo))
        assert (row["id"], row["username"]) == (world.ids["bob"], "bob")
        assert row["permission"] == permission
    with pytest.raises(Invalid):
        run(rights.set_collaborator(repo, "bob", "owner"))
    with pytest.raises(NotFound, match="'nobody'"):
        run(rights.set_collaborator(repo, "nobody", "read"))
    with pytest.raises(NotFound):
        run(rights.set_collaborator("gone", "bob", "read"))
    with pytest.raises(Conflict, match="owner"):
        run(rights.set_collaborator(repo, "ada", "read"))
    run(rights.remove_collaborator(repo, "Bob"))
    assert run(rights.collaborators(repo)) == []
    for username in ("bob", "nobody"):
        with pytest.raises(NotFound):
            run(rights.remove_collaborator(repo, username))


def test_protection_rules(world: World, run) -> None:
    repo = run(world.manager.create(name("Ada/x")))["id"]
    other = run(world.manager.create(name("Ada/y")))["id"]
    rights = world.rights
    run(rights.protect(repo, "main", Protection()))
    run(rights.protect(repo, "release/**", Protection(allow_deletion=True)))
    first, second = run(rights.rules(repo))
    assert (first["pattern"], first["require_pull_request"]) == ("main", False)
    assert (first["allow_force_push"], first["allow_deletion"]) == (False, False)
    assert first["allowed_pushers"] is None
    assert (second["pattern"], second["allow_deletion"]) == ("release/**", True)
    stricter = Protection(
        require_pull_request=True, allow_force_push=True, allowed_pushers=("Bob", "ada")
    )
    run(rights.protect(repo, "main", stricter))
    changed, _ = run(rights.rules(repo))
    assert changed["id"] == first["id"] and changed["created_at"] == first["created_at"]
    assert changed["require_pull_request"] and changed["allow_force_push"]
    assert changed["allowed_pushers"] == [world.ids["bob"], world.ids["Ada"]]
    run(rights.protect(repo, "main", Protection(allowed_pushers=())))
    assert run(rights.rules(repo))[0]["allowed_pushers"] == []
    assert run(rights.rules(other)) == []
    for pattern in ("", "-x", "a..b", "x" * 300):
        with pytest.raises(Invalid):
            run(rights.protect(repo, pattern, Protection()))
    with pytest.raises(NotFound, match="'nobody'"):
        run(rights.protect(repo, "main", Protection(allowed_pushers=("nobody",))))
    with pytest.raises(NotFound):
        run(rights.protect("gone", "main", Protection()))
    run(rights.unprotect(repo, "main"))
    assert [row["pattern"] for row in run(rights.rules(repo))] == ["release/**"]
    with pytest.raises(NotFound):
        run(rights.unprotect(repo, "main"))
