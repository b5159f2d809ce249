"""Something dies in the middle of a command, a terminal and an upload: everybody is told, nothing of
it runs on, and what can be kept is there again."""

from __future__ import annotations

import http.client
import queue
import socket
import struct
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest

from tests.conftest import Run
from tests.sandboxes.support import make_tar
from tests.support.daemon import wait_until
from tests.support.doors import Inside, new_inside, processes_with
from tests.support.engine import RealEngine
from tests.support.sandboxes import Boxes, open_boxes
from tests.support.websocket import Client

SECONDS = 60.0
WORK = b"echo begun; read nothing </dev/null; sleep 98765\n"


@attrs.frozen
class Host:
    """A daemon, and the engine of its sandboxes: a container engine or, without one, its keeper."""

    boxes: Boxes
    engine: RealEngine | None

    def kill_engine(self) -> None:
        if self.engine is not None:
            self.engine.kill()
            return
        daemon = self.boxes.site.daemon.process
        assert daemon is not None
        (keeper,) = [
            child
            for child in psutil.Process(daemon.pid).children()
            if any("/local/keeper/" in word for word in child.cmdline())
        ]
        keeper.kill()

    def start_engine(self) -> None:
        """Of a keeper the daemon takes care itself."""
        if self.engine is not None:
            self.engine.start()


@pytest.fixture(scope="module", params=["local", "docker"])
def host(
    request: pytest.FixtureRequest,
    run: Run,
    plain_git_environment: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Host]:
    environment = {"WIT_SANDBOXES_MAX_PER_USER": "100", "WIT_LIMITS_UPLOAD": "0"}
    folder = tmp_path_factory.mktemp("faults")
    if request.param == "local":
        with open_boxes(run, folder, environment) as boxes:
            yield Host(boxes, None)
        return
    # Of its own, as it is killed. Sockets have short paths, unlike pytest's folders.
    engine = RealEngine("docker", Path(tempfile.mkdtemp(prefix="wit-engine-")))
    environment |= {
        "WIT_SANDBOXES_PROVIDER": "docker",
        "WIT_SANDBOXES_DOCKER_HOST": engine.host,
        "WIT_SANDBOXES_DOCKER_IMAGE": "wit-sandbox:test",
        "WIT_SANDBOXES_WARM": "0",
    }
    try:
        engine.start()
        with open_boxes(run, folder, environment) as boxes:
            yield Host(boxes, engine)
    finally:
        engine.remove()


@attrs.define
class Request:
    """An HTTP request in a thread: it can be cut off, and its answer waited for."""

    boxes: Boxes
    method: str
    path: str
    kind: str
    body: Any
    _answer: queue.SimpleQueue[tuple[int, bytes]] = attrs.field(factory=queue.SimpleQueue)
    _connection: Any = None

    def begin(self) -> Request:
        port = self.boxes.site.daemon.http_port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        self._connection.connect()
        threading.Thread(target=self._ask).start()
        return self

    def _ask(self) -> None:
        headers = {
            "Authorization": f"Bearer {self.boxes.tokens['alice']}",
            "Content-Type": self.kind,
        }
        status, text = 0, b""
        try:
            try:
                chunked = not isinstance(self.body, bytes)
                self._connection.request(
                    self.method, f"/api/v1/{self.path}", self.body, headers, encode_chunked=chunked
                )
            except (BrokenPipeError, ConnectionResetError):
                pass  # an early answer
            answer = self._connection.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            self._answer.put((status, text))

    def answer(self) -> tuple[int, bytes]:
        """(0, b"") if the connection ended without one."""
        return self._answer.get(timeout=SECONDS)

    def cut(self) -> None:
        """Vanish: the daemon gets a reset."""
        self._connection.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._connection.sock.shutdown(socket.SHUT_RD)
        self._connection.close()


@attrs.define
class Busy:
    """A sandbox in which a command, a terminal and an upload are under way."""

    inside: Inside
    marker: str
    command: Request
    upload: Request
    terminal: Client
    stop: threading.Event

    def processes(self, what: str) -> list[int]:
        return processes_with(f"{self.marker}-{what}")


@pytest.fixture
def begin(host: Host) -> Iterator[Callable[[], Busy]]:
    stop = threading.Event()
    opened: list[Client] = []
    made: list[Inside] = []

    def begin() -> Busy:
        boxes = host.boxes
        inside = Inside(boxes, boxes.create()["id"])
        made.append(inside)
        marker = uuid.uuid4().hex
        inside.put("work", WORK)
        inside.put("kept", b"hours of work")
        sent = threading.Event()

        def archive() -> Iterator[bytes]:
            yield make_tar(("large", b""))[:512].replace(b"00000000000\0", b"07777777777\0", 1)
            while not stop.is_set():
                yield b"x" * 4096
                sent.set()
                stop.wait(0.01)

        place = f"sandboxes/{inside.id}"
        argv = b'{"argv": ["sh", "/workspace/work", "%s-command"]}' % marker.encode()
        busy = Busy(
            inside,
            marker,
            Request(boxes, "POST", f"{place}/exec", "application/json", argv).begin(),
            Request(boxes, "PUT", f"{place}/archive", "application/x-tar", archive()).begin(),
            Client(
                boxes.site.daemon.http_port,
                f"/ws/{inside.id}",
                headers={"Authorization": f"Bearer {boxes.tokens['alice']}"},
                subprotocols=["wit.term.v1"],
            ),
            stop,
        )
        opened.append(busy.terminal)
        busy.terminal.until_message(t="replayed")
        busy.terminal.type(f"sh /workspace/work {marker}-terminal\r".encode())
        busy.terminal.until_seen(b"begun\r\n")
        wait_until(lambda: busy.processes("command"), what="the command")
        assert sent.wait(SECONDS)
        return busy

    yield begin
    stop.set()
    for client in opened:
        client.close()
    for inside in made:
        host.boxes.ask("DELETE", f"sandboxes/{inside.id}")


