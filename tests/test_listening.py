"""Unix sockets that a killed daemon left behind, whichever door listened there."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXServerEndpoint

from tests.ssh.support import StandInOwners, StandInTraffic, make_config
from tests.support.daemon import Daemon, wait_until
from wit.errors import ConfigError
from wit.listening import BACKLOG, clear_stale_socket, listening_endpoint, parse
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.ssh.service import SshService


def leave_behind(path: Path) -> None:
    """A socket whose listener was killed: the file stays."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.close()


def greeting(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(str(path))
        return peer.recv(100)


def make_service(folder: Path, runtime: Runtime, *listen: str) -> SshService:
    traffic = StandInTraffic(runtime, folder)
    config = make_config(folder, listen=listen)
    return SshService(config, runtime, StandInOwners(), traffic, Metrics())


def test_ssh_clears_a_stale_socket(run: Any, runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "ssh.sock"
    leave_behind(path)
    service = make_service(tmp_path, runtime, f"unix:{path}:mode=600")
    run(service.start())
    try:
        assert greeting(path).startswith(b"SSH-2.0-")
        assert os.stat(path).st_mode & 0o777 == 0o600
        second = make_service(tmp_path, runtime, f"unix:{path}")
        with pytest.raises(ConfigError, match=r"ssh\.listen"):
            run(second.start())
        assert greeting(path).startswith(b"SSH-2.0-"), "a living one keeps its place"
    finally:
        run(service.stop())
    assert not path.exists()


def test_ssh_takes_no_nonsense(run: Any, runtime: Runtime, tmp_path: Path) -> None:
    for listen in (f"unix:{tmp_path}/s:colour=red", "unix:", "tcp:http:x=y", "carrier:pigeon"):
        with pytest.raises(ConfigError, match=r"ssh\.listen"):
            run(make_service(tmp_path, runtime, listen).start())


def test_only_sockets_without_a_listener_go(tmp_path: Path) -> None:
    stale, file, link = (tmp_path / name for name in ("stale", "file", "link"))
    leave_behind(stale)
    file.write_text("mine")
    link.symlink_to(stale)
    clear_stale_socket(str(link))
    clear_stale_socket(str(file))
    clear_stale_socket(str(tmp_path / "missing"))
    assert stale.exists() and link.is_symlink() and file.read_text() == "mine"
    clear_stale_socket(str(stale))
    assert not stale.exists()
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(stale))
        alive.listen()
        clear_stale_socket(str(stale))
        assert stale.exists()


def test_endpoints_have_a_backlog(tmp_path: Path) -> None:
    endpoints = [
        listening_endpoint(reactor, description)
        for description in ("tcp:0", "tcp6:0:interface=\\:\\:1", f"unix:{tmp_path}/s")
    ]
    backlogs = [getattr(e, "_backlog", getattr(e, "backlog", None)) for e in endpoints]
    assert backlogs == [BACKLOG] * 3
    chosen = listening_endpoint(reactor, f"unix:{tmp_path}/s:backlog=7")
    assert isinstance(chosen, UNIXServerEndpoint) and chosen._backlog == 7
    assert parse(r"unix:/a\:b:mode=600") == ("unix", ["/a:b"], {"mode": "600"})


def test_a_killed_daemon_comes_back_on_its_sockets(
    plain_git_environment: None, tmp_path: Path
) -> None:
    """Both doors, kill -9 between the starts."""
    ssh, http = tmp_path / "ssh.sock", tmp_path / "http.sock"
    daemon = Daemon(tmp_path / "data", flags=["--ssh", f"unix:{ssh}", "--http", f"unix:{http}"])
    for _ in range(2):
        daemon.start()
        wait_until(ssh.exists, what="the socket")
        assert greeting(ssh).startswith(b"SSH-2.0-")
        daemon.stop(signal.SIGKILL)
        assert ssh.exists() and http.exists()
    daemon.start()
    assert greeting(ssh).startswith(b"SSH-2.0-")
    assert daemon.stop() == 0
    assert not ssh.exists() and not http.exists()
