"""Reading HEAD, packed-refs and loose refs from their files (gitrepository-layout(5)).

Blocking; called in a thread. A writer may be at work at any moment: git replaces every one of
these files by renaming, so each is read whole or not at all, and loose refs are read before
packed-refs, so that a ref which ``pack-refs`` moves meanwhile is seen in at least one place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import attrs

from wit.errors import Unavailable
from wit.git.refname import is_refname

RACY_NS = 50_000_000
"""Nanoseconds. A file system's clock ticks at most every 10 ms: something changed so shortly
before it was looked at could be changed again without its time changing."""

MAX_SYMREF_DEPTH = 5
"""Symrefs that are followed in a row, as in git."""

MAX_LOOSE = 4096
"""Bytes in a loose ref or HEAD that are read."""

MAX_FOLDER_DEPTH = 64
"""Folders within folders below refs/."""

_OID_LENGTH = {"sha1": 40, "sha256": 64}
_HEX = frozenset(b"0123456789abcdef")

BROKEN = ""
"""In place of the id of a ref whose file is damaged."""

Stamp = tuple[int, int, int, int]
"""What of a file's state tells a change: inode, size, modification and change time."""


@attrs.frozen
class RawRef:
    """A ref as it is in the files, symrefs resolved."""

    name: bytes
    oid: str
    peeled: str | None
    peel_known: bool
    """Whether ``peeled`` is the answer, None included."""
    symref: bytes | None = None


@attrs.frozen
class Reading:
    """All that one look at the files gave."""

    object_format: str
    head: bytes | None
    head_oid: str | None
    refs: list[RawRef]
    stamps: tuple[tuple[bytes, Stamp | None], ...]
    settled: bool
    """Whether every later change will show in the stamps."""
    problems: tuple[str, ...]
    damage: str | None
    """The first of the problems that no client and no tool of git's can have made."""


