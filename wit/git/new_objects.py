"""Making a commit in memory: the objects of one changed file, and the pack that carries them.

Formats: gitformat-pack(5) and "Git Objects" of the Git book. Nothing here touches a repository;
git itself takes the pack, as it takes anybody's, and looks at each object (fsck) before it is kept.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import attrs

from wit.errors import Invalid
from wit.git.objects import SUBMODULE

FILE_MODE = b"100644"
TREE_MODE = b"40000"

MAX_DEPTH = 64
"""Folders above a file."""

MAX_COMPONENT = 255
"""Bytes in the name of a file or folder; file systems take no more."""

MAX_PATH = 4000
"""Bytes in a path; Linux takes 4096 with the place that a working copy is in."""

_PACK_TYPES = {b"commit": 1, b"tree": 2, b"blob": 3}
_OID_BYTES = {"sha1": 20, "sha256": 32}

ReadTree = Callable[[str], Awaitable[bytes]]
"""Gives the content of a tree; raises what the reader raises."""


@attrs.frozen
class NewObject:
    kind: bytes
    oid: str
    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Entry:
    """One entry of a tree. The mode is kept as it was written."""

    mode: bytes
    name: bytes
    oid: bytes
    """Raw."""

    @property
    def is_tree(self) -> bool:
        return int(self.mode, 8) == 0o40000

    @property
    def sort_key(self) -> bytes:
        """git sorts folders as if their names ended in a slash."""
        return self.name + b"/" if self.is_tree else self.name


Folder = dict[bytes, Entry]
"""The entries of a tree, by name."""


@attrs.frozen
class Person:
    """Who made a commit."""

    name: str
    email: str

    def line(self, when: datetime) -> bytes:
        """As it stands in a commit, but for the word before it."""
        email = _without_crud(self.email) or "unknown"
        name = _without_crud(self.name) or "unknown"
        return f"{name} <{email}> {int(when.timestamp())} +0000".encode()


def new_object(kind: bytes, data: bytes, object_format: str) -> NewObject:
    header = b"%b %d\0" % (kind, len(data))
    return NewObject(kind, hashlib.new(object_format, header + data).hexdigest(), data)


def check_path(path: str) -> bytes:
    """``path`` as git stores it, if a file of this name can be in every working copy.

    Relative, with ``/`` between the parts, none of which is empty, ``.``, ``..`` or what some file
    system takes for ``.git``. git's fsck, which knows more such names, has the last word. Raises
    Invalid.
    """
    data = path.encode("utf-8", "surrogatepass")
    parts = data.split(b"/")
    if len(data) > MAX_PATH or len(parts) > MAX_DEPTH:
        raise Invalid(f"a path has at most {MAX_PATH} bytes and {MAX_DEPTH} parts")
    for part in parts:
        if part in (b"", b".", b".."):
            raise Invalid(f"{path[:80]!r} is not a path: write it like docs/index.md")
        if len(part) > MAX_COMPONENT:
            raise Invalid(f"the name of a file or folder has at most {MAX_COMPONENT} bytes")
        if part.lower().rstrip(b". ") in (b".git", b"git~1"):
            raise Invalid(f"{path[:80]!r}: a file or folder cannot be named .git")
    if not path.isprintable() or "\\" in path:
        raise Invalid(f"{path[:80]!r}: control characters and backslashes cannot be in a path")
    return data


async def folders_on_the_way(
    read: ReadTree, root: str, path: bytes, object_format: str
) -> list[Folder]:
    """What is in each folder that ``path`` goes through, the root first; empty if it is new.

    Raises Invalid where a file is in a folder's place.
    """
    *names, _ = path.split(b"/")
    here: str | None = root
    found: list[Folder] = []
    for depth in range(len(names) + 1):
        data = b"" if here is None else await read(here)
        found.append(parse_tree(data, _OID_BYTES[object_format]))
        if depth == len(names):
            break
        entry = found[-1].get(names[depth])
        if entry is not None and not entry.is_tree:
            shown = b"/".join(names[: depth + 1]).decode("utf-8", "replace")
            raise Invalid(f"{shown} is a file, so nothing can be inside it")
        here = None if entry is None else entry.oid.hex()
    return found


def with_file(
    folders: Sequence[Folder], path: bytes, content: bytes, object_format: str
) -> list[NewObject]:
    """The objects that put one file into the tree that :func:`folders_on_the_way` has read.

    ``path`` has been checked. The new root tree comes last. Raises Invalid where a folder is in
    the file's place, or if nothing would change.
    """
    *names, name = path.split(b"/")
    shown = path.decode("utf-8", "replace")
    blob = new_object(b"blob", content, object_format)
    new = Entry(FILE_MODE, name, bytes.fromhex(blob.oid))
    old = folders[-1].get(name)
    if old is not None and old.is_tree:
        raise Invalid(f"{shown} is a folder")
    if old is not None and int(old.mode, 8) == SUBMODULE:
        raise Invalid(f"{shown} is a submodule, which cannot be edited here")
    if old == new:
        raise Invalid(f"{shown} has exactly this content already; there is nothing to commit")
    made = [blob]
    for depth in range(len(names), -1, -1):
        changed = {**folders[depth], new.name: new}
        made.append(new_object(b"tree", serialise_tree(changed), object_format))
        if depth:
            new = Entry(TREE_MODE, names[depth - 1], bytes.fromhex(made[-1].oid))
    return made


def new_commit(
    tree: str,
    parents: Sequence[str],
    person: Person,
    when: datetime,
    message: str,
    *,
    object_format: str,
) -> NewObject:
    """Raises Invalid for a message that is empty, or that git would cut off."""
    text = message.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise Invalid("a commit needs a message")
    if "\0" in text:
        raise Invalid("a commit message cannot have a NUL character")
    lines = [b"tree " + tree.encode(), *(b"parent " + parent.encode() for parent in parents)]
    who = person.line(when)
    lines += [b"author " + who, b"committer " + who, b"", text.encode() + b"\n"]
    return new_object(b"commit", b"\n".join(lines), object_format)


def parse_tree(data: bytes, oid_bytes: int) -> Folder:
    """By name. Raises ValueError for what is no tree."""
    entries: Folder = {}
    at = 0
    while at < len(data):
        space = data.index(b" ", at)
        nul = data.index(b"\0", space)
        end = nul + 1 + oid_bytes
        entry = Entry(data[at:space], data[space + 1 : nul], data[nul + 1 : end])
        if len(entry.oid) != oid_bytes:
            raise ValueError("the tree is cut off")
        entries[entry.name] = entry
        at = end
    return entries


def serialise_tree(entries: Folder) -> bytes:
    return b"".join(
        b"%b %b\0%b" % (entry.mode, entry.name, entry.oid)
        for entry in sorted(entries.values(), key=lambda entry: entry.sort_key)
    )


def pack(objects: Sequence[NewObject], object_format: str) -> bytes:
    """A pack of whole objects, version 2."""
    parts = [struct.pack(">4sLL", b"PACK", 2, len(objects))]
    for made in objects:
        parts += (_entry_header(_PACK_TYPES[made.kind], len(made.data)), zlib.compress(made.data))
    body = b"".join(parts)
    return body + hashlib.new(object_format, body).digest()


def _entry_header(kind: int, size: int) -> bytes:
    """Type and size: four bits of the size in the first byte, then seven in each."""
    byte, size = (kind << 4) | (size & 15), size >> 4
    header = bytearray()
    while size:
        header.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    header.append(byte)
    return bytes(header)


def _without_crud(text: str) -> str:
    """What git does with names and addresses (``strbuf_addstr_without_crud`` in ident.c): no line
    breaks and angle brackets, no punctuation at the ends."""
    kept = "".join(c for c in text if c not in "<>\n\r\0")
    return kept.strip(" .,:;<>\"\\'\t")
