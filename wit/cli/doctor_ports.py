"""Whether the configured addresses can be listened on, or wit listens there already. Blocks."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

from wit.cli.findings import Finding, fail, ok, warn
from wit.config import Config
from wit.config_rules import split_endpoint

SECONDS = 2.0
"""That an answer may take."""


def ports(config: Config) -> Iterator[Finding]:
    """A finding for each endpoint that names an address or a file."""
    for what, endpoints in (
        ("http", config.server.http), ("ssh", config.ssh.listen), ("metrics", config.metrics.listen)
    ):  # fmt: skip
        for endpoint in endpoints:
            kind, options = split_endpoint(endpoint)
            subject = f"{what} {endpoint}"
            if kind == "systemd":
                yield ok(subject, "systemd listens on our behalf")
            elif kind == "unix":
                yield _socket_file(subject, options["address"])
            else:
                yield from _files(subject, options)
                yield _port(subject, what, kind, options)


def _socket_file(subject: str, path: str) -> Finding:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        return fail(subject, f"{folder} cannot be written", "make the folder, or give it to wit")
    return ok(subject, "the folder of the socket can be written")


def _files(subject: str, options: dict[str, str]) -> Iterator[Finding]:
    for name in ("privateKey", "certKey", "extraCertChain"):
        path = options.get(name)
        if path and not os.access(path, os.R_OK):
            yield fail(subject, f"{name}: {path} cannot be read", "correct the path or its mode")


def _port(subject: str, what: str, kind: str, options: dict[str, str]) -> Finding:
    family = socket.AF_INET6 if kind == "tcp6" else socket.AF_INET
    address = options.get("interface") or ("::" if kind == "tcp6" else "0.0.0.0")  # noqa: S104
    if ":" in address:
        family = socket.AF_INET6
    port = int(options["port"])
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
        return ok(subject, "free")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return fail(subject, f"cannot listen there: {error.strerror}",
                        "choose another address, or give wit the right to it")  # fmt: skip
    if _is_wit(family, address, port, what, tls=kind == "ssl"):
        return ok(subject, "wit answers")
    return warn(subject, "another program listens there", "stop it, or choose another port")


def _is_wit(family: int, address: str, port: int, what: str, *, tls: bool) -> bool:
    """Whether what answers looks like wit's door; a TLS door is believed: whose name to ask?"""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104
    question = {"http": b"GET /livez HTTP/1.0\r\n\r\n", "metrics": b"GET /metrics HTTP/1.0\r\n\r\n"}
    try:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(SECONDS)
            client.connect((local, port))
            if tls:
                return True
            client.sendall(question.get(what, b""))
            answer = client.recv(4096)
    except OSError:
        return False
    expected = b"SSH-2.0-" if what == "ssh" else b"HTTP/1."
    return answer.startswith(expected) and (what == "ssh" or b" 200 " in answer[:16])
