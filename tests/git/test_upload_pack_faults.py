"""What goes wrong in a fetch: malformed requests, a git that fails, clients that leave."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from tests.git.conftest import Children
from tests.git.fetching import Served, ask, clone_request, git, line, make_repository, serving
from wit.errors import Unavailable
from wit.git.fetch_request import Budget
from wit.git.pktline import encode
from wit.runtime import Runtime
from wit.streams import BytesSource

PROTOCOLS = [0, 1, 2]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: Any) -> Path:
    return make_repository(tmp_path_factory.mktemp("repos") / "a.git")


@pytest.fixture
def served(repository: Path, runtime: Runtime, run: Any) -> Iterator[Served]:
    with serving(repository, runtime, run) as served:
        yield served


@pytest.mark.attack(14, 16)
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"0003", "bad pkt-line length"),
        (b"zzzz", "bad pkt-line length"),
        (b"fff5", "bad pkt-line length"),
        (line("command=fetch"), "breaks off"),
        (line("command=object-info") + b"0000", "invalid command 'object-info'"),
        (line("command=bundle-uri") + b"0000", "invalid command"),
        (line("hello") + b"0000", "names no command"),
        (line("command=ls-refs") + b"0001" + line("what") + b"0000", "unexpected argument"),
        (line("command=fetch") + line("object-format=md5") + b"0000", "object format"),
        (line("command=fetch") + b"0001" + line("want main") + b"0000", "object"),
        (line("command=fetch") + b"0001" + line("have " + "g" * 40) + b"0000", "object"),
        (line("command=fetch") + b"0001" + line("have " + "1" * 40) * 200_000, "too large"),
    ],
)
def test_malformed_requests_are_told(served: Served, run: Any, body: bytes, words: str) -> None:
    answer = ask(served, run, body)
    assert answer[4:8] == b"ERR "
    assert words in answer.decode()
    assert int(answer[:4], 16) == len(answer)


def test_flushes_and_nothing_at_all_get_no_answer(served: Served, run: Any) -> None:
    for protocol in PROTOCOLS:
        for body in (b"", b"0000"):
            assert ask(served, run, body, protocol) == b""


def test_the_memory_of_all_requests_together_is_bounded(
    served: Served, run: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(served.upload_pack, "_budget", Budget(1000))
    body = line("command=fetch") + b"0001" + line("have " + "1" * 40) * 20
    assert b"busy with large requests" in ask(served, run, body)
    assert served.upload_pack._budget.left == 1000


FAKE = """#!/bin/sh
case "$*" in *stateless-rpc*) ;; *) exec {git} "$@";; esac
"""


@contextmanager
def served_by(
    script: str, repository: Path, tmp_path: Path, runtime: Runtime, run: Any, **settings: Any
) -> Iterator[Served]:
    """A server whose git upload-pack is ``script``."""
    fake = tmp_path / "git"
    fake.write_text(FAKE.replace("{git}", str(shutil.which("git"))) + script)
    fake.chmod(0o755)
    os.symlink(repository, tmp_path / "a.git")
    with serving(repository, runtime, run, tmp_path, binary=str(fake), **settings) as served:
        yield served


@pytest.mark.attack(25)
@pytest.mark.parametrize("haves", [False, True])
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 1", "could not answer this fetch: status 1"),
        ("kill -9 $$", "could not answer this fetch: status -9"),
        ('echo "fatal: $5 is broken" >&2; exit 128', "fetch: the repository is broken"),
    ],
)
def test_git_that_fails_is_told(
    repository: Path,
    tmp_path: Path,
    runtime: Runtime,
    run: Any,
    script: str,
    words: str,
    haves: bool,
) -> None:
    with served_by(script, repository, tmp_path, runtime, run) as served:
        have = [f"have {git('rev-parse', 'side', cwd=repository)}"] if haves else []
        answer = ask(served, run, clone_request(repository, *have))
        assert answer[4:8] == b"ERR " and words in answer.decode()
        assert str(tmp_path) not in answer.decode()


@pytest.mark.parametrize("haves", [False, True])
def test_git_that_dies_in_the_middle_breaks_the_answer_off(
    repository: Path, tmp_path: Path, runtime: Runtime, run: Any, haves: bool
) -> None:
    with served_by(
        "printf 0008half; sleep 0.3; kill -9 $$", repository, tmp_path, runtime, run
    ) as served:
        have = [f"have {git('rev-parse', 'side', cwd=repository)}"] if haves else []
        with pytest.raises(Unavailable):
            ask(served, run, clone_request(repository, *have))


def test_the_time_limit(
    repository: Path, tmp_path: Path, runtime: Runtime, run: Any, children: Children
) -> None:
    with served_by("sleep 100", repository, tmp_path, runtime, run, fetch_seconds=0.1) as served:
        have = f"have {git('rev-parse', 'side', cwd=repository)}"
        for arguments in ([], [have]):
            answer = ask(served, run, clone_request(repository, *arguments))
            assert b"took longer than this server allows" in answer
    assert children() == []


def test_a_busy_server_says_so(
    repository: Path, tmp_path: Path, runtime: Runtime, run: Any
) -> None:
    with served_by("exit 0", repository, tmp_path, runtime, run) as served:
        served.governor.close()
        for protocol in (0, 2):
            body = clone_request(repository)
            if protocol == 0:
                tip = git("rev-parse", "main", cwd=repository)
                body = line(f"want {tip} ofs-delta") + b"0000" + line("done")
            assert b"ERR the server is stopping" in ask(served, run, body, protocol)


@pytest.mark.attack(8, 10)
@pytest.mark.parametrize("haves", [False, True])
def test_a_client_that_never_reads_and_then_leaves(
    repository: Path,
    tmp_path: Path,
    runtime: Runtime,
    run: Any,
    haves: bool,
    children: Children,
) -> None:
    """git waits for the client (or has its output in a file), and ends with it."""
    script = "cat > /dev/null; yes 0123456789 | head -c 100000000"
    with served_by(script, repository, tmp_path, runtime, run, pack_cache_bytes=10**9) as served:
        have = [f"have {git('rev-parse', 'side', cwd=repository)}"] if haves else []

        async def work() -> int:
            taken: list[bytes] = []
            stuck: Deferred[None] = Deferred()
            arrived: Deferred[None] = Deferred()

            async def write(data: bytes) -> None:
                taken.append(data)
                if not arrived.called:
                    arrived.callback(None)
                await stuck

            source = BytesSource(clone_request(repository, *have))
            serving = Deferred.fromCoroutine(
                served.upload_pack.serve_request(
                    served.repo("a.git"), 2, source, SimpleNamespace(write=write), "tester"
                )
            )
            await arrived
            if haves:
                assert served.governor.running == 1
            await runtime.sleep(0.05)
            serving.cancel()
            with pytest.raises(CancelledError):
                await serving
            return sum(map(len, taken))

        assert run(work()) <= 256 * 1024
    assert children() == []


@pytest.mark.attack(10)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_client_that_is_cut_off_leaves_nothing_behind(
    served: Served,
    repository: Path,
    runtime: Runtime,
    run: Any,
    protocol: int,
    children: Children,
) -> None:
    async def cut() -> None:
        port = served.ports[0].getHost().port
        endpoint = TCP4ClientEndpoint(runtime.reactor, "127.0.0.1", port)
        client = await connectProtocol(endpoint, Protocol())
        asking = f"git-upload-pack /a.git\0host=x\0\0version={protocol}\0".encode()
        client.transport.write(encode(asking) + clone_request(repository)[:40])
        while protocol < 2 and not served.governor.running:
            await runtime.sleep(0.01)
        client.transport.abortConnection()
        while served.governor.running:
            await runtime.sleep(0.01)

    run(cut())
    assert children() == []
