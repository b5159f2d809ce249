"""A storage that is busy, refuses, breaks off or talks nonsense."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.support.daemon import free_port
from wit.errors import NotFound, Unavailable
from wit.packages import s3_client
from wit.packages.s3_client import S3Client
from wit.packages.s3_signing import Signer
from wit.runtime import Runtime
from wit.streams import StreamClosed

BUSY = (503, b"<Error><Code>SlowDown</Code><Message>later</Message></Error>")
FINE = (200, b"content")
CUT, SILENT = 0, -1


class Scripted(ThreadingHTTPServer):
    """Gives the answers of the script, one after another; CUT is a connection that is closed, and
    SILENT one on which nothing comes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, str, bytes]] = []
        self.short = 0
        """Bytes that the answers lack, of those that they announce."""
        self.over = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Scripted)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        server.asked.append((self.command, self.path, body))
        status, content = server.script.pop(0)
        if status == SILENT:
            server.over.wait(30)
        if status in (CUT, SILENT):
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) + server.short))
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = bool(server.short)

    do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Scripted]:
    server = Scripted()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(
    server: Scripted, run: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3Client]:
    monkeypatch.setattr(s3_client, "FIRST_WAIT", 0.001)
    client = S3Client(
        f"http://127.0.0.1:{server.server_port}/", "b", Signer("r", "key", "secret"), runtime
    )
    yield client
    run(client.close())


async def all_of(client: S3Client, key: str = "k") -> bytes:
    source = await client.get(key)
    parts = []
    while part := await source.read():
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("fault", [BUSY, (500, b"oops"), (CUT, b"")])
def test_what_is_busy_is_asked_again(
    run: Any, server: Scripted, client: S3Client, fault: tuple[int, bytes]
) -> None:
    server.script = [fault, fault, FINE]
    assert run(all_of(client)) == b"content"
    assert [line[:2] for line in server.asked] == [("GET", "/b/k")] * 3


def test_not_for_ever(run: Any, server: Scripted, client: S3Client) -> None:
    server.script = [BUSY] * 10
    with pytest.raises(Unavailable, match=r"storage .* try again later"):
        run(all_of(client))
    assert len(server.asked) == s3_client.TRIES


def test_an_upload_is_sent_whole_again(
    run: Any, server: Scripted, client: S3Client, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 300_000)
    server.script = [BUSY, (200, b"")]
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    run(client.put("k", str(file), 300_000, sha256))
    assert server.asked == [("PUT", "/b/k", file.read_bytes())] * 2


@pytest.mark.parametrize(
    "refusal",
    [
        (403, b"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>"),
        (404, b"<Error><Code>NoSuchBucket</Code></Error>"),
        (400, b"<html>"),
        (302, b""),
    ],
)
def test_a_refusal_is_final_and_keeps_its_words(
    run: Any, server: Scripted, client: S3Client, refusal: tuple[int, bytes]
) -> None:
    """Whoever asks for a tarball cannot do anything about our key."""
    server.script = [refusal, FINE]
    with pytest.raises(Unavailable) as raised:
        run(all_of(client))
    assert raised.value.message == s3_client.SENTENCE
    assert len(server.asked) == 1


def test_what_is_not_there(run: Any, server: Scripted, client: S3Client) -> None:
    server.script = [(404, b"<Error><Code>NoSuchKey</Code></Error>")]
    with pytest.raises(NotFound):
        run(all_of(client))


def test_a_download_that_breaks_off(run: Any, server: Scripted, client: S3Client) -> None:
    server.script, server.short = [FINE], 5
    with pytest.raises(StreamClosed):
        run(all_of(client))


def test_a_range_that_is_ignored(run: Any, server: Scripted, client: S3Client) -> None:
    """The whole in place of a part would be the wrong bytes."""
    server.script = [FINE]
    with pytest.raises(Unavailable):
        run(client.get("k", 2, 4))


def test_silence(
    run: Any, server: Scripted, client: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "SECONDS", 0.05)
    server.script = [(SILENT, b"")] * s3_client.TRIES
    with pytest.raises(Unavailable):
        run(client.delete("k"))
    assert len(server.asked) == s3_client.TRIES


def test_whoever_asks_may_go_away(
    run: Any, runtime: Runtime, server: Scripted, client: S3Client
) -> None:
    server.script = [(SILENT, b"")]

    async def work() -> None:
        asking = Deferred.fromCoroutine(client.get("k"))
        while not server.asked:
            await runtime.sleep(0.005)
        asking.cancel()
        with pytest.raises(CancelledError):
            await asking

    run(work())
    assert len(server.asked) == 1


def test_pages_of_a_list(run: Any, server: Scripted, client: S3Client) -> None:
    server.script = [
        (
            200,
            b"<ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Contents>"
            b"<Key>p/a</Key><LastModified>2024-05-06T07:08:09.000Z</LastModified></Contents>"
            b"<NextContinuationToken>a+b=</NextContinuationToken></ListBucketResult>",
        ),
        (200, b"<ListBucketResult></ListBucketResult>"),
    ]
    found, token = run(client.list("p/"))
    assert [stored.key for stored in found] == ["p/a"]
    assert found[0].modified.isoformat() == "2024-05-06T07:08:09+00:00"
    assert run(client.list("p/", token)) == ([], "")
    assert server.asked[1][1] == "/b?continuation-token=a%2Bb%3D&list-type=2&prefix=p%2F"


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"<ListBucketResult>",
        b"<L><Contents><Key>k</Key></Contents></L>",
        b'<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><l>&b;</l>',
        b"<l>" + b" " * s3_client.MAX_ANSWER + b"</l>",
    ],
    ids=["nothing", "half", "no date", "entities", "endless"],
)
def test_lists_that_are_none(run: Any, server: Scripted, client: S3Client, nonsense: bytes) -> None:
    server.script = [(200, nonsense)]
    with pytest.raises(Unavailable):
        run(client.list("p/"))


def test_nobody_listens(run: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "FIRST_WAIT", 0.001)
    address = f"http://127.0.0.1:{free_port()}"
    client = S3Client(address, "b", Signer("r", "key", "secret"), runtime)
    with pytest.raises(Unavailable):
        run(client.head("k"))
