"""Starting: without configuration, with every kind of it, and not at all."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy as sa

from tests.daemon.support import running, twistd
from tests.support.daemon import free_port, wait_until
from wit.tap import Options

QUIET = {"WIT_METRICS_LISTEN": "none"}


def ready(log: Path, process: subprocess.Popen[bytes]) -> str:
    """The greeting, once it is printed."""

    def greeting() -> str:
        text = log.read_text()
        assert process.poll() is None, text
        at = text.find(" is running\n")
        return text[text.rindex("\n", 0, at) + 1 :] if at > 0 and "  data " in text else ""

    return str(wait_until(greeting, what="the greeting"))


def address(greeting: str, name: str) -> str:
    found = re.search(rf"^  {name} +(\S+)$", greeting, re.MULTILINE)
    assert found is not None, greeting
    return found[1]


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return bytes(answer.read())


def get_unix(path: Path, what: str) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        client.sendall(f"GET {what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_the_defaults_are_those_of_the_readme(tmp_path: Path) -> None:
    options = Options()
    options.parseOptions(["--data-dir", str(tmp_path)])
    config = options["config"]
    assert config.server.http == ("tcp:3000:interface=127.0.0.1",)
    assert config.ssh.listen == ("tcp:2222:interface=127.0.0.1",)
    assert config.metrics.listen == ("tcp:9464:interface=127.0.0.1",)


def test_a_first_start_without_configuration(tmp_path: Path) -> None:
    """Only the ports are not the usual ones: somebody may be using those."""
    home, log = tmp_path / "home", tmp_path / "log"
    (tmp_path / "here").mkdir()
    environment = {"HOME": str(home), "PORT": "0", "SSH_PORT": "0", **QUIET}
    data = home / ".wit"
    with running(twistd(), log, environment, cwd=tmp_path / "here") as process:
        greeting = ready(log, process)
        assert greeting.startswith("wit 2.0.0 is running\n")
        assert json.loads(get(address(greeting, "HTTP") + "/health"))["status"] == "ok"
        assert address(greeting, "SSH").startswith("ssh://git@127.0.0.1:")
        assert address(greeting, "data") == str(data)
        hint = greeting[greeting.index("Make the first one:\n") :].splitlines()[1]
        command = shlex.split(hint.replace("NAME", "ada").replace("ADDRESS", "ada@example.org"))
        made = subprocess.run(command, input="correct horse battery\n", text=True, timeout=60)
        assert made.returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    settings = (data / "wit.toml").read_text()
    assert "[server]" in settings and all(
        line.startswith(("#", "[")) or not line for line in settings.splitlines()
    )
    assert {path.name for path in (data / "ssh").glob("*_key")} == {
        "ssh_host_ed25519_key", "ssh_host_ecdsa_key", "ssh_host_rsa_key",
    }  # fmt: skip
    assert "Traceback" not in log.read_text()
    with running(twistd(), log, environment, cwd=tmp_path / "here") as process:
        wait_until(lambda: log.read_text().count(" is running\n") == 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert log.read_text().count("no users yet") == 1


def test_endpoints(tmp_path: Path) -> None:
    """Several, of several kinds; the socket that a killed daemon left does not hinder the next."""
    log, path = tmp_path / "log", tmp_path / "http.sock"
    command = twistd(
        "--data-dir", str(tmp_path / "data"), "--ssh", "none", "--http", f"unix:{path}",
        "--http", "tcp:0:interface=127.0.0.1", "--http", "tcp:0:interface=127.0.0.1",
    )  # fmt: skip
    with running(command, log, QUIET) as process:
        greeting = ready(log, process)
        process.kill()
        process.wait(20)
    assert path.exists()
    log.unlink()
    with running(command, log, QUIET) as process:
        greeting = ready(log, process)
        addresses = re.findall(r"^  HTTP +(\S+)$", greeting, re.MULTILINE)
        assert len(set(addresses)) == 3 and f"unix:{path}" in addresses
        assert "SSH" not in greeting
        for url in addresses:
            if url.startswith("http"):
                assert get(url + "/livez") == b"ok\n"
        assert get_unix(path, "/livez").startswith(b"HTTP/1.1 200 ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not path.exists()
    assert not (tmp_path / "data" / "ssh").exists()


def test_sources_of_settings(tmp_path: Path) -> None:
    """wit.toml < the reference's variables < WIT_* < flags."""
    log, data, key = tmp_path / "log", tmp_path / "data", tmp_path / "host_key"
    http, ssh = free_port(), free_port()
    data.mkdir()
    (data / "wit.toml").write_text(
        '[log]\nlevel = "critical"\nformat = "json"\n[ssh]\nbanner = "from the file"\n'
        '[server]\nhttp = ["tcp:1:interface=127.0.0.1"]\n'
    )
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    environment = {
        "PORT": str(http), "HOST": "127.0.0.2", "SSH_PORT": str(ssh), "LOG_LEVEL": "error",
        "WIT_LOG_LEVEL": "warn", "SSH_HOST_KEY_PATH": str(key), **QUIET,
    }  # fmt: skip
    command = twistd("--data-dir", str(data), "--log-level", "info")
    with running(command, log, environment) as process:
        greeting = ready(log, process)
        assert address(greeting, "HTTP") == f"http://127.0.0.2:{http}"
        assert address(greeting, "SSH") == f"ssh://git@127.0.0.1:{ssh}"
        scan = ["ssh-keyscan", "-t", "ed25519", "-p", str(ssh), "127.0.0.1"]
        found = subprocess.run(scan, capture_output=True, text=True, timeout=30).stdout
        assert key.with_suffix(".pub").read_text().split()[1] in found
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert "info" in {line["level"] for line in lines}
    assert not (data / "ssh").exists()


# What ends with status 1 and one sentence