def stamp(path: bytes) -> Stamp | None:
    """None if there is nothing at ``path``."""
    try:
        return _stamp(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_refs(path: str, object_format: str, hidden: tuple[bytes, ...]) -> Reading:
    """Read everything. Raises Unavailable if that is impossible."""
    started = time.time_ns()
    try:
        files = _Files(os.fsencode(path), object_format, hidden)
        head_text = files.head()
        values = files.loose()
        for name, ref in files.packed():
            values.setdefault(name, ref)
    except (OSError, _Damaged) as error:
        raise Unavailable(
            "the repository is damaged or being moved: its refs cannot be read"
        ) from error
    damage = next(iter(files.problems), None)
    refs = _resolve(values, files.problems)
    head, head_oid = _resolve_head(head_text, values, files)
    newest = max(times[3] for _, times in files.stamps if times is not None)
    return Reading(
        object_format=object_format,
        head=head,
        head_oid=head_oid,
        refs=refs,
        stamps=tuple(files.stamps),
        settled=newest < started - RACY_NS,
        problems=tuple(files.problems[:10]),
        damage=damage,
    )


class _Damaged(Exception):
    """The files are not those of a repository that this module can read."""


class _Files:
    def __init__(self, path: bytes, object_format: str, hidden: tuple[bytes, ...]) -> None:
        self._path = path
        self._oid_length = _OID_LENGTH[object_format]
        self._hidden = hidden
        self._hidden_below = tuple(name + b"/" for name in hidden)
        self.stamps: list[tuple[bytes, Stamp | None]] = []
        self.problems: list[str] = []

    def is_hidden(self, name: bytes) -> bool:
        return name in self._hidden or name.startswith(self._hidden_below)

    def is_oid(self, text: bytes) -> bool:
        """An all-zero id is no id: git calls such a ref broken."""
        return len(text) == self._oid_length and _HEX.issuperset(text) and text.strip(b"0") != b""

    def head(self) -> bytes:
        """A ref name or an object id."""
        path = self._path + b"/HEAD"
        if os.path.islink(path):  # the way of git before 2005, still read by it
            self.stamps.append((path, stamp(path)))
            text = b"ref: " + os.readlink(path)
        else:
            with open(path, "rb") as file:
                self.stamps.append((path, _stamp(os.fstat(file.fileno()))))
                text = file.read(MAX_LOOSE)
        value = self._value(text)
        if value is None:
            raise _Damaged("HEAD is neither a ref nor an object id")
        return value

    def loose(self) -> dict[bytes, RawRef]:
        """The loose refs; one that is a symref has no ``oid`` yet."""
        found = {}
        for name, path in self._walk(b"refs", MAX_FOLDER_DEPTH):
            try:
                with open(path, "rb") as file:
                    value = self._value(file.read(MAX_LOOSE))
            except FileNotFoundError:
                continue  # deleted or packed since the folder was listed
            except OSError as error:
                self._problem(name, f"cannot be read: {error.strerror}")
                value = None
            else:
                if value is None:
                    self._problem(name, "holds no object id")
            if value is None:
                found[name] = RawRef(name, BROKEN, None, True)  # hides an older one in packed-refs
            elif value.startswith(b"refs/"):
                found[name] = RawRef(name, "", None, True, symref=value)
            else:
                # git puts nothing but commits below refs/heads/
                is_branch = name.startswith(b"refs/heads/")
                found[name] = RawRef(name, value.decode(), None, is_branch)
        return found

    def _walk(self, folder: bytes, depth: int) -> Iterator[tuple[bytes, bytes]]:
        """Name and path of each loose ref file below ``folder`` that is not hidden."""
        path = self._path + b"/" + folder
        before = stamp(path)
        try:
            with os.scandir(path) as entries:
                listed = list(entries)
        except FileNotFoundError:
            if folder == b"refs":
                raise
            return  # an empty folder that git has tidied away; its parent shows it
        self.stamps.append((path, before))
        for entry in listed:
            name = folder + b"/" + entry.name
            if self.is_hidden(name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth > 0:
                    yield from self._walk(name, depth - 1)
            elif entry.is_file(follow_symlinks=False) and is_refname(name):
                yield name, entry.path

    def packed(self) -> Iterator[tuple[bytes, RawRef]]:
        """The refs in packed-refs (git-pack-refs(1)); other lines are skipped."""
        path = self._path + b"/packed-refs"
        try:
            with open(path, "rb") as file:
                self.stamps.append((path, _stamp(os.fstat(file.fileno()))))
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            self.stamps.append((path, None))
            return
        traits = lines[0].split() if lines[0].startswith(b"# pack-refs with:") else []
        all_peeled = b"fully-peeled" in traits
        tags_peeled = b"peeled" in traits
        for number, line in enumerate(lines):
            if not line or line[0] in b"#^":
                continue
            oid, _, name = line.partition(b" ")
            if not self.is_oid(oid) or not is_refname(name):
                self._problem(line[:100], "is no line of packed-refs")
                continue
            if self.is_hidden(name):
                continue
            following = lines[number + 1] if number + 1 < len(lines) else b""
            peeled = None
            if following.startswith(b"^") and self.is_oid(following[1:]):
                peeled = following[1:].decode()
            known = (
                peeled is not None
                or all_peeled
                or (tags_peeled and name.startswith(b"refs/tags/"))
                or name.startswith(b"refs/heads/")
            )
            yield name, RawRef(name, oid.decode(), peeled, known)

    def _value(self, text: bytes) -> bytes | None:
        """What a loose ref says: the name of a ref below refs/, or an object id."""
        if text.startswith(b"ref:"):
            target = text[4:].strip()
            return target if is_refname(target) else None
        words = text.split(None, 1)
        return words[0] if words and self.is_oid(words[0]) else None

    def _problem(self, name: bytes, what: str) -> None:
        self.problems.append(f"ref skipped: {name.decode('utf-8', 'replace')!r} {what}")


def _resolve(values: dict[bytes, RawRef], problems: list[str]) -> list[RawRef]:
    """Sorted refs; symrefs have the id of what they lead to, or are left out."""
    refs = []
    for name in sorted(values):
        ref = values[name]
        if ref.symref is not None:
            target = _follow(ref.symref, values)
            if target is None or target.oid == BROKEN:
                problems.append(f"ref skipped: {name.decode('utf-8', 'replace')!r} leads nowhere")
                continue
            ref = attrs.evolve(target, name=name, symref=target.name)
        if ref.oid != BROKEN:
            refs.append(ref)
    return refs


def _follow(name: bytes, values: dict[bytes, RawRef]) -> RawRef | None:
    for _ in range(MAX_SYMREF_DEPTH):
        ref = values.get(name)
        if ref is None or ref.symref is None:
            return ref
        name = ref.symref
    return None


def _resolve_head(
    value: bytes, values: dict[bytes, RawRef], files: _Files
) -> tuple[bytes | None, str | None]:
    """The branch that HEAD stands for, and its id."""
    if not value.startswith(b"refs/"):
        return None, value.decode()
    target = _follow(value, values)
    if target is not None:
        return (None, None) if target.oid == BROKEN else (target.name, target.oid)
    for _ in range(MAX_SYMREF_DEPTH):  # unborn: the name at the end of the chain
        ref = values.get(value)
        if ref is None or ref.symref is None:
            break
        value = ref.symref
    return (None if files.is_hidden(value) else value), None
