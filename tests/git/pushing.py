"""A git:// server for tests of pushes, and policies to give it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.git.git_daemon import GitDaemonProtocol
from wit.config import Config
from wit.git.command import Git
from wit.git.governor import Governor
from wit.git.push import Quarantine, RefUpdate, Verdict
from wit.git.receive_pack import ReceivePack
from wit.git.refs import RefReader
from wit.git.repository import BareRepository, open_bare
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.streams import ByteSink, ByteSource


@attrs.frozen
class Done:
    code: int
    out: str
    err: str


def git(*args: str | Path, cwd: str | Path | None = None, data: bytes = b"", **env: str) -> Done:
    """Run the real git, whatever comes of it."""
    done = subprocess.run(
        ["git", *map(str, args)],
        cwd=cwd,
        input=data,
        env={**os.environ, **env},
        capture_output=True,
        timeout=60,
    )
    return Done(
        done.returncode,
        done.stdout.decode("utf-8", "replace").strip(),
        done.stderr.decode("utf-8", "replace"),
    )


def ok(*args: str | Path, cwd: str | Path | None = None, data: bytes = b"", **env: str) -> str:
    """Run the real git, which must succeed; its output."""
    done = git(*args, cwd=cwd, data=data, **env)
    assert done.code == 0, f"git {args}: {done}"
    return done.out


def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
    return value


def work_tree(path: Path, object_format: str = "sha1") -> Path:
    """A work tree with one commit on main."""
    ok("init", "-q", f"--object-format={object_format}", "-b", "main", path)
    commit(path, "one")
    return path


def commit(work: Path, text: str, files: int = 1) -> str:
    for number in range(files):
        (work / f"file{number}").write_text(f"{text} {number}\n")
    ok("add", ".", cwd=work)
    ok("commit", "-qm", text, cwd=work)
    return ok("rev-parse", "HEAD", cwd=work)


@attrs.define(eq=False)
class PolicyPush:
    """A push whose policy is a plain function; it remembers what it was asked."""

    id: str
    policy: Callable[[list[RefUpdate], list[str]], Verdict] = lambda updates, options: Verdict({})
    before: Any = None
    """An async function that is awaited before the verdict."""
    actor_name: str = "ada"
    user_key: str = "ada"
    max_bytes: int | None = None
    quarantine: Quarantine | None = None
    updates: list[RefUpdate] = attrs.field(factory=list)
    options: list[str] = attrs.field(factory=list)
    ended: int = 0

    async def decide(
        self, quarantine: Quarantine, updates: list[RefUpdate], options: list[str]
    ) -> Verdict:
        self.quarantine, self.updates, self.options = quarantine, updates, options
        if self.before is not None:
            await self.before()
        return self.policy(updates, options)

    async def finished(self) -> None:
        self.ended += 1


class PushServer:
    """Serves pushes into the repositories below ``config.repos_dir`` over git://."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config = config
        self.runtime = runtime
        self.metrics = Metrics()
        self.git = Git.find()
        self.refs = RefReader(runtime, config.repositories.hidden_refs)
        self.governor = Governor(config.git, runtime, self.metrics)
        self.receive_pack = ReceivePack(
            config,
            self.git,
            runtime,
            refs=self.refs,
            governor=self.governor,
            metrics=self.metrics,
        )
        self.root = config.repos_dir
        self.pushes: list[Any] = []
        self.errors: list[BaseException] = []
        self.open = 0
        self.transports: list[Any] = []
        self.settings: dict[str, Any] = {}
        self.make_push: Callable[[BareRepository], Any] = self._policy_push
        self._port: Any = None

    def _policy_push(self, repo: BareRepository) -> PolicyPush:
        return PolicyPush(self.runtime.new_id(), **self.settings)

    def bare(self, name: str, object_format: str = "sha1") -> Path:
        path = self.root / name
        ok("init", "-q", "--bare", f"--object-format={object_format}", "-b", "main", path)
        return path

    def repo(self, name: str) -> BareRepository:
        return open_bare(name, str(self.root / name))

    def url(self, name: str) -> str:
        return f"git://127.0.0.1:{self._port.getHost().port}/{name}"

    async def start(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        factory = Factory.forProtocol(lambda: _Conversation(self))  # type: ignore[arg-type]
        self._port = self.runtime.reactor.listenTCP(0, factory, interface="127.0.0.1")

    async def stop(self) -> None:
        await self._port.stopListening()
        await self.governor.idle()

    async def converse(self, name: str, protocol: int, source: ByteSource, sink: ByteSink) -> None:
        repo = self.repo(name)
        push = self.make_push(repo)
        self.pushes.append(push)
        await self.receive_pack.serve_session(repo, protocol, source, sink, push)

    def hang_up(self) -> None:
        """Break the connection of the last client."""
        self.runtime.reactor.callFromThread(self.transports[-1].abortConnection)

    def idle(self) -> None:
        """Wait until nobody is served any more and every push is settled."""
        eventually(lambda: self.open == 0 and self.governor.running == 0)

    def leftovers(self, name: str) -> list[str]:
        """What pushes left on disk that they should not have."""
        found = [str(path) for path in (self.root / name).rglob("*.lock")]
        found += [str(path) for path in (self.root / name / "objects").glob("tmp_objdir*")]
        found += [str(path) for path in (self.root / ".wit" / "pushes").glob("*")]
        return [path for path in found if not path.endswith("wit-maintenance.lock")]


@implementer(IHalfCloseableProtocol)
class _Conversation(GitDaemonProtocol):
    """Goes on when the client has said all it has to say."""

    def __init__(self, server: PushServer) -> None:
        super().__init__(server.converse, self._over)
        self._server = server

    def connectionMade(self) -> None:
        super().connectionMade()
        self._server.open += 1
        self._server.transports.append(self.transport)

    def readConnectionLost(self) -> None:
        self._source.end()

    def writeConnectionLost(self) -> None:
        pass

    def _over(self, failure: Failure | None) -> None:
        if failure is not None:
            self._server.errors.append(failure.value or RuntimeError("unknown"))
        self._server.open -= 1


def in_background(*args: str | Path, cwd: Path) -> subprocess.Popen[bytes]:
    """A git that the test does not wait for."""
    return subprocess.Popen(
        ["git", *map(str, args)], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


class Gate:
    """Holds a policy up until the test opens it; usable from both threads."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.reached = threading.Event()
        self._open = Deferred[None]()

    async def wait(self) -> None:
        self.reached.set()
        await self._open

    def open(self) -> None:
        self._runtime.reactor.callFromThread(self._open.callback, None)
