"""What is in commits, tags and trees (the Git book, chapter "Git Objects"; git-mktag(1)).

Pure functions over the objects' bytes. Objects come from outside: fsck looks at what is pushed,
but folders that were dropped in hold whatever they hold, so nothing here fails on odd bytes.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import attrs

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_SECONDS = 253_402_300_799  # the last second of the year 9999
_PERSON = re.compile(rb"([^<\n]*)<([^>\n]*)>[^\n0-9-]*(-?[0-9]{1,15})?")
_ENCODING = re.compile(
    rb"(?:iso-?8859-|windows-|cp|koi8-|euc-|gb|iso-2022-)[a-z0-9-]{1,8}|latin-?1|big5|shift_?jis",
    re.IGNORECASE,
)
"""Of messages. Python knows further ones whose decoders take long for hostile bytes."""
_TREE_ENTRY = re.compile(rb"([0-7]{5,6}) ([^\0]+)\0(.{20})", re.DOTALL)
_TREE_ENTRY_SHA256 = re.compile(rb"([0-7]{5,6}) ([^\0]+)\0(.{32})", re.DOTALL)

SUBMODULE = 0o160000


@attrs.frozen
class Person:
    """Who wrote or committed something, and when (UTC)."""

    name: str
    email: str
    date: datetime


@attrs.frozen
class Commit:
    oid: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str


@attrs.frozen
class Tag:
    """An annotated tag; ``tagger`` is None in very old ones."""

    oid: str
    target: str
    tagger: Person | None
    message: str


@attrs.frozen
class Entry:
    """One line of a tree."""

    mode: int
    name: bytes
    oid: str

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_submodule(self) -> bool:
        """Then ``oid`` is a commit of another repository."""
        return stat.S_IFMT(self.mode) == SUBMODULE


def shown(text: bytes) -> str:
    """Bytes of a repository as text; what is not UTF-8 becomes U+FFFD."""
    return text.decode("utf-8", "replace")


def parse_commit(oid: str, data: bytes) -> Commit:
    """``data`` is the content of a commit object."""
    headers, message = _split(data)
    return Commit(
        oid=oid,
        tree=shown(_first(headers, b"tree")),
        parents=tuple(shown(value) for key, value in headers if key == b"parent"),
        author=parse_person(_first(headers, b"author")),
        committer=parse_person(_first(headers, b"committer")),
        message=_text(message, _first(headers, b"encoding")),
    )


def parse_tag(oid: str, data: bytes) -> Tag:
    """``data`` is the content of a tag object."""
    headers, message = _split(data)
    tagger = _first(headers, b"tagger")
    return Tag(
        oid=oid,
        target=shown(_first(headers, b"object")),
        tagger=parse_person(tagger) if tagger else None,
        message=_without_signature(_text(message, _first(headers, b"encoding"))),
    )


def parse_person(line: bytes) -> Person:
    """``Name <address> seconds zone``; what is missing is empty, a missing time is 1970."""
    match = _PERSON.match(line)
    if match is None:
        return Person(shown(line).strip(), "", _EPOCH)
    return Person(shown(match[1]).strip(), shown(match[2]).strip(), moment(int(match[3] or 0)))


def moment(seconds: int) -> datetime:
    """A time in a commit. git counts from 1970; what is beyond the year 9999 becomes its end."""
    return _EPOCH + timedelta(seconds=max(0, min(seconds, _MAX_SECONDS)))


def parse_tree(data: bytes, object_format: str = "sha1") -> list[Entry]:
    """``data`` is the content of a tree object; in the order of git."""
    pattern = _TREE_ENTRY if object_format == "sha1" else _TREE_ENTRY_SHA256
    return [Entry(int(match[1], 8), match[2], match[3].hex()) for match in pattern.finditer(data)]


def _split(data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers (a line that goes on in the next ones only with its beginning), and the message."""
    head, _, message = data.partition(b"\n\n")
    return list(_headers(head)), message


def _headers(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in head.split(b"\n"):
        if not line.startswith(b" "):  # a further line of a signature
            key, _, value = line.partition(b" ")
            yield key, value


def _first(headers: list[tuple[bytes, bytes]], key: bytes) -> bytes:
    return next((value for name, value in headers if name == key), b"")


def _text(message: bytes, encoding: bytes) -> str:
    """The message, in the encoding that its header names if we know it."""
    if _ENCODING.fullmatch(encoding):
        with suppress(LookupError):
            return message.decode(encoding.decode("ascii"), "replace")
    return shown(message)


def _without_signature(message: str) -> str:
    """A tag's signature is the end of its message (git help tag)."""
    for beginning in ("-----BEGIN PGP SIGNATURE-----", "-----BEGIN SSH SIGNATURE-----"):
        at = message.find(beginning)
        if at == 0 or (at > 0 and message[at - 1] == "\n"):
            return message[:at]
    return message
