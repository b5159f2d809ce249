"""Fixtures that every test may use: a running reactor, and an empty database on each engine."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from wit.runtime import Runtime

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, Any]], Any]

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
    (home / "gitconfig").write_text("[init]\n\tdefaultBranch = main\n[protocol \"file\"]\n\tallow = always\n")
