"""wit inside a program: ``start_server`` as the documentation page of wit 2.0 has it."""

from __future__ import annotations

import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from tests.conftest import Run
from tests.support.daemon import commit, git, ssh_command
from wit.config import Ssh
from wit.core import Core
from wit.errors import ConfigError
from wit.git.names import RepoName
from wit.runtime import Runtime
from wit.server import ServerOptions, SshOptions, WitServer, start_server


def options(folder: Path, **more: Any) -> ServerOptions:
    given: dict[str, Any] = {"port": 0, "host": "127.0.0.1", "repos_dir": str(folder / "repos")}
    return ServerOptions(**(given | more))


def refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def test_the_documented_surface(tmp_path: Path, run: Run) -> None:
    ssh = SshOptions(enabled=True, port=0, allow_anonymous_read=True, banner="hello there")
    server: WitServer = run(start_server(options(tmp_path, ssh=ssh)))
    try:
        (address,) = server.addresses
        with urllib.request.urlopen(address + "/health", timeout=20) as answer:
            assert answer.status == 200
        assert not server.app.stopping

        core = server.daemon.core
        ada = run(core.users.create("ada", "ada@example.org", "correct horse battery"))
        key = tmp_path / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        run(server.key_manager.add(ada["id"], key.with_suffix(".pub").read_text(), "laptop"))
        name = RepoName("ada", "notes")
        run(server.repo_manager.create(name))
        assert run(server.repo_manager.exists(name))

        assert server.ssh_server is not None
        host, _, port = server.ssh_server.addresses[0].rpartition(":")
        work = tmp_path / "work"
        git("init", "-q", str(work))
        tip = commit(work)
        env = {"GIT_SSH_COMMAND": " ".join(ssh_command(key))}
        git("push", "-q", f"ssh://git@{host}:{port}/ada/notes", "main", cwd=work, env=env)
        with_password = address.replace("://", "://ada:correct%20horse%20battery@")
        assert tip in git("ls-remote", f"{with_password}/ada/notes").stdout
        assert (tmp_path / "repos" / "ada" / "notes.git" / "HEAD").exists()
        assert (tmp_path / "repos" / ".wit-server" / "wit.db").exists()
    finally:
        run(server.stop())
    assert refuses(int(address.rpartition(":")[2])) and refuses(int(port))
    assert server.addresses == [] and server.ssh_server is None
    run(server.stop())

    # And again, on what the first one left.
    again: WitServer = run(start_server(options(tmp_path, ssh=ssh)))
    assert run(again.repo_manager.exists(name))
    assert run(again.daemon.core.users.count()) == 1
    run(again.stop())


def test_defaults(tmp_path: Path, run: Run) -> None:
    config = ServerOptions(port=3000, repos_dir=str(tmp_path)).config()
    assert config.server.http == ("tcp:3000:interface=0.0.0.0",)
    assert config.ssh.listen == () and config.metrics.listen == ()
    assert config.log.level == "info"
    assert not (tmp_path / ".wit-server").exists(), "reading the options writes nothing"
    assert SshOptions().port == 22
    server = run(start_server(options(tmp_path)))
    assert server.ssh_server is None
    run(server.stop())


def test_all_options(tmp_path: Path) -> None:
    ssh = SshOptions(
        enabled=True,
        port=22,
        host="::1",
        host_key_paths=["/etc/wit/key"],
        allow_anonymous_read=True,
        banner="b",
    )
    config = options(
        tmp_path,
        verbose=True,
        data_dir=str(tmp_path / "data"),
        ssh=ssh,
        settings={"git.max_processes": 4},
    ).config()
    assert config.data_dir == tmp_path / "data" and config.repos_dir == tmp_path / "repos"
    assert config.log.level == "debug" and config.git.max_processes == 4
    assert config.ssh == Ssh(
        listen=("tcp:22:interface=\\:\\:1",),
        host_keys=("/etc/wit/key",),
        anonymous_read=True,
        banner="b",
    )


def test_a_wrong_option(tmp_path: Path, run: Run) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'git\.max_process'; did you mean"):
        run(start_server(options(tmp_path, settings={"git.max_process": 4})))
    with pytest.raises(ConfigError, match=r"option: server\.idle_seconds: 'soon' is not right"):
        run(start_server(options(tmp_path, settings={"server.idle_seconds": "soon"})))


def test_a_taken_port_leaves_nothing_running(tmp_path: Path, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        ssh = SshOptions(enabled=True, port=port)
        taken = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on tcp:{taken}"):
            run(start_server(options(tmp_path, port=taken, ssh=ssh)))
        assert refuses(port), "SSH had started before"
    server = run(start_server(options(tmp_path, port=taken, ssh=ssh)))
    run(server.stop())


def test_a_start_settles_what_was_left(tmp_path: Path, run: Run) -> None:
    """A repository that was being deleted when its daemon was killed."""
    given = options(tmp_path)
    trash = Core(given.config(), Runtime(reactor)).repos.folders.trash("a" * 32)
    trash.mkdir(parents=True)
    (trash / "HEAD").touch()
    server = run(start_server(given))
    assert not trash.exists()
    run(server.stop())


def test_a_start_that_is_cancelled(tmp_path: Path, run: Run) -> None:
    async def impatient() -> None:
        starting = Deferred.fromCoroutine(start_server(options(tmp_path)))
        starting.cancel()
        await starting

    with pytest.raises(CancelledError):
        run(impatient())
    server = run(start_server(options(tmp_path)))
    assert len(server.addresses) == 1
    run(server.stop())
