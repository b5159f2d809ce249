"""What systemd hears."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from wit import sdnotify


@pytest.fixture(params=["path", "abstract"])
def heard(request, tmp_path) -> Iterator[tuple[dict[str, str], socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(5)
        name = str(tmp_path / "notify") if request.param == "path" else f"@wit-test-{os.getpid()}"
        channel.bind("\0" + name[1:] if name[0] == "@" else name)
        yield {"NOTIFY_SOCKET": name}, channel


def test_messages(heard):
    environ, channel = heard
    assert sdnotify.ready(environ, "listening\non 3000")
    assert channel.recv(4096).decode().split("\n") == [
        "READY=1", f"MAINPID={os.getpid()}", "STATUS=listening on 3000",
    ]  # fmt: skip
    assert sdnotify.reloading(environ)
    first, second = channel.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0
    assert sdnotify.stopping(environ, "3 clones left")
    assert channel.recv(4096) == b"STOPPING=1\nSTATUS=3 clones left"
    assert sdnotify.status(environ, "x")
    assert sdnotify.watchdog(environ)
    assert [channel.recv(4096), channel.recv(4096)] == [b"STATUS=x", b"WATCHDOG=1"]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/x"}])
def test_nobody_listens(environ):
    assert sdnotify.ready(environ, "x") is False


def test_watchdog_interval():
    assert sdnotify.watchdog_seconds({}) is None
    assert sdnotify.watchdog_seconds({"WATCHDOG_USEC": "20000000"}) == 10.0
    assert sdnotify.watchdog_seconds({"WATCHDOG_USEC": "2", "WATCHDOG_PID": "1"}) is None
