"""Clients of git that can be held in the middle of their transfer."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.support.daemon import Daemon, wait_until

BUFFER = 64 * 1024


class RawClone:
    """A clone over HTTP (protocol v0) whose client reads only when it is told to."""

    def __init__(self, daemon: Daemon, name: str, tip: str) -> None:
        line = f"want {tip} side-band-64k ofs-delta\n"
        body = f"{len(line) + 4:04x}{line}00000009done\n"
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", daemon.http_port))
        self.socket.sendall(
            f"POST /{name}/git-upload-pack HTTP/1.1\r\nHost: x\r\n"
            "Content-Type: application/x-git-upload-pack-request\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        self.start = self.socket.recv(1024)
        """The head of the answer: from here on it is an active clone."""
        self.received = len(self.start)

    def finish(self) -> bool:
        """Read the rest; whether the answer is whole (RFC 9112, section 7.1: the last chunk)."""
        end = self.start
        with suppress(ConnectionResetError):
            while data := self.socket.recv(BUFFER):
                self.received += len(data)
                end = (end + data)[-16:]
        self.socket.close()
        return end.endswith(b"\r\n0\r\n\r\n")


class Relay:
    """Stands between a client and a port of the daemon. In the direction that is ``held``, only
    the first bytes pass until ``release`` is called."""

    def __init__(self, port: int, *, hold: str, after: int = 256 * 1024) -> None:
        self._to = port
        self._hold = hold
        self._after = after
        self._go = threading.Event()
        self.held = threading.Event()
        """Set when as much has passed as may."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread(self._accept)

    def release(self) -> None:
        self._go.set()

    def close(self) -> None:
        self._go.set()
        self._listener.close()

    def _thread(self, work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket()
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                server.connect(("127.0.0.1", self._to))
                self._thread(self._pump, client, server, self._hold == "up")
                self._thread(self._pump, server, client, self._hold == "down")

    def _pump(self, source: socket.socket, target: socket.socket, hold: bool) -> None:
        passed = 0
        try:
            while data := source.recv(BUFFER):
                target.sendall(data)
                passed += len(data)
                if hold and passed > self._after and not self._go.is_set():
                    self.held.set()
                    self._go.wait()
            target.shutdown(socket.SHUT_WR)
        except OSError:  # one side is gone: so is the other
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)  # wakes the other direction's thread
                end.close()


class HeldGit:
    """A real git client, held by a relay in the middle of what it does."""

    def __init__(
        self, daemon: Daemon, kind: str, direction: str, cwd: Path,
        command: Callable[[str], list[str]], env: Mapping[str, str],
    ) -> None:  # fmt: skip
        """``command`` makes git's arguments for the base of an address; ``direction`` is the one
        that is held: ``down`` for a fetch, ``up`` for a push."""
        port = daemon.http_port if kind == "http" else daemon.ssh_port
        self.relay = Relay(port, hold=direction)
        scheme = "http://" if kind == "http" else "ssh://git@"
        self.process = subprocess.Popen(
            ["git", *command(f"{scheme}127.0.0.1:{self.relay.port}")],
            cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_until(lambda: self.relay.held.is_set() or self.process.poll() is not None)
        if not self.relay.held.is_set():
            raise AssertionError(f"git was not held: {self.process.communicate()[1]}")

    def finish(self) -> tuple[int, str]:
        """Let it go on; its exit status and what it said."""
        self.relay.release()
        said = self.process.communicate(timeout=60)[1]
        self.relay.close()
        return self.process.returncode, said
