"""A git server for tests: `UploadPack` behind git:// (sessions) and plain HTTP (requests)."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.git.git_daemon import GitDaemonProtocol
from wit.config import Config
from wit.config import Git as GitConfig
from wit.git.advertise import service_header
from wit.git.command import Git, protocol_version
from wit.git.governor import Governor
from wit.git.pack_cache import PackCache
from wit.git.pktline import encode
from wit.git.refs import RefReader
from wit.git.repository import BareRepository, open_bare
from wit.git.upload_pack import UploadPack
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.streams import ByteSink, ByteSource, BytesSink, BytesSource, ConsumerSink, StreamClosed


def git(
    *args: str | Path,
    cwd: str | Path | None = None,
    code: int = 0,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run the real git; its output. Fails the test if it does not end with ``code``."""
    done = subprocess.run(
        ["git", *map(str, args)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, f"git {args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip() if code == 0 else done.stderr


def make_repository(path: Path, object_format: str = "sha1", commits: int = 6) -> Path:
    """A bare repository with some history, a merged branch, an annotated tag and big files."""
    work = path.with_suffix(".work")
    git("init", "-q", f"--object-format={object_format}", "-b", "main", work)
    for number in range(commits):
        (work / "dir").mkdir(exist_ok=True)
        (work / "dir" / f"file{number}").write_text(f"content {number}\n" * 50)
        (work / "changing").write_text(f"version {number}\n")
        git("add", ".", cwd=work)
        git("commit", "-qm", f"commit {number}", cwd=work)
    (work / "random").write_bytes(os.urandom(300_000))
    git("add", ".", cwd=work)
    git("commit", "-qm", "a large file", cwd=work)
    git("tag", "-am", "one", "v1", "HEAD~2", cwd=work)
    git("branch", "side", "HEAD~3", cwd=work)
    git("clone", "-q", "--bare", work, path)
    return path


@attrs.define
class Served:
    """A running test server and what is behind it."""

    upload_pack: UploadPack
    governor: Governor
    cache: PackCache
    metrics: Metrics
    root: Path
    ports: list[Any] = attrs.field(factory=list)
    errors: list[BaseException] = attrs.field(factory=list)

    def repo(self, name: str) -> BareRepository:
        return open_bare(name, str(self.root / name))

    async def converse(self, name: str, protocol: int, source: ByteSource, sink: ByteSink) -> None:
        await self.upload_pack.serve_session(self.repo(name), protocol, source, sink, "tester")

    def note(self, failure: Failure | None) -> None:
        """Remember what a door would log; a client that left is nothing to log."""
        error = None if failure is None else failure.value
        if error is not None and not isinstance(error, CancelledError | StreamClosed):
            self.errors.append(error)

    def url(self, scheme: str, name: str) -> str:
        port = self.ports[0 if scheme == "git" else 1].getHost().port
        return f"{scheme}://127.0.0.1:{port}/{name}"


@contextmanager
def serving(
    repository: Path, runtime: Runtime, run: Any, root: Path | None = None, **settings: Any
) -> Iterator[Served]:
    """A server for the repositories beside this one, or for ``root``."""
    served = make_served(root or repository.parent, runtime, **settings)
    run(start(served, runtime))
    yield served
    run(stop(served))


def make_served(root: Path, runtime: Runtime, **settings: Any) -> Served:
    metrics = Metrics()
    config = Config(root / "data", git=GitConfig(**settings))
    governor = Governor(config.git, runtime, metrics)
    cache = PackCache(
        root / "cache",
        config.git.pack_cache_bytes,
        config.git.pack_cache_seconds,
        runtime,
        metrics,
    )
    upload_pack = UploadPack(
        config,
        Git.find(config.git.binary),
        runtime,
        refs=RefReader(runtime, config.repositories.hidden_refs),
        governor=governor,
        cache=cache,
    )
    return Served(upload_pack, governor, cache, metrics, root)


async def start(served: Served, runtime: Runtime) -> None:
    await served.cache.start()
    factory = Factory.forProtocol(lambda: GitDaemonProtocol(served.converse, served.note))  # type: ignore[arg-type]
    served.ports.append(runtime.reactor.listenTCP(0, factory, interface="127.0.0.1"))
    site = Site(SmartHttp(served))
    served.ports.append(runtime.reactor.listenTCP(0, site, interface="127.0.0.1"))


async def stop(served: Served) -> None:
    for port in served.ports:
        await port.stopListening()
    served.governor.close()
    await served.cache.stop()
    await served.governor.idle()


class SmartHttp(Resource):
    """gitprotocol-http(5), as little of it as git needs."""

    isLeaf = True

    def __init__(self, served: Served) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._served = served

    def render(self, request: Any) -> Any:
        name, _, rest = request.path.decode().removeprefix("/").partition(".git/")
        work = Deferred.fromCoroutine(self._serve(request, f"{name}.git", rest))
        work.addErrback(lambda failure: self._failed(request, failure))
        request.notifyFinish().addErrback(lambda _: work.cancel())
        return NOT_DONE_YET

    def _failed(self, request: Any, failure: Failure) -> None:
        self._served.note(failure)
        if request.channel is not None:
            request.loseConnection()

    async def _serve(self, request: Any, name: str, rest: str) -> None:
        repo = self._served.repo(name)
        protocol = protocol_version(request.getHeader("git-protocol") or "")
        sink = ConsumerSink(request)
        kind = "advertisement" if rest == "info/refs" else "result"
        request.setHeader("content-type", f"application/x-git-upload-pack-{kind}")
        if rest == "info/refs":
            if protocol < 2:
                await sink.write(service_header("git-upload-pack"))
            await self._served.upload_pack.advertise(repo, protocol, sink)
        else:
            body = request.content.read()
            if request.getHeader("content-encoding") == "gzip":
                body = gzip.decompress(body)
            await self._served.upload_pack.serve_request(
                repo, protocol, BytesSource(body), sink, "tester"
            )
        sink.detach()
        request.finish()


def line(text: str) -> bytes:
    return encode(text.encode() + b"\n")


def clone_request(repository: Path, *arguments: str, agent: str = "test") -> bytes:
    tip = git("rev-parse", "main", cwd=repository)
    name = "sha256" if len(tip) == 64 else "sha1"
    head = [f"agent={agent}", f"object-format={name}", f"session-id={agent}"]
    lines = ["ofs-delta", *arguments, f"want {tip}", "done"]
    return (
        line("command=fetch")
        + b"".join(map(line, head))
        + b"0001"
        + b"".join(map(line, lines))
        + b"0000"
    )


def ask(served: Served, run: Any, body: bytes, protocol: int = 2, name: str = "a.git") -> bytes:
    sink = BytesSink()
    repo = served.repo(name)
    run(served.upload_pack.serve_request(repo, protocol, BytesSource(body), sink, "tester"))
    return sink.value()