def works(boxes: Boxes) -> None:
    """A new sandbox, by three doors."""
    with new_inside(boxes) as fresh:
        for door in ("rest", "ssh", "terminal"):
            assert "it-works" in fresh.run(door, "printf", "%s-%s", "it", "works")


def none_is_listed(busy: Busy) -> bool:
    """In the list of what ran, nothing runs."""
    status, commands = busy.inside.boxes.ask("GET", f"sandboxes/{busy.inside.id}/commands")
    assert status == 200 and {one["kind"] for one in commands} >= {"exec", "terminal", "upload"}
    return not [one for one in commands if one["state"] == "running"]


def test_the_daemon_is_killed(host: Host, begin: Callable[[], Busy]) -> None:
    """What ran is lost. In a container it may go on, and ends with the sandbox at the latest."""
    busy = begin()
    host.boxes.site.daemon.kill()
    assert busy.command.answer() == busy.upload.answer() == (0, b"")
    busy.terminal.until_closed()
    host.boxes.site.daemon.start()
    wait_until(lambda: none_is_listed(busy), what="the end of all that ran")
    assert host.boxes.get(busy.inside.id)["state"] == "running"
    assert busy.inside.run("rest", "cat", "kept") == "hours of work"
    if host.engine is not None:
        host.boxes.destroy(busy.inside.id)
    wait_until(lambda: not processes_with(busy.marker), what="the end of all processes")
    works(host.boxes)


def test_the_sandbox_is_destroyed(host: Host, begin: Callable[[], Busy]) -> None:
    busy = begin()
    host.boxes.destroy(busy.inside.id)
    status, text = busy.command.answer()
    assert (status == 200 and b'"reason":"lost"' in text.replace(b": ", b":")) or status >= 400
    status, text = busy.upload.answer()
    assert 400 <= status < 600 and text
    assert busy.terminal.until_message(t="exit")["reason"]
    busy.terminal.until_closed()
    wait_until(lambda: not processes_with(busy.marker), what="the end of all that ran")
    assert host.boxes.get(busy.inside.id)["state"] == "ended"
    works(host.boxes)


def test_the_network_is_lost(host: Host, begin: Callable[[], Busy]) -> None:
    """Of clients that vanish: the command is ended, and half an upload; the terminal goes on."""
    busy = begin()
    busy.command.cut()
    busy.upload.cut()
    busy.terminal.drop()
    wait_until(lambda: not busy.processes("command"), what="the end of the command")
    assert busy.processes("terminal")

    def only_the_terminal() -> bool:
        _, commands = host.boxes.ask("GET", f"sandboxes/{busy.inside.id}/commands")
        return {one["kind"] for one in commands if one["state"] == "running"} == {"terminal"}

    wait_until(only_the_terminal, what="the end of the upload")
    assert busy.inside.run("rest", "cat", "kept") == "hours of work"
    (terminal,) = host.boxes.ask("GET", f"sandboxes/{busy.inside.id}/terminals")[1]
    again = Client(
        host.boxes.site.daemon.http_port,
        f"/ws/{busy.inside.id}?terminal={terminal['id']}",
        headers={"Authorization": f"Bearer {host.boxes.tokens['alice']}"},
        subprotocols=["wit.term.v1"],
    )
    again.until_seen(b"begun")
    again.type(b"\x03echo back-$((6*7))\r")
    again.until_seen(b"back-42")
    again.close()


def test_the_engine_is_killed(host: Host, begin: Callable[[], Busy]) -> None:
    busy = begin()
    host.kill_engine()
    status, text = busy.command.answer()
    assert (status == 200 and b'"lost"' in text) or status >= 400, (status, text)
    status, text = busy.upload.answer()
    assert 400 <= status < 600 and text
    assert busy.terminal.until_message(t="exit")["reason"] == "lost"
    busy.terminal.until_closed()
    if host.engine is not None:
        status, answer = host.boxes.ask(
            "POST", f"sandboxes/{busy.inside.id}/exec", {"argv": ["true"]}
        )
        assert status >= 400 and answer["message"]
    host.start_engine()
    wait_until(lambda: none_is_listed(busy), what="the end of all that ran")
    wait_until(lambda: not processes_with(busy.marker), what="the end of all processes")

    def back() -> bool:
        status, _ = host.boxes.ask("POST", f"sandboxes/{busy.inside.id}/resume", {})
        if status == 200 or host.boxes.get(busy.inside.id)["state"] == "running":
            body = {"argv": ["cat", "/workspace/kept"]}
            status, done = host.boxes.ask("POST", f"sandboxes/{busy.inside.id}/exec", body)
            return status == 200 and done["stdout"] == "hours of work"
        return False

    wait_until(back, SECONDS, "the sandbox with its files")
    works(host.boxes)
