"""Making a backup while the daemon, if there is one, goes on working."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import attrs

import wit
from wit.backup import repository, rows, tarballs
from wit.backup.archive import END, FORMAT, MANIFEST, Writer, check_stop
from wit.backup.thread import stoppable
from wit.backup.verify import unregistered
from wit.config import Config
from wit.errors import Invalid, WitError
from wit.git.command import Git
from wit.repositories.folders import PREFIX, SUFFIX, Folders
from wit.runtime import Runtime

Progress = Callable[[str], object]
"""Called from a thread with one line per step."""


class Source(Protocol):
    """What of ``wit.core.Core`` a backup needs."""

    @property
    def config(self) -> Config: ...
    @property
    def runtime(self) -> Runtime: ...
    @property
    def git(self) -> Git: ...


@attrs.frozen
class Summary:
    """What a backup holds."""

    rows: int
    repositories: int
    size: int
    """Bytes of the file."""
    problems: tuple[str, ...]
    """Sentences about what could not be saved."""


async def backup(core: Source, file: Path, progress: Progress) -> Summary:
    """Write everything to ``file``, replacing it in one step when the new one is complete.

    Cancelling removes what was written. Raises WitError when the file, the database or the disk
    fails; a single repository that cannot be read is skipped and told as a problem.
    """
    return await stoppable(core.runtime, _backup, core, file, progress)


def _backup(stop: threading.Event, core: Source, file: Path, progress: Progress) -> Summary:
    file = file.absolute()
    try:
        writer = Writer(file, stop)
    except OSError as error:
        raise Invalid(f"cannot write {file}: {error.strerror}") from None
    try:
        summary = _write(writer, core, progress, stop)
        writer.commit()
        return attrs.evolve(summary, size=file.stat().st_size)
    except OSError as error:
        raise Invalid(f"cannot write the backup: {error}") from error
    finally:
        writer.abort()


def _write(writer: Writer, core: Source, progress: Progress, stop: threading.Event) -> Summary:
    config, now = core.config, core.runtime.now()
    counts: dict[str, int] = {}
    progress("saving the database")
    with rows.reading(config.database_url) as connection:
        writer.add_json(
            MANIFEST,
            {
                "format": FORMAT,
                "wit": wit.__version__,
                "schema": rows.revision(connection),
                "engine": connection.dialect.name,
                "created_at": now.isoformat(),
            },
        )
        for table in rows.tables():
            spool, counts[table.name] = rows.dump(connection, table, writer.folder, stop)
            with spool:
                size = spool.seek(0, 2)
                spool.seek(0)
                writer.add(f"db/{table.name}.jsonl", spool, size, now.timestamp())
        registered = rows.disk_paths(connection)
        published = tarballs.named_by_rows(connection)
    problems: list[str] = []
    saved = 0
    for disk_path, folder in _folders(Folders(config.repos_dir), registered, problems):
        check_stop(stop)
        progress(f"saving {disk_path.removeprefix(PREFIX).removesuffix(SUFFIX)}")
        try:
            repository.copy(core.git, folder, disk_path.removeprefix("/"), writer, stop)
            saved += 1
        except FileNotFoundError:
            problems.append(f"{disk_path}: its folder {folder} is missing")
        except WitError as error:
            problems.append(f"{disk_path}: {error.message}")
    problems += tarballs.copy(config, published, writer, progress)
    _write_settings(writer, config, progress)
    writer.add_json(END, {"rows": counts, "repositories": saved, "problems": problems})
    return Summary(sum(counts.values()), saved, 0, tuple(problems))


def _folders(
    folders: Folders, registered: list[str], problems: list[str]
) -> Iterator[tuple[str, Path]]:
    """Each repository's ``disk_path`` and folder: those with a row, then those without.

    A row of the moment that we saved may by now be elsewhere: its old place then is a link to the
    new one, so that it is saved under the name that its row has.
    """
    seen: set[Path] = set()
    for disk_path in registered:
        try:
            folder = folders.path(disk_path)
        except Invalid as error:
            problems.append(f"{disk_path[:200]}: {error.message}")
            continue
        if folder.is_symlink() and not folders.contains(folder):
            problems.append(f"{disk_path}: {folder} is a link that leads out of {folders.root}")
            continue
        seen.add(folder.resolve())
        yield disk_path, folder
    for name, folder in unregistered(folders, set(registered)):
        if folder.resolve() not in seen:
            yield Folders.disk_path(name), folder


def _write_settings(writer: Writer, config: Config, progress: Progress) -> None:
    progress("saving host keys and settings")
    if config.ssh.host_keys:
        keys = [Path(key) for key in config.ssh.host_keys]
        keys += [key.with_name(f"{key.name}.pub") for key in keys]
    else:
        folder = config.data_dir / "ssh"
        keys = sorted(folder.iterdir()) if folder.is_dir() else []
    for key in keys:
        if key.is_file() and not key.name.startswith("."):
            writer.add_file(f"ssh/{key.name}", key)
    if (config.data_dir / "wit.toml").is_file():
        writer.add_file("wit.toml", config.data_dir / "wit.toml")
