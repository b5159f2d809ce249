"""``wit doctor``: looks at everything that can be wrong, changes nothing, says what to do."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
import sqlalchemy as sa

from wit.backup import rows, tarballs
from wit.backup.archive import check_stop
from wit.backup.thread import stoppable
from wit.backup.verify import fsck_problems, misfits, quick_problems, stale_locks
from wit.cli.doctor_ports import ports
from wit.cli.doctor_sandboxes import sandboxes
from wit.cli.findings import Finding, fail, ok, warn
from wit.cli.session import Session
from wit.config import GIB, MIB, Config
from wit.db import migrate
from wit.db.tables import events, pushes, repositories
from wit.errors import ConfigError, WitError
from wit.git.command import Git
from wit.git.push_directory import is_alive
from wit.git.repository import is_bare
from wit.git.scrub import listed, overdue
from wit.repositories.folders import Folders
from wit.repositories.scrubbing import DAY
from wit.ssh.host_keys import key_folder, load_host_keys

LOW_DISK, NO_DISK = 2 * GIB, 200 * MIB
STALE_LOCK = 3600.0
"""Seconds after which git's lock file surely belongs to nobody."""
CLOCK_SLACK = 60.0
"""Seconds by which clocks may differ."""
RELEASED = datetime(2026, 1, 1, tzinfo=UTC)


async def doctor(session: Session, arguments: Namespace) -> int:
    """Status 1 if something fails; warnings alone are 0."""
    counts = {"ok": 0, "warn": 0, "fail": 0}

    def report(finding: Finding) -> None:
        counts[finding.level] += 1
        line = f"{finding.level:<4}  {finding.subject}: {finding.text}"
        session.say(f"{line}\n      {finding.advice}" if finding.advice else line)

    check = Examination(session.config, session.runtime.now, arguments.full, session.progress)
    for finding in await stoppable(session.runtime, check.run):
        report(finding)
    for finding in await sandboxes(session.config, session.runtime):
        report(finding)
    session.note(f"{counts['ok']} fine, {counts['warn']} to look at, {counts['fail']} failed")
    return 1 if counts["fail"] else 0


