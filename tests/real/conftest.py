"""One daemon per database engine for the whole session, its users, and ways in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.support.daemon import PASSWORD, Daemon, commit, git

_numbers = itertools.count(1)


@attrs.frozen
class Person:
    name: str
    token: str
    key: Path
    password: str = PASSWORD


@attrs.frozen
class Site:
    """The daemon and the people on it."""

    daemon: Daemon
    alice: Person
    """Owner of what the tests make."""
    bob: Person
    """A user without any rights."""


@attrs.frozen
class Door:
    """One way for git: a protocol, a version of it, and a person."""

    site: Site
    kind: str
    version: int
    person: Person | None

    def url(self, name: str) -> str:
        if self.kind == "ssh":
            return self.site.daemon.ssh_url(name)
        if self.person is None:
            return self.site.daemon.url(name)
        return self.site.daemon.url(name, self.person.name, self.person.token)

    @property
    def environment(self) -> dict[str, str]:
        if self.kind == "http":
            return {}
        assert self.person is not None
        return self.site.daemon.ssh_environment(self.person.key)

    def git(self, *arguments: str, cwd: Path | None = None, check: bool = True):  # type: ignore[no-untyped-def]
        """git with this protocol version and these credentials."""
        return git(
            "-c", f"protocol.version={self.version}", *arguments, cwd=cwd, env=self.environment,
            check=check,
        )

    def as_(self, person: Person | None) -> Door:
        return attrs.evolve(self, person=person)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp(f"site-{request.param}")
    url = ""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").new_database()
    daemon = Daemon(folder / "data", database_url=url).start()
    try:
        people = [
            Person(name, daemon.user(name, admin=name == "alice"), daemon.key(name, folder))
            for name in ("alice", "bob")
        ]
        yield Site(daemon, *people)
    finally:
        assert daemon.stop() == 0, daemon.log()


@pytest.fixture(params=["http", "ssh"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[0, 1, 2], ids=["v0", "v1", "v2"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def door(site: Site, kind: str, version: int) -> Door:
    """Every protocol and version, as alice."""
    return Door(site, kind, version, site.alice)


@pytest.fixture
def door_v2(site: Site, kind: str) -> Door:
    """Both protocols, version 2, as alice."""
    return Door(site, kind, 2, site.alice)


@pytest.fixture
def new_name() -> str:
    """A repository name of alice's that nobody has used."""
    return f"alice/r{next(_numbers)}"


@pytest.fixture
def repo(site: Site, new_name: str) -> str:
    """An empty private repository of alice's."""
    site.daemon.wit("repo", "create", new_name, "--private")
    return new_name


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working copy with three commits, a branch and two tags."""
    folder = tmp_path / "work"
    git("init", "-q", str(folder))
    commit(folder, "one")
    commit(folder, "dir/two")
    git("tag", "light", cwd=folder)
    git("branch", "side", cwd=folder)
    commit(folder, "three")
    git("tag", "-a", "-m", "annotated", "v1.0", cwd=folder)
    return folder


def refs(folder: Path | str) -> dict[str, str]:
    """Refs of a repository on this machine: name to id."""
    listed = git("-C", str(folder), "for-each-ref", "--format=%(refname) %(objectname)").stdout
    return dict(line.split() for line in listed.splitlines())
