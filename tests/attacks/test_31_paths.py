"""Every spelling of a path goes through one normaliser: the repository, or nothing."""

from __future__ import annotations

from functools import partial

import pytest

from tests.support.site import Site
from tests.support.wire import ask, shared_repository, sign_in, ssh
from wit.core import Core
from wit.errors import Invalid
from wit.git.names import RepoName

pytestmark = pytest.mark.attack(31)

FOUND = ["{}", "{}.git", "{}.wit", "{%}", "{}%2egit"]
MISSING = [
    "{}.git.git", "{}.wit.git", "{}.git.wit", "{}.GIT", "{}.Git", "{}.git/", "{}/.git", "{}./",
    "{}.", "{} ", "{}%20", "{}%00", "{}%00.git", "{}\x7f", "{}%0a", "{}%0d%0aX:%20y", "{}.lock",
    "%2e%2e/{}", "..%5c{}", "..%255c{}", "%252e%252e/{}", "./{}", "{}/..", "{}/../..", "{}/.",
    "alice%5cr1", "alice%2fr1", "alice%2Fr1/x", "%c0%ae%c0%ae/x", "%ff%fe/x", "alice/%ff",
    "alice/%c3", "alice/%ed%a0%80", "alice/%u002e", "alice/%", "alice/%2", "alice/%zz", "{};x=y",
    "{}:80", "alice/" + "x" * 101, "alice/" + "x" * 9000, "x" * 40 + "/r", "a" * 300 + "/b", "alice",
    "alice/", "/", "//", "", ".git/config", "alice/.git", "alice/..git", "alice/.wit", "alice/.x",
    "a b/c", "alice/a b", "alice/a+b", "alice/a%2bb", "alice/é", "alice/%C3%A9", "alice/r\u2025x",
    "alice/%EF%BC%8E%EF%BC%8E", "con/aux", "alice/nul", "api/x", "repos/x", "health/x", ".wit/x",
    "git/x", "alice/r1/x/y", "*/*", "alice/*", "alice/?", "alice/[a-z]", "@/x", "alice/@{u}",
]  # fmt: skip


async def _create(name: RepoName, core: Core) -> None:
    await core.repos.create(name)


def spelled(pattern: str, name: str) -> bytes:
    """The pattern with the name in it; ``{%}``: percent-encoded throughout."""
    owner, _, repo = name.partition("/")
    encoded = "/".join("".join(f"%{ord(c):02x}" for c in part) for part in (owner, repo))
    return pattern.replace("{%}", encoded).replace("{}", name).encode()


@pytest.mark.parametrize("pattern", FOUND)
def test_spellings_of_one_repository(site: Site, pattern: str) -> None:
    name, commit = shared_repository(site)
    target = b"/" + spelled(pattern, name) + b"/info/refs?service=git-upload-pack"
    answer = ask(site.daemon, "GET", target, sign_in(site.alice))
    assert answer.status == 200 and commit.encode() in answer.body
    assert ask(site.daemon, "GET", target, sign_in(site.bob)).status == 404


@pytest.mark.parametrize("pattern", MISSING, ids=lambda pattern: repr(pattern)[:40])
def test_spellings_of_nothing(site: Site, pattern: str) -> None:
    name, _ = shared_repository(site)
    before = {path.name for path in (site.daemon.data_dir / "repos").iterdir()}
    path = spelled(pattern, name)
    for service in (b"git-upload-pack", b"git-receive-pack"):
        answer = ask(
            site.daemon, "GET", b"/" + path + b"/info/refs?service=" + service, sign_in(site.alice)
        )
        if path in (b"alice/nul",) and service == b"git-receive-pack":
            continue  # an ordinary name: alice may make it
        assert answer.status in (400, 404), (path, answer)
        assert b"Traceback" not in answer.body and b"internal error" not in answer.body
        assert str(site.daemon.data_dir).encode() not in answer.body
    assert {path.name for path in (site.daemon.data_dir / "repos").iterdir()} == before


@pytest.mark.parametrize(
    "path",
    ["{}.git.git", "{}.GIT", "../{}", "{}/..", "~/{}", "./{}", "{}\\", "..\\{}", "{}\x01", "{} ",
     "alice/" + "x" * 300, "alice/é", "%61lice/r1", "{}.git/objects", "{}/.", "//{}", ".wit/new"],
)  # fmt: skip
def test_spellings_of_nothing_over_ssh(site: Site, path: str) -> None:
    name, commit = shared_repository(site)
    client = ssh(site.daemon, site.alice, f"git-upload-pack '{path.replace('{}', name)}'")
    out, err = client.communicate(b"", timeout=20)
    assert client.returncode == 128 and b"not found" in out + err, (path, out, err)
    assert commit.encode() not in out


@pytest.mark.parametrize("path", ["{}", "/{}", "{}.git", "/{}.wit", "{}/", "/{}.git/"])
def test_spellings_of_one_repository_over_ssh(site: Site, path: str) -> None:
    name, commit = shared_repository(site)
    client = ssh(site.daemon, site.alice, f"git-upload-pack '{path.replace('{}', name)}'")
    out, _ = client.communicate(b"0000", timeout=20)
    assert client.returncode == 0 and commit.encode() in out


def test_two_endings_cannot_name_two_repositories(site: Site) -> None:
    """``x.wit`` and ``x.git`` cannot be made, so that nobody can stand before ``x``."""
    name, commit = shared_repository(site)
    owner, _, repo = name.partition("/")
    for ending in (".wit", ".git", ".lock", ".WIT", ".git.git"):
        taken = RepoName(owner, repo + ending)
        with pytest.raises(Invalid):
            site.do(partial(_create, taken))
    done = site.daemon.wit("repo", "create", f"{name}.wit", check=False)
    assert done.returncode != 0 and "already" in done.stderr  # the ending was dropped
    target = f"/{name}.wit/info/refs?service=git-upload-pack"
    assert commit.encode() in ask(site.daemon, "GET", target, sign_in(site.alice)).body
