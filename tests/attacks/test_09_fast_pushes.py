"""A push that comes faster than git reads: nothing piles up in the daemon."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from tests.attacks.heavy import MIB
from tests.support.daemon import wait_until
from tests.support.quarry import Quarry
from tests.support.site import Site
from tests.support.wire import (
    BLOB,
    ZERO,
    Http,
    commands,
    entry,
    history,
    pack,
    push_history,
    request,
    service_headers,
    ssh,
)

pytestmark = pytest.mark.attack(9)

STUCK_SECONDS = 0.5
MOST_ON_THE_WAY = 20 * MIB
"""What the buffers of two kernels' ends, of OpenSSH and of the window may hold together."""


def stop_git(quarry: Quarry) -> list[psutil.Process]:
    """Wait until git reads the push, and stop it."""
    wait_until(lambda: quarry.gits("receive-pack"), what="git")
    stopped = []
    for child in quarry.children():
        child.send_signal(signal.SIGSTOP)
        stopped.append(child)
    return stopped


def send_until_stuck(write: Callable[[bytes], int | None], most: int) -> int:
    """Bytes that were taken before ``write`` took no more for a while."""
    data = os.urandom(65536)
    sent, moved = 0, time.monotonic()
    while sent < most and time.monotonic() - moved < STUCK_SECONDS:
        try:
            count = write(data) or 0
        except BlockingIOError:
            count = 0
        if count:
            sent, moved = sent + count, time.monotonic()
        else:
            time.sleep(0.01)
    return sent


def opening() -> bytes:
    """A push that announces one large blob."""
    made = history()
    start = pack([entry(BLOB, os.urandom(1000), size=200 * MIB)])[:-200]
    return commands([(ZERO, made.commit, "refs/heads/fast")]) + start


def test_over_http(site: Site, new_name: str) -> None:
    push_history(site.daemon, site.alice, new_name)
    quarry = Quarry(site.daemon)
    headers = service_headers(site.alice, "git-receive-pack", 0)
    headers["Content-Length"] = str(300 * MIB)
    with Http(site.daemon.http_port) as http:
        http.send(request("POST", f"/{new_name}/git-receive-pack", headers) + opening())
        stopped = stop_git(quarry)
        before = quarry.rss()
        http.socket.setblocking(False)
        sent = send_until_stuck(http.socket.send, 4 * MOST_ON_THE_WAY)
        assert sent < MOST_ON_THE_WAY
        assert quarry.rss() - before < 8 * MIB
        http.reset()
    for child in stopped:
        child.send_signal(signal.SIGCONT)


def test_over_ssh(site: Site, new_name: str) -> None:
    push_history(site.daemon, site.alice, new_name)
    quarry = Quarry(site.daemon)
    client = ssh(site.daemon, site.alice, f"git-receive-pack '{new_name}'")
    assert client.stdin is not None
    client.stdin.write(opening())
    client.stdin.flush()
    stopped = stop_git(quarry)
    before = quarry.rss()
    pipe = client.stdin.fileno()
    os.set_blocking(pipe, False)
    sent = send_until_stuck(lambda data: os.write(pipe, data), 4 * MOST_ON_THE_WAY)
    assert sent < MOST_ON_THE_WAY
    assert quarry.rss() - before < 8 * MIB
    client.kill()
    client.wait()
    for child in stopped:
        child.send_signal(signal.SIGCONT)
