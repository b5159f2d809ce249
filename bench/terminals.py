"""The lines about terminals, beside terminado (Python) and wetty (Node), each in its own protocol.

A client of ours is a blocking socket and as little Python as will do, the same for all three.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from bench import fixtures
from bench.measure import Result, compare
from bench.peers import free_port, wait_for_port
from bench.side_by_side import Bench
from bench.wit_daemon import Wit

BUSY = 100
KEYS = 300
BYTES = 20_000_000
IDLE = 1000
PER_SANDBOX = 50
"""Terminals in one sandbox, whose number of processes is limited."""

PRINTER = 'perl -e \'$|=1; while (1) { print "a line of output, as they come\\n"; '
PRINTER += "select(undef, undef, undef, 0.1) }'\r"
"""Ten lines a second, by one process."""

FLOOD = (
    f"yes {'a line as long as those of logs often are ' * 2}| head -c {BYTES}; echo the-$((6*7))\r"
)
"""With lines of one character the kernel's terminals come to 8 MB/s themselves, whoever reads."""

LIMITS = {
    "WIT_TERMINALS_MAX_PER_SANDBOX": "2000",
    "WIT_TERMINALS_MAX_PER_USER": "2000",
    "WIT_TERMINALS_MAX_VIEWERS_PER_USER": "2000",
    "WIT_SANDBOXES_MAX_PER_USER": "100",
    "WIT_LIMITS_STRICT": "0",
}


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
"""Opcodes of frames (RFC 6455, section 5.2)."""


