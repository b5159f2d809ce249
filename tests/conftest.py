"""Fixtures that every test may use: a running reactor, and an empty database on each engine."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.support import site as sites_
from tests.support.daemon import Daemon
from tests.support.postgres import PostgresServer
from tests.support.site import Site
from wit.config import Database as DatabaseSettings
from wit.db import migrate
from wit.db.open import make_database
from wit.db.port import Database
from wit.metrics import Metrics
from wit.runtime import Runtime

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, Any]], Any]

# How long one example takes says nothing on a machine that does other work. The examples are the same
# in every run, so that a red run means that something changed; WIT_TEST_EXAMPLES searches further.
settings.register_profile(
    "wit",
    deadline=None,
    derandomize="WIT_TEST_EXAMPLES" not in os.environ,
    max_examples=int(os.environ.get("WIT_TEST_EXAMPLES", "100")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("wit")

TEST_SECONDS = 60.0
_reactor: Any = reactor


@pytest.fixture(scope="session", autouse=True)
def reactor_thread() -> Iterator[None]:
    """The reactor runs in a thread for the whole session; tests talk to it through ``run``."""
    thread = threading.Thread(
        target=_reactor.run, kwargs={"installSignalHandlers": False}, daemon=True
    )
    started = threading.Event()
    _reactor.callWhenRunning(started.set)
    thread.start()
    assert started.wait(10)
    yield
    _reactor.callFromThread(_reactor.stop)
    thread.join(10)


@pytest.fixture(scope="session")
def run(reactor_thread: None) -> Run:
    """``run(coroutine)``: execute it on the reactor, give its result or raise its exception."""

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        results: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def start() -> None:
            work = Deferred.fromCoroutine(coroutine)
            work.addTimeout(TEST_SECONDS, _reactor)
            work.addBoth(results.put)

        _reactor.callFromThread(start)
        result = results.get(timeout=TEST_SECONDS + 10)
        if isinstance(result, Failure):
            result.raiseException()
        return result  # type: ignore[no-any-return]

    return run


@pytest.fixture
def runtime() -> Runtime:
    return Runtime(_reactor)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole session, started by the first test that wants one."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file to copy from."""
    folder = tmp_path_factory.mktemp("sqlite")
    migrate.upgrade(f"sqlite:///{folder}/wit.db", folder)
    return folder / "wit.db"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a migrated, empty database on each engine; nobody is connected to it."""
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("database") / "wit.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.new_database()
        yield url
        server.drop_database(url)


DATABASE_SETTINGS = DatabaseSettings(pool_min=1, pool_max=8, readers=2)


@pytest.fixture
def database(database_url: str, run: Run, runtime: Runtime) -> Iterator[Database]:
    """An open, migrated, empty database; the test runs once on each engine."""
    database = make_database(DATABASE_SETTINGS, database_url, runtime, Metrics())
    run(database.open())
    yield database
    run(database.close())


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell starts background jobs with SIGINT ignored, and programs inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def plain_git_environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    """git in tests reads no configuration of the person who runs them."""
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        del os.environ[name]
    os.environ.update(
        HOME=str(home),
        GIT_CONFIG_NOSYSTEM="1",
        GIT_CONFIG_GLOBAL=str(Path(home) / "gitconfig"),
        GIT_AUTHOR_NAME="Test",
        GIT_AUTHOR_EMAIL="test@example.org",
        GIT_COMMITTER_NAME="Test",
        GIT_COMMITTER_EMAIL="test@example.org",
        GIT_TERMINAL_PROMPT="0",
    )
    (home / "gitconfig").write_text(
        '[init]\n\tdefaultBranch = main\n[protocol "file"]\n\tallow = always\n'
    )


@pytest.fixture(scope="session")
def sites(
    request: pytest.FixtureRequest,
    run: Run,
    plain_git_environment: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Site]]:
    """The session's daemon on each engine, started by the first test that wants it."""
    started: dict[str, Site] = {}
    with ExitStack() as stack:

        def site_on(engine: str) -> Site:
            if engine not in started:
                folder = tmp_path_factory.mktemp(f"site-{engine}")
                url = ""
                if engine == "postgresql":
                    url = request.getfixturevalue("postgres_server").new_database()
                daemon = Daemon(folder / "data", database_url=url)
                opened = contextmanager(sites_.open_site)
                started[engine] = stack.enter_context(opened(daemon, folder, run))
            return started[engine]

        yield site_on


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def site(request: pytest.FixtureRequest, sites: Callable[[str], Site]) -> Site:
    """The shared daemon; the test runs once on each engine."""
    return sites(request.param)


@pytest.fixture
def new_name() -> str:
    """A repository name of alice's that nobody has used."""
    return sites_.new_name()
