"""A server that takes no time: what git's own HTTP client costs, whoever answers."""

from __future__ import annotations

import socket
import threading
import urllib.parse
from http.client import HTTPConnection


class Recording:
    """Answers each request of a clone with what ``url`` answered to the same request before.

    The first clone through it records; every later one is answered from memory, without a look at
    anything but the request's first line and body. One thread for each connection.
    """

    def __init__(self, url: str) -> None:
        self._origin = urllib.parse.urlsplit(url)
        self._answers: dict[tuple[bytes, bytes], bytes] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{self._origin.path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, peer.makefile("rb") as requests:
            while line := requests.readline():
                headers: dict[str, str] = {}
                while (header := requests.readline().strip()) != b"":
                    name, _, value = header.decode("latin-1").partition(":")
                    headers[name.strip().lower()] = value.strip()
                body = requests.read(int(headers.get("content-length", "0")))
                answer = self._answers.get((line, body))
                if answer is None:
                    answer = self._answers[line, body] = self._ask(line, headers, body)
                peer.sendall(answer)

    def _ask(self, line: bytes, headers: dict[str, str], body: bytes) -> bytes:
        method, path, _ = line.decode("latin-1").split(" ")
        origin = HTTPConnection(self._origin.hostname or "", self._origin.port or 80)
        headers.pop("host", None)
        origin.request(method, path, body, headers)
        response = origin.getresponse()
        content = response.read()
        kept = {
            name: value
            for name, value in response.getheaders()
            if name.lower() not in {"transfer-encoding", "content-length", "connection"}
        }
        head = f"HTTP/1.1 {response.status} {response.reason}\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in kept.items()
        )
        return head.encode("latin-1") + b"Content-Length: %d\r\n\r\n" % len(content) + content
