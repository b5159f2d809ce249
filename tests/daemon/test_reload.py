"""SIGHUP: certificates, host keys and settings change under open connections (attack line 69)."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.daemon.support import Notified, kill_all
from tests.support.daemon import Daemon, commit, git, ssh_command, talkative, wait_until


def make_certificate(folder: Path, name: str) -> None:
    """key.pem and cert.pem for 127.0.0.1, signed by itself."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    folder = tmp_path / "tls"
    folder.mkdir()
    make_certificate(folder, "first")
    return folder


class Reloaded(Daemon):
    """With TLS on a second port, and systemd to hear when a reload is over."""

    def __init__(self, folder: Path, tls: Path) -> None:
        self.systemd = Notified(folder)
        super().__init__(folder / "data", environment={"NOTIFY_SOCKET": str(self.systemd.path)})
        files = f"privateKey={tls}/key.pem:certKey={tls}/cert.pem"
        self.flags += ["--http", f"ssl:0:{files}:interface=127.0.0.1"]
        self.start()
        self.systemd.wait_for("READY=1")

    def reload(self) -> str:
        """SIGHUP; what the log says about it."""
        before = len(self.log())
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        self.systemd.wait_for("RELOADING=1")
        self.systemd.wait_for("READY=1")
        return self.log()[before:]


@pytest.fixture
def daemon(tmp_path: Path, tls: Path) -> Iterator[Reloaded]:
    daemon = Reloaded(tmp_path, tls)
    yield daemon
    kill_all(daemon)
    daemon.systemd.close()


def tls_port(daemon: Reloaded) -> int:
    def port() -> str:
        return daemon.log().rpartition("HTTP     https://127.0.0.1:")[2].split("\n")[0]

    return int(wait_until(port, what="the greeting"))


def served_certificate(daemon: Reloaded) -> str:
    return ssl.get_server_certificate(("127.0.0.1", tls_port(daemon)), timeout=20)


def toml(daemon: Reloaded, text: str) -> None:
    (daemon.data_dir / "wit.toml").write_text(text)


@pytest.mark.attack(69)
def test_tls_with_git_and_a_new_certificate(daemon: Reloaded, tls: Path, tmp_path: Path) -> None:
    token = daemon.user("ada")
    work = tmp_path / "work"
    git("init", "-q", str(work))
    commit(work)
    base = f"https://ada:{token}@127.0.0.1:{tls_port(daemon)}/ada/tls"
    trust = ("-c", f"http.sslCAInfo={tls}/cert.pem")
    git(*trust, "push", "-q", base, "main", cwd=work)
    git(*trust, "clone", "-q", base, str(tmp_path / "clone"))
    distrusted = git("clone", "-q", base, str(tmp_path / "none"), check=False)
    assert distrusted.returncode != 0 and "certificate" in distrusted.stderr

    trusting = ssl.create_default_context(cafile=str(tls / "cert.pem"))
    plain = socket.create_connection(("127.0.0.1", tls_port(daemon)), 20)
    with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as old:
        first = served_certificate(daemon)
        make_certificate(tls, "second")
        assert served_certificate(daemon) == first, "not before it is told"
        assert "reloaded the settings, TLS files and host keys" in daemon.reload()
        assert served_certificate(daemon) == (tls / "cert.pem").read_text() != first
        old.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert old.recv(12) == b"HTTP/1.1 200", "the open connection goes on"
    git(*trust, "ls-remote", base)

    good = served_certificate(daemon)
    (tls / "key.pem").write_text("nonsense")
    assert f"reload: {tls}/key.pem: expected a private key in PEM format" in daemon.reload()
    assert served_certificate(daemon) == good
    git("-c", f"http.sslCAInfo={tls}/cert.pem", "ls-remote", base)


@pytest.mark.attack(69)
def test_a_new_host_key(daemon: Reloaded, tmp_path: Path) -> None:
    def scanned() -> str:
        scan = ["ssh-keyscan", "-t", "ed25519", "-p", str(daemon.ssh_port), "127.0.0.1"]
        return subprocess.run(scan, capture_output=True, text=True, timeout=30).stdout.split()[2]

    file = daemon.data_dir / "ssh" / "ssh_host_ed25519_key"
    first = scanned()
    for old in (file, file.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    assert scanned() == first
    daemon.reload()
    assert scanned() == file.with_suffix(".pub").read_text().split()[1] != first
    second = scanned()
    file.write_text("nonsense")
    assert "the old settings stay in use" in daemon.reload()
    assert scanned() == second


@pytest.mark.attack(69)
def test_settings(daemon: Reloaded, tmp_path: Path) -> None:
    assert "GET /livez 200" not in daemon.log()
    daemon.get("livez")
    wait_until(lambda: "GET /livez 200" in daemon.log())
    toml(
        daemon,
        '[log]\nlevel = "warn"\nformat = "json"\n'
        "[server]\nmax_connections = 2\ncors_origins = ['https://app.example']\n"
        "[ssh]\nbanner = 'mind the gap'\n[git]\nmax_processes = 3\nfetch_seconds = 5.0\n",
    )
    said = daemon.reload()
    waiting = said.partition("in use only after a restart: ")[2].splitlines()[0]
    assert sorted(waiting.split(", ")) == ["git.fetch_seconds", "log.format"]

    before = daemon.log()
    _, headers, _ = daemon.get("health", {"Origin": "https://app.example"})
    assert headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "GET /health" not in daemon.log()[len(before) :], "the level is warn now"
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(socket.create_connection(("127.0.0.1", daemon.http_port), 20))
        third = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.http_port), 20))
        third.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert closed(third), "the limit of connections is the new one"
    command = talkative(ssh_command(tmp_path / "no_key", "-p", str(daemon.ssh_port)))
    done = subprocess.run([*command, "git@127.0.0.1"], capture_output=True, text=True, timeout=60)
    assert "mind the gap" in done.stderr

    # A broken file changes nothing, and is told.
    toml(daemon, '[log]\nlevel = "debug"\n[server]\nmax_connection = 1\n')
    said = daemon.reload()
    assert "unknown key 'server.max_connection'; did you mean server.max_connections?" in said
    toml(daemon, "[log\n")
    assert "not valid TOML" in daemon.reload()
    before = daemon.log()
    assert daemon.get("livez")[0] == 200
    assert daemon.log() == before, "neither debug nor info"

    toml(daemon, "")
    daemon.reload()
    daemon.get("livez")
    wait_until(lambda: "GET /livez 200" in daemon.log()[len(before) :])
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log()


def closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.attack(69)
def test_many_signals_at_once(daemon: Reloaded) -> None:
    """Reloads come one after the other; what was written last counts."""
    assert daemon.process is not None
    for number in range(20):
        toml(daemon, f"[git]\nmax_processes = {number + 1}\n[log]\nlevel = 'warn'\n")
        daemon.process.send_signal(signal.SIGHUP)
    toml(daemon, "[server]\nmax_connections = 1\n")
    daemon.process.send_signal(signal.SIGHUP)

    def one_connection() -> bool:
        here = ("127.0.0.1", daemon.http_port)
        with socket.create_connection(here, 20), socket.create_connection(here, 20) as second:
            second.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            return closed(second)

    wait_until(one_connection, what="the last of the reloads")
    os.kill(daemon.process.pid, signal.SIGHUP)
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log()
