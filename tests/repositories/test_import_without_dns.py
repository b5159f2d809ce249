"""DNS is down: an import says so, and leaves nothing. (The only other host that the daemon looks up
is that of its database: tests/db/test_postgres.py.)"""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.repositories.world import World
from tests.support.daemon import git
from tests.support.site import Site, make_work, new_name
from wit import addresses
from wit.errors import Invalid, WitError
from wit.git.names import RepoName

pytestmark = pytest.mark.attack(70)

NOWHERE = "no-such-host.invalid"
"""RFC 6761, section 6.4: this name is never there."""


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A resolver that does not answer until the test is over."""
    over = threading.Event()

    def getaddrinfo(*words: Any, **options: Any) -> Any:
        over.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(addresses, "RESOLVE_SECONDS", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield over
    over.set()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_users_import(world: World, run: Any, scheme: str) -> None:
    """wit looks the name up itself, and sends git only to what it found."""
    name = RepoName("ada", "copy")
    with pytest.raises(Invalid, match=f"the host {NOWHERE} cannot be found"):
        run(world.manager.import_(name, f"{scheme}://{NOWHERE}/x.git"))
    nothing_is_there(world, run, name)


def test_a_resolver_that_does_not_answer(world: World, run: Any, blocked: threading.Event) -> None:
    name = RepoName("ada", "copy")
    with pytest.raises(Invalid, match="cannot be found"):
        run(world.manager.import_(name, "https://example.org/x.git"))
    nothing_is_there(world, run, name)


@pytest.mark.parametrize("scheme", ["http", "https", "git", "ssh"])
def test_an_operators_import(world: World, run: Any, scheme: str) -> None:
    """git looks the name up."""
    name = RepoName("ada", "copy")
    with pytest.raises(WitError, match=r"the source cannot be read: .*") as refused:
        run(world.manager.import_(name, f"{scheme}://{NOWHERE}/x.git", allow_local=True))
    assert NOWHERE in refused.value.message
    nothing_is_there(world, run, name)


def nothing_is_there(world: World, run: Any, name: RepoName) -> None:
    assert not run(world.manager.exists(name))
    assert world.on_disk() == set()


def test_on_the_command_line(site: Site, tmp_path: Path) -> None:
    """One sentence and status 1; the name is free for the next try, and the daemon goes on."""
    name = new_name()
    done = site.daemon.wit("repo", "import", name, f"https://{NOWHERE}/x.git", check=False)
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert "Could not resolve host" in said and NOWHERE in said
    assert "Traceback" not in done.stderr
    own = site.daemon.data_dir / "repos" / ".wit"
    assert not [*own.glob("new/*"), *own.glob("moves/*"), *own.glob("trash/*")]
    assert not site.disk(name).exists()
    assert name not in site.daemon.wit("repo", "list").stdout
    assert site.daemon.get("readyz")[0] == 200
    work = make_work(tmp_path / "work")
    site.daemon.wit("repo", "import", name, str(work))
    head = git("rev-parse", "HEAD", cwd=work).stdout
    assert git("-C", str(site.disk(name)), "rev-parse", "main").stdout == head
    shutil.rmtree(work)
