"""What the tests of the daemon as a process share: its database seen from outside, and what may
not be left on disk."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from tests.support.daemon import BIN, Daemon
from wit.db.tables import events, pushes

ZERO = "0" * 40


def engine_of(daemon: Daemon) -> sa.Engine:
    """The daemon's database, read by somebody else."""
    url = daemon.environment.get("DATABASE_URL", "")
    if url:
        return sa.create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
    return sa.create_engine(f"sqlite:///{daemon.data_dir}/wit.db")


class Tables:
    """The journal and the intents of pushes."""

    def __init__(self, daemon: Daemon) -> None:
        self._engine = engine_of(daemon)

    def close(self) -> None:
        self._engine.dispose()

    def events(self, *types: str) -> list[dict[str, Any]]:
        """The payloads of events of these types, oldest first."""
        query = sa.select(events.c.payload).where(events.c.type.in_(types)).order_by(events.c.seq)
        with self._engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def updates(self) -> list[tuple[str, str | None, str | None]]:
        """(ref, before, after) of every update of every push, oldest first."""
        return [
            (update["ref"], update["before"], update["after"])
            for payload in self.events("push")
            for update in payload["updates"]
        ]

    def intents(self) -> int:
        return self._count(sa.select(sa.func.count()).select_from(pushes))

    def unprocessed(self) -> int:
        """Events that some handler has not had yet."""
        return self._count(
            sa.select(sa.func.count()).select_from(events).where(events.c.processed_at.is_(None))
        )

    def end_leases(self) -> None:
        """As if the time were over for which a killed daemon had claimed its events."""
        claimed = sa.update(events).where(events.c.processed_at.is_(None))
        with self._engine.begin() as connection:
            connection.execute(claimed.values(next_attempt_at=None))

    def _count(self, query: Any) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())


def leftovers(daemon: Daemon, name: str) -> list[str]:
    """What dead pushes left on disk that they should not have."""
    repos = daemon.data_dir / "repos"
    repo = repos / f"{name}.git"
    found = [path for path in repo.rglob("*.lock") if path.name != "wit-maintenance.lock"]
    found += (repo / "objects").glob("tmp_objdir*")
    found += (repos / ".wit" / "pushes").glob("*")
    return [str(path) for path in found]


def kill_all(daemon: Daemon) -> None:
    """kill -9 of the daemon and of everything it started: what a power cut leaves alive."""
    if daemon.process is None or daemon.process.poll() is not None:
        return
    victims = psutil.Process(daemon.process.pid).children(recursive=True)
    daemon.kill()
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()


class Notified:
    """A stand-in for systemd's end of sd_notify(3)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))

    def wait_for(self, assignment: str, seconds: float = 30.0) -> dict[str, str]:
        """The next message with ``assignment`` in it; those before it are dropped."""
        self._socket.settimeout(seconds)
        while True:
            lines = self._socket.recv(4096).decode().splitlines()
            if assignment in lines:
                return dict(line.split("=", 1) for line in lines)

    def drain(self) -> None:
        """Drop what has come."""
        self._socket.settimeout(0.0)
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(4096)

    def close(self) -> None:
        self._socket.close()


def twistd(*arguments: str) -> list[str]:
    return [str(BIN / "twistd"), "-n", "--pidfile=", "wit", *arguments]


@contextmanager
def running(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, **how: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in ``log``; killed at the end if it still lives."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})}, start_new_session=True, **how,
        )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
