"""The daemons under attack, and what must be true of them after every attack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.attacks.crowd import Crowd, gather
from tests.sandboxes.local.fixtures import local, new_box  # noqa: F401
from tests.support import site as sites_
from tests.support.daemon import Daemon
from tests.support.doors import open_host
from tests.support.package_site import PackageSite, package_site
from tests.support.quarry import Quarry
from tests.support.sandboxes import Boxes
from tests.support.site import Run, Site

STRICT = {
    "WIT_SERVER_HEADER_SECONDS": "1",
    "WIT_SERVER_IDLE_SECONDS": "1",
    "WIT_SERVER_MAX_CONNECTIONS": "50",
    "WIT_SERVER_TRUSTED_PROXIES": "127.0.0.9/32",
    "WIT_SSH_LOGIN_SECONDS": "2",
    "WIT_SSH_IDLE_SECONDS": "2",
    "WIT_SSH_MAX_CONNECTIONS": "40",
    "WIT_REPOSITORIES_MAX_PUSH_BYTES": "1000000",
    "WIT_REPOSITORIES_MAX_FILE_BYTES": "200000",
    "WIT_GIT_HOOK_SECONDS": "1",
    "WIT_GIT_FETCH_SECONDS": "2.5",
    "WIT_GIT_NEGOTIATION_BYTES": "1000000",
}
"""Limits so small that a test can wait for them."""


@pytest.fixture(scope="session")
def strict_site(
    run: Run,
    plain_git_environment: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site-strict")
    daemon = Daemon(folder / "data", environment=STRICT)
    with contextmanager(sites_.open_site)(daemon, folder, run) as site:
        yield site


@pytest.fixture
def site(sites: Callable[[str], Site]) -> Iterator[Site]:
    """The shared daemon on SQLite; most attacks never come near the database."""
    yield from _attacked(sites("sqlite"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def each_site(request: pytest.FixtureRequest, sites: Callable[[str], Site]) -> Iterator[Site]:
    """The shared daemon on each engine, where the database has a part in it."""
    yield from _attacked(sites(request.param))


@pytest.fixture(scope="session")
def sandbox_site(
    run: Run, plain_git_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A daemon on which sandboxes are made: their processes are its children."""
    folder = tmp_path_factory.mktemp("site-sandboxes")
    environment = {
        "WIT_LIMITS_STANDARD": "0",
        "WIT_SANDBOXES_MAX_PER_USER": "100",
        "WIT_TERMINALS_MAX_PER_USER": "100",
        "WIT_TERMINALS_CHECK_SECONDS": "1",
    }
    daemon = Daemon(folder / "data", environment=environment)
    with contextmanager(sites_.open_site)(daemon, folder, run) as site:
        yield site


@pytest.fixture(scope="session")
def hosts(
    run: Run, plain_git_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Boxes]]:
    """The daemons whose sandboxes are walled in by each of HOSTS, started by who wants them first."""
    started: dict[str, Boxes] = {}
    with ExitStack() as stack:

        def host(name: str) -> Boxes:
            if name not in started:
                folder = tmp_path_factory.mktemp(f"host-{name}")
                started[name] = stack.enter_context(open_host(name, run, folder))
            return started[name]

        yield host


@pytest.fixture(scope="session", params=["local", "docker"])
def terminal_site(request: pytest.FixtureRequest) -> Site:
    """One on which sandboxes are made on this machine, and one with a container engine."""
    if request.param == "docker":
        boxes: Boxes = request.getfixturevalue("hosts")("docker")
        return boxes.site
    site: Site = request.getfixturevalue("sandbox_site")
    return site


@pytest.fixture
def strict(strict_site: Site) -> Iterator[Site]:
    """A daemon with small limits (STRICT)."""
    yield from _attacked(strict_site)


@pytest.fixture(scope="session")
def crowd(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """A daemon without rate limits, and people with every kind of rights and credentials."""
    with contextmanager(gather)(run, tmp_path_factory.mktemp("crowd")) as found:
        yield found


def _attacked(site: Site) -> Iterator[Site]:
    yield site
    Quarry(site.daemon).check()


@pytest.fixture(scope="session")
def registry(
    run: Run, plain_git_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PackageSite]:
    """A daemon with an npm registry of small limits."""
    with package_site(run, tmp_path_factory.mktemp("registry")) as found:
        yield found
