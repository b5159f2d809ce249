"""The folders of repositories on disk: where they are, and moving them so that rows can follow.

A repository is a row and a folder, and the two must agree even if the daemon is killed between
the change of one and that of the other. So whoever moves a folder first writes a *note*: which
repository, from where, to where, and the folder's inode. The note is a file that its writer keeps
locked (flock(2)) until the row is committed. A note that nobody holds any more is a move that was
cut off; :mod:`wit.repositories.placing` then puts the folder where the row says it is.

Everything here blocks and is meant for a thread. Below the repository folder, ``.wit`` belongs to
the program::

    .wit/new/<id>/     repositories being made      .wit/moves/     notes
    .wit/trash/<id>    repositories being removed   .wit/aliases/   notes of symbolic links

After a rename a symbolic link stays at the old place for some time, so that git processes that
have the old path finish their work.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
from pathlib import Path

import attrs

from wit.errors import Conflict, Invalid
from wit.git.names import RepoName, check_owner, check_repo
from wit.git.repository import is_bare

PREFIX = "/repos/"
SUFFIX = ".git"


@attrs.frozen
class Move:
    """One folder on its way; paths are relative to the repository folder."""

    repo_id: str
    source: str
    target: str
    inode: int = 0
    """Of the folder that moves; 0 while it is being made."""
    alias: bool = False
    """Whether a symbolic link stays at the source."""


class Note:
    """A move's file, locked as long as this value is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a+b", buffering=0)

    def lock(self) -> bool:
        """Whether this process has it now: nobody else is at work on the move, or was just now."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return self.path.exists()

    def write(self, move: Move) -> None:
        """Store ``move`` durably."""
        data = json.dumps(attrs.asdict(move)).encode()
        self._file.truncate(0)
        self._file.write(data)
        os.fsync(self._file)

    def read(self) -> Move | None:
        """What was stored; None if nothing was, so that nothing was moved either."""
        try:
            self._file.seek(0)
            return Move(**json.loads(self._file.read()))
        except (ValueError, TypeError):
            return None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the lock; the file stays for whoever looks after cut-off moves."""
        self._file.close()


class Folders:
    """The repository folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))
        self._own = self.root / ".wit"

    # Paths

    def path(self, disk_path: str) -> Path:
        """The folder that a row's ``disk_path`` names.

        Only ``/repos/<owner>/<name>.git`` with valid names is accepted, component by component,
        so that the answer is always below the repository folder. Raises Invalid.
        """
        parts = disk_path.removeprefix(PREFIX).split("/")
        if not disk_path.startswith(PREFIX) or len(parts) != 2 or not parts[1].endswith(SUFFIX):
            raise Invalid("this repository's disk path is not /repos/OWNER/NAME.git")
        owner, name = check_owner(parts[0]), check_repo(parts[1].removesuffix(SUFFIX))
        return self.root / owner / f"{name}{SUFFIX}"

    @staticmethod
    def disk_path(name: RepoName) -> str:
        """What the row of a repository of this name stores."""
        return f"{PREFIX}{name.owner}/{name.name}{SUFFIX}"

    def staging(self, repo_id: str) -> Path:
        """Where a repository is made before it gets its place."""
        return self._own / "new" / repo_id / "repo.git"

    def trash(self, repo_id: str) -> Path:
        return self._own / "trash" / repo_id

    # Moves

    def new_note(self, note_id: str) -> Note:
        """An empty, locked note."""
        folder = self._own / "moves"
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in itertools.count():  # a sweep may catch it between its making and its locking
            note = Note(folder / f"{note_id}-{attempt}")
            if note.lock():
                return note
            note.close()
        raise AssertionError("unreachable")

    def stage(self, note: Note, repo_id: str) -> Path:
        """Where to make the new repository ``repo_id``; if ``note`` is left behind, it goes."""
        staging = self._relative(self.staging(repo_id))
        note.write(Move(repo_id, staging, staging))
        return self.staging(repo_id)

    def move(
        self, note: Note, repo_id: str, source: Path, target: Path, *, alias: bool = False
    ) -> None:
        """Move a folder, the note first; with ``alias`` a link stays behind.

        Raises Conflict if something is at the target already, FileNotFoundError if nothing is at
        the source.
        """
        inode = os.lstat(source).st_ino
        note.write(Move(repo_id, self._relative(source), self._relative(target), inode, alias))
        self._rename(source, target)
        if alias:
            source.symlink_to(os.path.relpath(target, source.parent))
        _sync_folder(source.parent)

    def settle(self, move: Move, wanted: Path | None) -> None:
        """Put the folder to ``wanted``, the place that its row has; None: there is no row.

        The folder is known by its inode, for by now another repository may be at either place.
        """
        places = (self.root / move.source, self.root / move.target)
        here = next((place for place in places if _inode(place) == move.inode), None)
        place = wanted or self.trash(move.repo_id)
        if here is not None and here != place:
            self._rename(here, place)
        if wanted is None:
            self.remove(self.trash(move.repo_id))

    def finish(self, note: Note) -> None:
        """Folder and row agree: the note goes, or stays to remember the link left behind."""
        move = note.read()
        if move is not None:
            self.remove(self.staging(move.repo_id).parent)
        if move is not None and self._is_alias(self.root / move.source):
            aliases = self._own / "aliases"
            aliases.mkdir(exist_ok=True)
            os.utime(note.path)
            os.rename(note.path, aliases / note.path.name)
            note.close()
        else:
            note.remove()

    def cut_off_notes(self) -> list[Note]:
        """Notes that nobody holds; each is locked now, and the caller finishes or closes it."""
        notes = []
        for path in _entries(self._own / "moves"):
            note = Note(path)
            if note.lock():
                notes.append(note)
            else:
                note.close()
        return notes

    def drop_aliases(self, before: float) -> None:
        """Remove links that moves left behind before that time, in seconds since 1970."""
        for path in _entries(self._own / "aliases"):
            if path.stat().st_mtime > before:
                continue
            note = Note(path)
            move = note.read()
            if move is not None and self._is_alias(self.root / move.source):
                (self.root / move.source).unlink()
            note.remove()

    def trashed(self) -> list[str]:
        """Ids of the repositories in the trash."""
        return [path.name for path in _entries(self._own / "trash")]

    def remove(self, folder: Path) -> None:
        """Delete a folder and what is in it; what cannot be deleted stays for the next sweep."""
        shutil.rmtree(folder, ignore_errors=True)

    def _rename(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._is_alias(target):
            target.unlink()
        if os.path.lexists(target):
            raise Conflict("a folder of that name is on disk already but not registered")
        os.rename(source, target)
        _sync_folder(target.parent)

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def _is_alias(self, path: Path) -> bool:
        """Whether this is a link to another place below the repository folder."""
        return path.is_symlink() and self.contains(path)

    def contains(self, path: Path) -> bool:
        """Whether ``path``, all links followed, is below the repository folder."""
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root))


def head_branch(folder: Path) -> str | None:
    """The branch that HEAD names, or None (detached, unreadable, or not a branch)."""
    try:
        with open(folder / "HEAD", "rb") as head:
            text = head.read(4096).decode()
    except (OSError, UnicodeDecodeError):
        return None
    prefix = "ref: refs/heads/"
    return text.removeprefix(prefix).strip() or None if text.startswith(prefix) else None


def is_healthy(folder: Path) -> bool:
    """Whether the folder is there and looks like a bare repository."""
    return is_bare(str(folder))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _inode(path: Path) -> int | None:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return None


def _sync_folder(folder: Path) -> None:
    """Make a rename durable (fsync(2), of the directory)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