def fails(command: list[str], log: Path, environment: dict[str, str] | None = None) -> str:
    """The last line, which is the sentence; nothing may look like a crash."""
    with running(command, log, {**QUIET, **(environment or {})}) as process:
        assert process.wait(60) == 1, log.read_text()
    text = log.read_text()
    assert "Traceback" not in text and "Unhandled" not in text and "Usage:" not in text, text
    last = text.splitlines()[-1]
    assert last.startswith("wit: "), text
    return last.removeprefix("wit: ")


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"


def test_a_taken_port(tmp_path: Path, taken: str) -> None:
    data, log = str(tmp_path / "data"), tmp_path / "log"
    free = "tcp:0:interface=127.0.0.1"
    loud = {"WIT_LOG_LEVEL": "debug"}
    reason = fails(twistd("--data-dir", data, "--http", taken, "--ssh", free), log, loud)
    assert f"cannot listen on {taken}" in reason and "Address already in use" in reason
    assert re.search(r"Port \d+ Closed", log.read_text()), "SSH was stopped again"
    reason = fails(twistd("--data-dir", data, "--http", free, "--ssh", taken), log)
    assert "ssh.listen: cannot listen on" in reason
    # Nothing is left that the next start stumbles over; and metrics are not worth failing for.
    log.unlink()
    command = twistd("--data-dir", data, "--http", free, "--ssh", free, "--metrics", taken)
    with running(command, log) as process:
        ready(log, process)
        assert "metrics are off: cannot listen on" in log.read_text()


def test_wrong_settings(tmp_path: Path) -> None:
    data, log = tmp_path / "data", tmp_path / "log"
    data.mkdir()
    (data / "wit.toml").write_text("[server]\nidle_second = 5\n")
    assert fails(twistd("--data-dir", str(data)), log) == (
        f"{data}/wit.toml: unknown key 'server.idle_second'; did you mean server.idle_seconds?"
    )
    (data / "wit.toml").write_text("")
    reason = fails(twistd("--data-dir", str(data), "--http", "bogus:1"), log)
    assert reason.startswith("flag --http: server.http: ['bogus:1'] is not right; expected")
    reason = fails(twistd("--data-dir", str(data)), log, {"WIT_GIT_BINARY": "/none/git"})
    assert reason.startswith("git.binary: there is no program '/none/git'; install git 2.38")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file is in the way, which stops root as well."""
    (tmp_path / "file").touch()
    log = tmp_path / "log"
    reason = fails(twistd("--data-dir", str(tmp_path / "file" / "data")), log)
    assert reason.endswith("Not a directory; give another folder with --data-dir or WIT_DATA_DIR")
    repos = tmp_path / "file" / "repos"
    command = twistd("--data-dir", str(tmp_path / "data"), "--http", "tcp:0", "--ssh", "none")
    reason = fails(command, log, {"WIT_REPOSITORIES_DIR": str(repos)})
    assert reason == f"cannot make the folder {repos}: Not a directory"


@pytest.mark.attack(57, 70)
@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1:1", "Connection refused"), ("db.invalid", "could not translate host name")],
)
def test_an_unreachable_database(tmp_path: Path, host: str, expected: str) -> None:
    environment = {"DATABASE_URL": f"postgresql://wit:canary@{host}/wit"}
    log = tmp_path / "log"
    reason = fails(twistd("--data-dir", str(tmp_path / "data")), log, environment)
    assert reason.startswith("PostgreSQL: ") and expected in reason
    assert "canary" not in log.read_text()


@pytest.mark.attack(71)
def test_a_newer_schema(tmp_path: Path, database_url: str) -> None:
    """Refused with what to do, and left as it is."""
    url = database_url.replace("postgresql:", "postgresql+psycopg2:")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    environment = {"WIT_DATABASE_URL": database_url}
    command = twistd("--data-dir", str(tmp_path / "data"))
    reason = fails(command, tmp_path / "log", environment)
    assert reason.startswith("the database has schema 9999, this wit knows schemas up to ")
    assert "install the newer wit again (the one that has migration 9999), or restore" in reason
    with engine.connect() as connection:
        revision = connection.execute(sa.text("SELECT version_num FROM alembic_version"))
        assert revision.scalar_one() == "9999"
    engine.dispose()


def test_sigterm_while_it_starts(tmp_path: Path) -> None:
    """The database accepts the connection and says nothing more."""
    log = tmp_path / "log"
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        url = f"postgresql://wit@127.0.0.1:{mute.getsockname()[1]}/wit"
        command = twistd("--data-dir", str(tmp_path / "data"))
        with running(command, log, {"DATABASE_URL": url, **QUIET}) as process:
            mute.settimeout(30)
            connection, _ = mute.accept()
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            connection.close()
    text = log.read_text()
    assert "is running" not in text and "Traceback" not in text and "Unhandled" not in text, text


@pytest.mark.postgres
def test_two_daemons_that_start_at_once_on_an_empty_database(
    tmp_path: Path, postgres_server
) -> None:
    """One makes the tables, the other finds them."""
    url = postgres_server.new_database(migrated=False)
    flags = ("--http", "tcp:0:interface=127.0.0.1", "--ssh", "none")
    environment = {"DATABASE_URL": url, **QUIET}
    logs = [tmp_path / "log0", tmp_path / "log1"]
    commands = [twistd("--data-dir", str(tmp_path / f"data{n}"), *flags) for n in range(2)]
    with (
        running(commands[0], logs[0], environment) as first,
        running(commands[1], logs[1], environment) as second,
    ):
        for process, log in ((first, logs[0]), (second, logs[1])):
            assert get(address(ready(log, process), "HTTP") + "/readyz")
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM alembic_version")
        assert cursor.fetchone() == (1,)
    postgres_server.drop_database(url)
