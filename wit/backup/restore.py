"""Making a site of a backup: into an empty place, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import attrs
from sqlalchemy.engine import Connection

from wit.backup import repository, rows, tarballs
from wit.backup.archive import (
    DAMAGED,
    END,
    FORMAT,
    MANIFEST,
    Member,
    members,
    split_repository,
    tarball_digest,
)
from wit.backup.thread import stoppable
from wit.backup.verify import fsck_problems, misfits
from wit.config import Config
from wit.config_file import default_text
from wit.config_sources import load
from wit.db import migrate
from wit.db.open import sqlite_path
from wit.errors import ConfigError, Conflict, Invalid
from wit.git.command import Git
from wit.repositories.folders import Folders
from wit.runtime import Runtime

Progress = Callable[[str], object]


@attrs.frozen
class Restored:
    """What came back, and sentences about what does not fit."""

    rows: int
    repositories: int
    problems: tuple[str, ...]


async def restore(
    runtime: Runtime, file: Path, config: Config, progress: Progress, *, force: bool = False
) -> Restored:
    """Fill the database and the folders that ``config`` names with what is in ``file``.

    They must be empty. With ``force``, rows are replaced, and repositories that are in the way are
    kept in ``<repos>/.wit/before-restore-<time>``. Cancelling, or an error, leaves nothing behind.

    No daemon may run on them meanwhile. Raises Conflict, Invalid, ConfigError, DatabaseError.
    """
    git = await runtime.in_thread(Git.find, config.git.binary)
    work = _Restore(file, config, git, progress, runtime.now().strftime("%Y%m%dT%H%M%SZ"), force)
    return await stoppable(runtime, work.run)


@attrs.define
class _Restore:
    """One run; everything in here blocks."""

    _file: Path
    _config: Config
    _git: Git
    _progress: Progress
    _stamp: str
    _force: bool
    _problems: list[str] = attrs.field(factory=list)
    _rows: int = 0
    _settings: dict[str, bytes] = attrs.field(factory=dict)
    _repositories: set[str] = attrs.field(factory=set)

    def run(self, stop: threading.Event) -> Restored:
        folders = Folders(self._config.repos_dir)
        staging = folders.root / ".wit" / f"restore-{self._stamp}"
        try:
            archive = members(self._file, stop)
            manifest = _read_manifest(self._file, next(archive, None))
            self._check_target(folders)
            self._progress(f"making the schema {manifest['schema']}")
            self._prepare_schema(manifest["schema"])
            staging.mkdir(parents=True)
            with ExitStack() as undo:
                with rows.writing(self._config.database_url) as connection:
                    if not rows.is_empty(connection) and not self._force:
                        raise _not_empty("the database")
                    rows.clear(connection)
                    for member in archive:
                        self._take(member, staging, connection, stop)
                    self._problems += rows.broken_references(connection)
                    self._install_repositories(folders, staging, undo)
                    tarballs.install(self._tarballs, self._config.packages_dir, undo)
                undo.pop_all()
            os.sync()
        except DAMAGED as error:
            raise Invalid(f"{self._file} is damaged or cut off: {error}") from error
        except OSError as error:
            raise Invalid(f"cannot restore {self._file}: {error}") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            shutil.rmtree(self._tarballs, ignore_errors=True)
        migrate.upgrade(self._config.database_url, self._config.data_dir / "backups")
        self._install_settings()
        self._verify(folders)
        return Restored(self._rows, len(self._repositories), tuple(self._problems))

    @property
    def _tarballs(self) -> Path:
        """Where tarballs are until the rows are there."""
        return self._config.packages_dir / f"restore-{self._stamp}"

    # Before

    def _check_target(self, folders: Folders) -> None:
        if not self._force and any(_owner_folders(folders.root)):
            raise _not_empty(f"the folder {folders.root}")
        path = sqlite_path(self._config.database_url)
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _prepare_schema(self, revision: str) -> None:
        """The schema that the rows came from, in a database that has none yet, or exactly that."""
        if revision not in migrate.REVISIONS:
            raise ConfigError(
                f"{self._file} was made by a newer wit (schema {revision}; this one knows up to "
                f"{migrate.REVISIONS[-1]}): install that version and restore with it"
            )
        url = self._config.database_url
        state = migrate.status(url)
        if state.state == "empty":
            migrate.upgrade(url, self._config.data_dir / "backups", revision)
        elif state.current != revision:
            raise Conflict(
                f"the database has schema {state.current}, the backup {revision}: "
                "restore into a database without tables"
            )

    # The archive

    def _take(
        self, member: Member, staging: Path, connection: Connection, stop: threading.Event
    ) -> None:
        name = member.name
        if name.startswith("db/"):
            table = name.removeprefix("db/").removesuffix(".jsonl")
            if table == "alembic_version" or table not in {t.name for t in rows.tables()}:
                raise Invalid(f"{name} is no table of wit")
            self._progress(f"restoring the database: {table}")
            self._rows += rows.load(connection, table, member.file, stop)
        elif name.startswith("ssh/") or name == "wit.toml":
            self._settings[name] = member.read_small()
        elif name == END:
            saved = json.loads(member.read_small())
            self._problems += (f"when it was saved: {text}" for text in saved["problems"])
        elif (found := split_repository(name)) is not None:
            owner, repo, inner = found
            full_name = f"{owner}/{repo}"
            if full_name not in self._repositories:
                self._progress(f"restoring {full_name}")
                self._repositories.add(full_name)
            repository.put_back(staging / owner / f"{repo}.git", inner, member)
        elif (sha512 := tarball_digest(name)) is not None:
            tarballs.put_back(self._tarballs, sha512, member)
        else:
            raise Invalid(f"{name} is in the wrong place of the backup")

    # After

    def _install_repositories(self, folders: Folders, staging: Path, undo: ExitStack) -> None:
        """The last step before the rows are committed: renames only, undone if that fails."""
        aside = folders.root / ".wit" / f"before-restore-{self._stamp}"
        if self._force:
            for owner in _owner_folders(folders.root):
                aside.mkdir(parents=True, exist_ok=True)
                os.rename(owner, aside / owner.name)
                undo.callback(os.rename, aside / owner.name, owner)
        if aside.exists():
            self._problems.append(f"the repositories that were here before are in {aside}")
        for owner in sorted(staging.iterdir()):
            target = folders.root / owner.name
            os.rename(owner, target)
            undo.callback(shutil.rmtree, target)

    def _install_settings(self) -> None:
        folder = self._config.data_dir / "ssh"
        for name, data in self._settings.items():
            if name.startswith("ssh/"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                mode = 0o644 if name.endswith(".pub") else 0o600
                _write_private(folder / name.removeprefix("ssh/"), data, mode)
        text = self._settings.get("wit.toml")
        if text is None:
            return
        target = self._config.data_dir / "wit.toml"
        present = target.read_bytes() if target.exists() else None
        if present == text:
            return
        if present not in (None, default_text().encode()) or not self._fits(text):
            aside = target.with_name("wit.toml.restored")
            _write_private(aside, text, 0o600)
            self._problems.append(
                f"the saved settings are in {aside}: they are not those that were restored with"
            )
        else:
            _write_private(target, text, 0o600)

    def _fits(self, text: bytes) -> bool:
        """Whether wit started with these settings would find what we restored."""
        trial = self._config.data_dir / f".restore-{self._stamp}"
        trial.mkdir(mode=0o700)
        try:
            _write_private(trial / "wit.toml", text, 0o600)
            saved = load(trial, {}, {}, write_default=False)
        except ConfigError:
            return False
        finally:
            shutil.rmtree(trial, ignore_errors=True)
        own = self._config
        return saved.database.url in ("", own.database.url) and (
            not saved.repositories.dir or saved.repos_dir == own.repos_dir
        )

    def _verify(self, folders: Folders) -> None:
        self._progress("verifying")
        with rows.reading(self._config.database_url) as connection:
            disk_paths = set(rows.disk_paths(connection))
            self._problems += tarballs.missing(self._config, connection)
        self._problems += misfits(folders, disk_paths)
        for full_name in sorted(self._repositories):
            folder = folders.root / f"{full_name}.git"
            self._progress(f"verifying {full_name}")
            self._problems += (
                f"{full_name}: {problem}" for problem in fsck_problems(self._git, folder)
            )


def _read_manifest(file: Path, member: Member | None) -> dict[str, Any]:
    if member is None or member.name != MANIFEST:
        raise Invalid(f"{file} is not a backup of wit: it does not begin with {MANIFEST}")
    try:
        manifest: dict[str, Any] = json.loads(member.read_small())
        version, schema = int(manifest["format"]), str(manifest["schema"])
    except (ValueError, KeyError, TypeError):
        raise Invalid(f"{file}: {MANIFEST} is not understood") from None
    if version > FORMAT:
        raise Invalid(
            f"{file} has the backup format {version}, this wit reads up to {FORMAT}: "
            f"restore it with wit {manifest.get('wit', 'in a newer version')}"
        )
    return manifest | {"schema": schema}


def _owner_folders(root: Path) -> list[Path]:
    """Everything in the repository folder but wit's own."""
    try:
        return sorted(path for path in root.iterdir() if path.name != ".wit")
    except FileNotFoundError:
        return []


def _not_empty(what: str) -> Conflict:
    return Conflict(
        f"{what} is not empty; restore into a new --data-dir, or replace everything with --force"
    )


def _write_private(path: Path, data: bytes, mode: int) -> None:
    """The whole file or the old one, never readable by others meanwhile."""
    temporary = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        temporary.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
        file.write(data)
    os.replace(temporary, path)