@attrs.define
class Examination:
    """One run; blocks, in a thread."""

    config: Config
    now: Callable[[], datetime]
    full: bool
    progress: Callable[[str], object]

    def run(self, stop: threading.Event) -> list[Finding]:
        found: list[Finding] = []
        for part in (
            self._data_dir, self._settings, self._git, self._limits, self._disk, self._keys,
            self._ports, self._database, self._repositories,
        ):  # fmt: skip
            try:
                for finding in part():
                    check_stop(stop)
                    found.append(finding)
            except (WitError, OSError) as error:
                found.append(fail(part.__name__.strip("_").replace("_", " "), str(error)))
        return found

    def _data_dir(self) -> Iterator[Finding]:
        folder = self.config.data_dir
        if not folder.is_dir():
            yield warn("data folder", f"{folder} does not exist yet", "the first start makes it")
            return
        status = folder.stat()
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK) or status.st_uid != os.geteuid():
            yield warn(
                "data folder", f"{folder} belongs to another user (uid {status.st_uid})",
                "run wit doctor as the user that the daemon runs as",
            )  # fmt: skip
        elif status.st_mode & 0o007:
            yield warn("data folder", f"everybody may enter {folder}", f"chmod o= {folder}")
        else:
            yield ok("data folder", str(folder))

    def _settings(self) -> Iterator[Finding]:
        for name in ("wit.toml", "wit.db"):
            path = self.config.data_dir / name
            if path.exists() and path.stat().st_mode & 0o077:
                mode = stat.S_IMODE(path.stat().st_mode)
                yield warn("settings", f"others may read {path} (mode {mode:04o})",
                           f"chmod 600 {path}")  # fmt: skip
            elif path.exists():
                yield ok("settings", f"{path} is private")

    def _git(self) -> Iterator[Finding]:
        git = Git.find(self.config.git.binary)
        yield ok("git", f"{git.binary} {'.'.join(map(str, git.version))}")

    def _limits(self) -> Iterator[Finding]:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        connections = self.config.server.max_connections + self.config.ssh.max_connections
        needed = connections + 8 * self.config.git.max_processes + 200
        if soft < needed and soft != resource.RLIM_INFINITY:
            yield warn(
                "open files", f"the limit is {soft} (at most {hard}), but {needed} may be needed",
                "raise it: LimitNOFILE= in wit.service, or ulimit -n",
            )  # fmt: skip
        else:
            yield ok("open files", f"limit {soft}")

    def _disk(self) -> Iterator[Finding]:
        for subject, folder in (
            ("disk of data", self.config.data_dir), ("disk of repositories", self.config.repos_dir)
        ):  # fmt: skip
            place = next(path for path in (folder, *folder.parents) if path.exists())
            free = shutil.disk_usage(place).free
            inodes = os.statvfs(place)
            text = f"{free // MIB} MiB free at {place}"
            if free < NO_DISK or (inodes.f_files and inodes.f_favail < 1000):
                yield fail(subject, text, "make room: pushes fail when the disk is full")
            elif free < LOW_DISK:
                yield warn(subject, text, "make room")
            else:
                yield ok(subject, text)

    def _keys(self) -> Iterator[Finding]:
        if not self.config.ssh.listen:
            yield ok("host keys", "SSH is off")
        elif not self.config.ssh.host_keys and not any(key_folder(self.config).glob("ssh_host_*")):
            yield warn("host keys", "there are none yet", "the first start makes them")
        else:
            keys = load_host_keys(self.config)
            yield ok("host keys", b", ".join(keys.algorithms).decode())

    def _ports(self) -> Iterator[Finding]:
        yield from ports(self.config)

    # Database

    def _database(self) -> Iterator[Finding]:
        url = self.config.database_url
        before = time.monotonic()
        found = migrate.status(url)
        milliseconds = (time.monotonic() - before) * 1000
        if found.state == "newer":
            raise ConfigError(
                f"schema {found.current} is newer than this wit knows ({found.head}): "
                "install the newer wit"
            )
        if found.state == "empty":
            yield warn("database", "there are no tables yet", "the first start makes them")
            return
        if found.state == "behind":
            yield warn("database", f"schema {found.current}, to be upgraded to {found.head}",
                       "wit migrate, or start the daemon")  # fmt: skip
            return
        yield ok("database", f"schema {found.current}, reached in {milliseconds:.0f} ms")
        yield from self._clock(url)
        with rows.reading(url) as connection:
            broken = rows.broken_references(connection)
            intents = [str(id) for id in connection.execute(sa.select(pushes.c.id)).scalars()]
        for sentence in broken:
            yield fail("database", sentence, "restore a backup, or repair the row by hand")
        dead = [push for push in intents if not is_alive(self.config.repos_dir, push)]
        if dead:
            yield warn("pushes", f"{len(dead)} were cut off and are not settled yet",
                       "a running daemon settles them within a minute")  # fmt: skip
        else:
            yield ok("pushes", f"{len(intents)} under way, none cut off")

    def _clock(self, url: str) -> Iterator[Finding]:
        problems = []
        now = self.now()
        if now < RELEASED:
            problems.append(f"it is {now:%Y-%m-%d} here, before this program was made")
        with rows.reading(url) as connection:
            newest = connection.execute(sa.select(sa.func.max(events.c.created_at))).scalar()
            if newest is not None and (newest - now).total_seconds() > CLOCK_SLACK:
                problems.append(f"the newest event is of the future: {newest:%Y-%m-%d %H:%M:%S}Z")
            if connection.dialect.name == "postgresql":
                theirs = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
                apart = abs((theirs - self.now()).total_seconds())
                if apart > CLOCK_SLACK:
                    problems.append(f"this machine and the database are {apart:.0f} s apart")
        for problem in problems:
            yield fail("clock", problem, "synchronise the clocks (timedatectl, NTP)")
        if not problems:
            yield ok("clock", f"{now:%Y-%m-%d %H:%M:%S}Z")

    # Repositories

    def _repositories(self) -> Iterator[Finding]:
        root = self.config.repos_dir
        if not root.is_dir():
            yield warn("repositories", f"{root} does not exist yet", "the first start makes it")
            return
        if not os.access(root, os.W_OK):
            yield fail("repositories", f"{root} cannot be written", "give it to the daemon's user")
        if migrate.status(self.config.database_url).state != "current":
            return
        with rows.reading(self.config.database_url) as connection:
            table = sa.select(repositories.c.disk_path, repositories.c.read_only_reason)
            known = {row.disk_path: row.read_only_reason for row in connection.execute(table)}
            lost = tarballs.missing(self.config, connection)
        for sentence in lost:
            yield fail("packages", sentence, "restore it from a backup, or publish anew")
        folders = Folders(root)
        for sentence in misfits(folders, known.keys()):
            level = warn if "wit sync" in sentence else fail
            yield level("repositories", sentence)
        git = Git.find(self.config.git.binary)
        bad = 0
        for disk_path, read_only in sorted(known.items()):
            name = disk_path.removeprefix("/repos/").removesuffix(".git")
            for finding in self._repository(git, name, _folder(folders, disk_path), read_only):
                bad += 1
                yield finding
        depth = "with git fsck" if self.full else "quickly; --full runs git fsck"
        yield ok("repositories", f"looked at {len(known)} ({depth}), {bad} findings")

    def _repository(
        self, git: Git, name: str, folder: Path | None, read_only: str | None
    ) -> Iterator[Finding]:
        if read_only:
            yield warn(name, f"it takes no pushes: {read_only}", "repair or restore it")
        if folder is None:
            return
        for problem in quick_problems(folder):
            yield fail(name, problem)
        yield from self._unverified(name, folder)
        for lock in stale_locks(folder, STALE_LOCK, self.now().timestamp()):
            yield warn(name, f"an old lock blocks it: {lock}",
                       f"wit maintenance run {name}, or remove the file")  # fmt: skip
        if self.full:
            self.progress(f"examining {name}")
            for problem in fsck_problems(git, folder):
                yield fail(name, problem, "restore it from a backup or push the objects again")

    def _unverified(self, name: str, folder: Path) -> Iterator[Finding]:
        days = 2 * self.config.git.scrub_days
        old = overdue(listed(str(folder)), self.now().timestamp(), days * DAY)
        if days and old:
            yield warn(name, f"{len(old)} of its packs were not verified in {days} days",
                       f"wit repo verify {name}; a running daemon does it by itself")  # fmt: skip


def _folder(folders: Folders, disk_path: str) -> Path | None:
    """None for what misfits() has told about already."""
    try:
        folder = folders.path(disk_path)
    except WitError:
        return None
    return folder if is_bare(str(folder)) else None
