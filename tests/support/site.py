"""One daemon per database engine for the whole session, the people on it, and their ways in."""

from __future__ import annotations

import io
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor

from tests.support.daemon import PASSWORD, Daemon, commit, git, make_key
from wit import config_sources
from wit.cli.grammar import make_parser
from wit.cli.main import handler
from wit.cli.session import Session, execute
from wit.core import Core
from wit.git.names import parse_full_name
from wit.runtime import Runtime

Run = Callable[[Any], Any]

_reactor: Any = reactor
_numbers = itertools.count(1)


@attrs.frozen
class Person:
    name: str
    token: str
    key: Path
    password: str = PASSWORD


@attrs.define
class Site:
    """The daemon and the people on it."""

    daemon: Daemon
    alice: Person
    """Owner of what the tests make."""
    bob: Person
    """A user without any rights."""
    run: Run
    _core: Core | None = None

    def do(self, work: Callable[[Core], Awaitable[Any]]) -> Any:
        """What a ``wit`` command does beside the daemon, without a new Python for each."""

        async def with_core() -> Any:
            if self._core is None:
                config = config_sources.load(
                    self.daemon.data_dir, {}, self.daemon.environment, write_default=False
                )
                self._core = Core(config, Runtime(_reactor))
                await self._core.open()
            return await work(self._core)

        return self.run(with_core())

    def wit(self, *words: str) -> None:
        """Run a ``wit`` command beside the daemon; in this process, which saves seconds."""
        arguments = make_parser("").parse_args(["--data-dir", str(self.daemon.data_dir), *words])
        loaded = config_sources.read(
            self.daemon.data_dir, {}, self.daemon.environment, write_default=False
        )
        said = io.StringIO()
        session = Session(loaded, Runtime(_reactor), io.StringIO(), said, said)
        status = self.run(execute(session, handler(arguments), arguments))
        assert status == 0, f"wit {words}: {said.getvalue()}"

    def create(self, name: str, *, private: bool = True, object_format: str = "sha1") -> str:
        """An empty repository."""
        full_name = parse_full_name(name)
        self.do(
            lambda core: core.repos.create(full_name, private=private, object_format=object_format)
        )
        return name

    def disk(self, name: str) -> Path:
        """The folder of a repository."""
        return self.daemon.data_dir / "repos" / f"{name}.git"

    def close(self) -> None:
        if self._core is not None:
            self.run(self._core.close())
            self._core = None


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
        )  # fmt: skip

    def as_(self, person: Person | None) -> Door:
        return attrs.evolve(self, person=person)


def open_site(daemon: Daemon, folder: Path, run: Run) -> Iterator[Site]:
    """Start ``daemon`` and give it two users; when told to go on, stop it, which must go well."""
    daemon.start()
    people = [Person(name, "", make_key(name, folder)) for name in ("alice", "bob")]
    site = Site(daemon, people[0], people[1], run)
    try:
        site.alice = site.do(lambda core: _enter(core, site.alice, "superadmin"))
        site.bob = site.do(lambda core: _enter(core, site.bob, "user"))
        yield site
    finally:
        site.close()
        status = daemon.stop()
    assert status == 0, daemon.log()


async def _enter(core: Core, person: Person, role: str) -> Person:
    """Make the person's account, with a token and the key: what ``wit`` would take seconds for."""
    user = await core.users.create(
        person.name, f"{person.name}@example.org", person.password, role, verified=True
    )
    _, token = await core.tokens.create(user["id"], "test", ["repo:read", "repo:write"])
    public_key = person.key.with_name(f"{person.key.name}.pub").read_text()
    await core.keys.add(user["id"], public_key, None)
    return attrs.evolve(person, token=token)


def new_name() -> str:
    """A repository name of alice's that nobody has used in this session."""
    return f"alice/r{next(_numbers)}"


def make_work(folder: Path) -> Path:
    """A working copy with three commits, a branch and two tags."""
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