class Line:
    """A WebSocket client over a blocking socket."""

    def __init__(self, port: int, path: str, *headers: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket",
                 "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                 f"Sec-WebSocket-Key: {key}", *headers, "", ""]  # fmt: skip
        self.socket.sendall("\r\n".join(lines).encode())
        self.rest = b""
        while b"\r\n\r\n" not in self.rest:
            self.rest += self._receive()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(head.decode())

    def _receive(self) -> bytes:
        data = self.socket.recv(1 << 18)
        if not data:
            raise RuntimeError("the server has closed")
        return data

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
        self.socket.sendall(bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload)

    def frame(self) -> tuple[int, bytes]:
        """The next one; a ping has been answered then. Raises RuntimeError at the end."""
        head = self._take(2)
        opcode, size = head[0] & 0xF, head[1] & 0x7F
        if size >= 126:
            size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
        payload = self._take(size)
        if opcode == CLOSE:
            raise RuntimeError(f"the server has closed: {payload!r}")
        if opcode == PING:
            self.send(payload, PONG)
        return opcode, payload

    def _take(self, count: int) -> bytes:
        while len(self.rest) < count:
            self.rest += self._receive()
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def ready(self) -> bool:
        return bool(self.rest) or bool(self._poll.poll(0))

    def close(self) -> None:
        self.socket.close()


class Terminal(ABC):
    """One terminal of a server; ``type`` and ``read`` in the server's own protocol."""

    def __init__(self, line: Line) -> None:
        self.line = line

    @abstractmethod
    def type(self, text: str) -> None: ...

    @abstractmethod
    def read(self) -> bytes:
        """More output; perhaps none."""

    def until(self, text: bytes) -> int:
        """Read up to ``text``; how many bytes came."""
        total, end = 0, b""
        while text not in end:
            data = self.read()
            total += len(data)
            end = (end + data)[-4096:]
        return total

    def drain(self) -> None:
        while self.line.ready():
            self.read()


class WitTerminal(Terminal):
    def __init__(self, line: Line) -> None:
        super().__init__(line)
        self._seen = self._acknowledged = 0

    def type(self, text: str) -> None:
        self.line.send(text.encode(), BINARY)

    def read(self) -> bytes:
        opcode, payload = self.line.frame()
        if opcode != BINARY:
            if b'"t":"error"' in payload:
                raise RuntimeError(payload.decode())
            return b""
        self._seen += len(payload)
        if self._seen - self._acknowledged >= 65536:
            self._acknowledged = self._seen
            self.line.send(json.dumps({"t": "ack", "n": self._seen}).encode())
        return payload


class TerminadoTerminal(Terminal):
    def type(self, text: str) -> None:
        self.line.send(json.dumps(["stdin", text]).encode())

    def read(self) -> bytes:
        opcode, payload = self.line.frame()
        message = json.loads(payload) if opcode == TEXT else [""]
        return message[1].encode() if message[0] == "stdout" else b""


class WettyTerminal(Terminal):
    """socket.io over engine.io 4, as wetty's page speaks it."""

    def type(self, text: str) -> None:
        self.line.send(b"42" + json.dumps(["input", text]).encode())

    def read(self) -> bytes:
        payload = self.line.frame()[1]
        if payload == b"2":
            self.line.send(b"3")
        elif payload.startswith(b'42["data"'):
            data = json.loads(payload[2:])[1]
            self.line.send(b"42" + json.dumps(["commit", len(data)]).encode())
            return str(data).encode()
        return b""


@attrs.define
class Server:
    name: str
    open: Callable[[], Terminal]
    pids: list[int]


class OurServer:
    """wit with a sandbox for every PER_SANDBOX terminals."""

    def __init__(self, wit: Wit) -> None:
        self._wit = wit
        self._opened = 0
        self._sandboxes: list[str] = []
        self._session = wit.sign_in()

    def open(self) -> Terminal:
        if self._opened % PER_SANDBOX == 0:
            self._sandboxes.append(str(self._ask("POST", "")["id"]))
        self._opened += 1
        line = Line(
            self._wit.port,
            f"/ws/{self._sandboxes[-1]}",
            f"Authorization: Bearer {self._session}",
            "Sec-WebSocket-Protocol: wit.term.v1",
        )
        terminal = WitTerminal(line)
        while b'"t":"replayed"' not in (payload := line.frame()[1]):
            if b'"t":"error"' in payload:
                raise RuntimeError(payload.decode())
        return terminal

    def clear(self) -> None:
        """End all terminals: they stay when nobody looks at them."""
        while self._sandboxes:
            self._ask("DELETE", f"/{self._sandboxes.pop()}")
        self._opened = 0

    def _ask(self, method: str, path: str) -> dict[str, object]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._wit.port}/api/v1/sandboxes{path}",
            b"{}",
            {"Authorization": f"Bearer {self._session}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(json.load(answer) or {})


@contextmanager
def terminado() -> Iterator[Server]:
    """From PyPI, in an environment of its own."""
    folder = fixtures.CACHE / "terminado"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "terminado"], check=True)
    port = free_port()
    script = Path(__file__).with_name("terminado_server.py")
    with _running([str(python), str(script), str(port)], port) as process:

        def opened() -> Terminal:
            terminal = TerminadoTerminal(Line(port, "/ws", f"Origin: http://127.0.0.1:{port}"))
            terminal.type("echo up-$((6*7))\r")
            terminal.until(b"up-42")
            return terminal

        yield Server("terminado", opened, [process.pid])


@contextmanager
def wetty() -> Iterator[Server]:
    """From npm."""
    folder = fixtures.CACHE / "wetty"
    program = folder / "node_modules" / ".bin" / "wetty"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "wetty"]
        subprocess.run([*command, "--prefix", str(folder)], check=True)
    port = free_port()
    command = [str(program), "--host", "127.0.0.1", "--port", str(port), "--base", "/",
               "--command", "bash --norc"]  # fmt: skip
    with _running(command, port) as process:

        def opened() -> Terminal:
            line = Line(
                port,
                "/socket.io/?EIO=4&transport=websocket",
                f"Origin: http://127.0.0.1:{port}",
                f"Referer: http://127.0.0.1:{port}/",
            )
            line.frame()
            line.send(b"40")
            terminal = WettyTerminal(line)
            while not terminal.read():
                pass  # what is typed before the prompt is lost
            terminal.type("echo up-$((6*7))\r")
            terminal.until(b"up-42")
            return terminal

        yield Server("wetty", opened, [process.pid])


