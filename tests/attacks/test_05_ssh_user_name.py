"""The key decides who somebody is; the user name may only agree."""

from __future__ import annotations

import pytest

from tests.support.site import Person, Site
from tests.support.wire import push_history, ssh

pytestmark = pytest.mark.attack(5)


def greeting(site: Site, person: Person, user: str) -> tuple[int, str]:
    client = ssh(site.daemon, person, "", "-T", user=user)
    out, err = client.communicate(b"", timeout=20)
    return client.returncode, (out + err).decode()


@pytest.mark.parametrize("user", ["git", "bob", "BOB"])
def test_git_or_ones_own_name_will_do(site: Site, user: str) -> None:
    status, said = greeting(site, site.bob, user)
    assert status == 0 and "bob" in said


@pytest.mark.parametrize(
    "user",
    ["alice", "root", "admin", "bob ", "git\n", "-bob", "b\xf6b", "sandbox:", "sandbox:../x"],
)
def test_any_other_name_is_refused(site: Site, user: str) -> None:
    status, said = greeting(site, site.bob, user)
    assert status == 255 and "alice" not in said.replace("alice@", ""), said
    assert "successfully" not in said


def test_alices_name_gives_bob_none_of_her_rights(site: Site, new_name: str) -> None:
    push_history(site.daemon, site.alice, new_name)
    for user in ("alice", "git", "bob"):
        client = ssh(site.daemon, site.bob, f"git-upload-pack '{new_name}'", user=user)
        out, err = client.communicate(b"", timeout=20)
        assert client.returncode != 0 and b"refs/heads" not in out, (user, out, err)
