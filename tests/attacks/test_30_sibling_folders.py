"""What lies beside the folder of repositories is out of reach, however the path is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon import git
from tests.support.site import Site
from tests.support.wire import ask, sign_in, ssh

pytestmark = pytest.mark.attack(30)


@pytest.fixture
def sibling(site: Site) -> Path:
    """A repository in ``repos-evil`` beside ``repos``, and one directly beside it."""
    data = site.daemon.data_dir
    for path in (data / "repos-evil" / "x.git", data / "repos-evil.git", data / "evil" / "x.git"):
        if not path.exists():
            git("init", "-q", "--bare", str(path))
    return data / "repos-evil"


PATHS = [
    "../repos-evil/x", "../repos-evil/x.git", "/../repos-evil/x", "..%2frepos-evil/x",
    "%2e%2e/repos-evil/x", "%2e%2e%2frepos-evil%2fx", "alice/../../repos-evil/x",
    "alice/..%2f..%2frepos-evil%2fx", "-evil/x", "../repos-evil", "repos-evil/x", "./../evil/x",
    "../evil/x", "..", "../..", ".wit/pushes", ".wit/hooks", ".wit/new", ".wit%2fnew/x",
    "alice/../.wit", "//repos-evil/x", "alice//x", "{data}/repos-evil/x", "/{data}/repos-evil/x",
    "file:%2f%2f{data}/repos-evil/x", "~root/x", "~/x",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_over_http_and_ssh(site: Site, sibling: Path, path: str) -> None:
    path = path.replace("{data}", str(site.daemon.data_dir).lstrip("/"))
    for service in ("git-upload-pack", "git-receive-pack"):
        for suffix in ("", ".git"):
            target = f"/{path}{suffix}/info/refs?service={service}"
            answer = ask(site.daemon, "GET", target, sign_in(site.alice))
            assert answer.status == 404, (target, answer)
        client = ssh(site.daemon, site.alice, f"{service} '{path.replace('%2f', '/')}'")
        out, err = client.communicate(b"", timeout=20)
        reason = b"no options" if path.startswith("-") else b"not found"
        assert client.returncode == 128 and reason in out + err, (path, out, err)
        assert str(site.daemon.data_dir).encode() not in out + err
    assert sorted(entry.name for entry in sibling.iterdir()) == ["x.git"]


def test_a_link_out_of_the_folder_is_not_registered(site: Site, sibling: Path) -> None:
    """Neither a linked owner nor a linked repository, and nothing of what they lead to."""
    repos = site.daemon.data_dir / "repos"
    links = {repos / "evil": sibling, repos / "bob" / "evil.git": sibling / "x.git"}
    (repos / "bob").mkdir(exist_ok=True)
    for link, target in links.items():
        link.symlink_to(target)
    try:
        site.daemon.wit("sync", check=False)
        for name in ("evil/x", "bob/evil"):
            target_ = f"/{name}/info/refs?service=git-upload-pack"
            assert ask(site.daemon, "GET", target_, sign_in(site.alice)).status == 404
    finally:
        for link in links:
            link.unlink()