@contextmanager
def _running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_port(port)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def drain(terminals: list[Terminal]) -> None:
    """Take what was printed, and answer pings: servers drop who does not."""
    for terminal in terminals:
        terminal.drain()


def echoes(server: Server) -> list[float]:
    """Seconds from a keystroke to its echo, sorted, while BUSY other terminals print."""
    with ExitStack() as stack:
        busy: list[Terminal] = []
        for _ in range(BUSY):
            drain(busy)
            busy.append(server.open())
            stack.callback(busy[-1].line.close)
            busy[-1].type(PRINTER)
        one = server.open()
        stack.callback(one.line.close)
        one.type("cat; echo\r")
        time.sleep(1)
        one.drain()
        took = []
        for _ in range(KEYS):
            drain(busy)
            began = time.perf_counter()
            one.type("x")
            one.until(b"x")
            took.append(time.perf_counter() - began)
            time.sleep(0.01)
        return sorted(took)


def throughput(server: Server) -> float:
    """Bytes per second of one terminal."""
    terminal = server.open()
    try:
        began = time.perf_counter()
        terminal.type(FLOOD)
        count = terminal.until(b"the-42")
        return count / (time.perf_counter() - began)
    finally:
        terminal.line.close()


def idle_memory(server: Server, count: int) -> float:
    """Bytes of the server itself for each terminal that does nothing."""
    lines = [server.open() for _ in range(10)]
    before = _rss(server)
    for number in range(count):
        if number % 50 == 0:
            drain(lines)
        lines.append(server.open())
    time.sleep(1)
    used = (_rss(server) - before) / count
    for terminal in lines:
        terminal.line.close()
    return used


def _rss(server: Server) -> int:
    with open(f"/proc/{server.pids[0]}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def terminals(b: Bench) -> list[Result]:
    results = []
    folder = b.fresh()
    os.environ.update(LIMITS)
    try:
        wit = Wit(folder, {})
    finally:
        for name in LIMITS:
            del os.environ[name]
    try:
        sandboxes = OurServer(wit)
        ours = Server("wit", sandboxes.open, wit.pids)
        with terminado() as first, wetty() as second:
            times = {"wit": echoes(ours)}
            sandboxes.clear()
            times |= {peer.name: echoes(peer) for peer in (first, second)}
            for peer in (first, second):
                for percent, goal in ((50, 3.0), (99, 15.0)):
                    mine, theirs = (
                        times[name][len(times[name]) * percent // 100] * 1000
                        for name in ("wit", peer.name)
                    )
                    line = compare(
                        f"keystroke to echo, p{percent}, {BUSY} busy terminals",
                        peer.name,
                        mine,
                        theirs,
                        at_most=float("inf"),
                        unit="ms",
                    )
                    results.append(attrs.evolve(line, goal=f"≤ {goal} ms", met=mine <= goal))
            for peer, goal in ((first, 2.0), (second, 1.0)):
                mine_rates, their_rates = [], []
                for _ in range(b.rounds):
                    mine_rates.append(throughput(ours) / 1e6)
                    their_rates.append(throughput(peer) / 1e6)
                results.append(
                    compare(
                        "throughput of one terminal",
                        peer.name,
                        statistics.median(mine_rates),
                        statistics.median(their_rates),
                        at_least=goal,
                        unit="MB/s",
                    )
                )
            used, theirs = idle_memory(ours, IDLE) / 1024, idle_memory(first, 100) / 1024
            line = compare(
                f"memory of the server for each of {IDLE} idle terminals",
                "terminado (of 100)",
                used,
                theirs,
                at_most=float("inf"),
                unit="KB",
            )
            results.append(attrs.evolve(line, goal="≤ 64 KB", met=used <= 64))
    finally:
        wit.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return results
