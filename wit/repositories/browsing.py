"""What is in a repository, for those who look at it: directories, files, branches, tags.

The caller has asked the gate for Level.READ. ``user_key`` is whose share of the git processes a
request takes.
"""

from __future__ import annotations

import base64
import heapq
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import attrs

from wit.db.port import Row
from wit.errors import Invalid, NotFound, TooLarge, WitError
from wit.git.object_reader import Object, ObjectReader, Objects
from wit.git.objects import Commit, Entry, Person, parse_commit, parse_tag, shown
from wit.git.refs import Ref, RefReader, RefSnapshot
from wit.git.revisions import HEAD, MAX_COMMIT, Revisions, read_commit, unknown
from wit.git.trees import Sized, Trees
from wit.repositories.manager import RepoManager
from wit.repositories.versions import version_key
from wit.runtime import Runtime

MAX_FILE = 10 * 1024 * 1024
"""Bytes of a file that is shown."""

MAX_ENTRIES = 5_000
"""Entries of a directory that are shown."""

MAX_BRANCHES = 10_000
MAX_TAGS = 1_000
MAX_TAGS_READ = 10_000
"""Tags that are looked into, to know which are the latest."""

_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)

README = "readme.md"

_BRANCHES = b"refs/heads/"
_TAGS = b"refs/tags/"


Encoding = Literal["utf-8", "base64"]


class UnknownRevision(NotFound):
    """There is no such branch, tag or commit, or none that the caller may see."""


@attrs.frozen
class Branch:
    name: str
    oid: str
    is_default: bool


@attrs.frozen
class TagInfo:
    """A tag; ``annotation`` is None for a lightweight one. ``date``: when it was made, and of a
    lightweight one when its commit was."""

    name: str
    oid: str
    target: str
    message: str | None
    tagger: Person | None
    date: datetime | None


@attrs.frozen
class Content:
    """A file's content as text: itself if it is UTF-8, else base64."""

    text: str
    encoding: Encoding
    oid: str
    size: int


@attrs.frozen
class Directory:
    """Entries, directories first, then by name; ``path`` is that of the directory, as git has it,
    and ``commit`` the one it was looked up in."""

    commit: Commit
    path: bytes
    entries: list[Sized]
    truncated: bool


@attrs.frozen
class FrontPage:
    """The root directory (or why it cannot be shown), and the file that introduces it."""

    root: Directory | None
    error: str | None
    readme: Content | None


class Browsing:
    def __init__(
        self,
        runtime: Runtime,
        manager: RepoManager,
        refs: RefReader,
        *,
        revisions: Revisions,
        reader: ObjectReader,
        trees: Trees,
    ) -> None:
        self._runtime = runtime
        self._manager = manager
        self._refs = refs
        self._revisions = revisions
        self._reader = reader
        self._trees = trees

    async def find(self, repo: Row, ref: str, user_key: str | None) -> str:
        """The object id that ``ref`` means. Raises UnknownRevision."""
        bare = self._manager.bare(repo)
        found = await self._revisions.find(bare, ref, repo["default_branch"], user_key)
        if found is None:
            raise UnknownRevision(unknown(ref).message)
        return found

    async def commit(self, repo: Row, ref: str, user_key: str | None) -> Commit:
        """The commit that ``ref`` leads to. Raises UnknownRevision, TooLarge."""
        oid = await self.find(repo, ref, user_key)
        async with self._reader.open(self._manager.bare(repo), user_key) as objects:
            return await _commit(objects, oid, ref)

    async def directory(
        self, repo: Row, ref: str, path: str, user_key: str | None, *, sizes: bool = True
    ) -> Directory:
        """Raises UnknownRevision; NotFound if there is no such directory; TooLarge."""
        oid = await self.find(repo, ref, user_key)
        async with self._reader.open(self._manager.bare(repo), user_key) as objects:
            commit = await _commit(objects, oid, ref)
            return await self._directory(objects, commit, path, sizes=sizes)

    async def file(self, repo: Row, ref: str, path: str, user_key: str | None) -> Content:
        """Raises UnknownRevision, NotFound, Invalid for a directory, TooLarge."""
        oid = await self.find(repo, ref, user_key)
        async with self._reader.open(self._manager.bare(repo), user_key) as objects:
            commit = await _commit(objects, oid, ref)
            entry = await self._trees.find(objects, commit.tree, path)
            if entry is None:
                raise NotFound(f"there is no file {path[:200]!r} in {ref[:80]!r}")
            if entry.is_directory:
                raise Invalid(f"{path[:200]!r} is a directory")
            if entry.is_submodule:
                raise NotFound(
                    f"{path[:200]!r} is a submodule: commit {entry.oid} of another repository"
                )
            return await self._content(objects, entry)

    async def front_page(self, repo: Row, user_key: str | None) -> FrontPage:
        """What there is to see first; a repository without commits has neither."""
        try:
            oid = await self.find(repo, HEAD, user_key)
            async with self._reader.open(self._manager.bare(repo), user_key) as objects:
                commit = await _commit(objects, oid, HEAD)
                root = await self._directory(objects, commit, "", sizes=True)
                readme = await self._readme(objects, root)
        except WitError as error:
            return FrontPage(None, error.message, None)
        return FrontPage(root, None, readme)

    async def paths(
        self, repo: Row, ref: str, query: str, limit: int, user_key: str | None
    ) -> list[str]:
        """Paths of files that contain ``query`` in any case: files of exactly that name first,
        then those whose names begin so, then by path. Raises UnknownRevision, TooLarge."""
        commit = await self.commit(repo, ref, user_key)
        listed = await self._trees.paths(self._manager.bare(repo), commit.oid, user_key)
        return await self._runtime.in_thread(best_matches, listed, query, limit)

    async def branches(self, repo: Row) -> list[Branch]:
        """By name, the default branch first."""
        snapshot = await self._refs.snapshot(self._manager.bare(repo))
        return await self._runtime.in_thread(_branches, snapshot, repo["default_branch"])

    async def tags(self, repo: Row, user_key: str | None) -> list[TagInfo]:
        """The highest version first, then, of those that have none, the latest."""
        bare = self._manager.bare(repo)
        snapshot = await self._refs.snapshot(bare)
        refs = await self._runtime.in_thread(_tag_refs, snapshot)
        if not refs:
            return []
        async with self._reader.open(bare, user_key) as objects:
            read = await objects.read_many([ref.oid for ref in refs], MAX_COMMIT)
        return await self._runtime.in_thread(_tags, refs, read)

    async def _directory(
        self, objects: Objects, commit: Commit, path: str, *, sizes: bool
    ) -> Directory:
        found = await self._trees.find(objects, commit.tree, path)
        if found is None or not found.is_directory:
            raise NotFound(f"there is no directory {path[:200]!r}")
        entries = await self._trees.entries(objects, found.oid)
        truncated = len(entries) > MAX_ENTRIES
        entries = await self._runtime.in_thread(_in_order, entries)
        if sizes:
            sized = await self._trees.sized(objects, entries)
        else:
            sized = [Sized(entry, None) for entry in entries]
        return Directory(commit, found.name, sized, truncated)

    async def _content(self, objects: Objects, entry: Entry) -> Content:
        header = await objects.header(entry.oid)
        if header is not None and header.size > MAX_FILE:
            raise TooLarge(
                f"this file has {header.size} bytes, and {MAX_FILE} are shown at most; "
                "fetch the repository with git to read it"
            )
        data = await objects.expect(entry.oid, "blob", MAX_FILE)
        text, encoding = await self._runtime.in_thread(as_text, data)
        return Content(text, encoding, entry.oid, len(data))

    async def _readme(self, objects: Objects, root: Directory) -> Content | None:
        for sized in root.entries:
            entry = sized.entry
            if shown(entry.name).lower() == README and sized.size is not None:
                return await self._content(objects, entry) if sized.size <= MAX_FILE else None
        return None


def best_matches(listed: bytes, query: str, limit: int) -> list[str]:
    """Of paths that end with NUL each, those that contain ``query``, as :meth:`Browsing.paths`
    says."""
    paths = listed.decode("utf-8", "replace").split("\0")[:-1]
    wanted = query.strip().lower()
    if not wanted:
        return paths[:limit]

    def rank(path: str) -> tuple[bool, bool, str]:
        name = path.rpartition("/")[2].lower()
        return name != wanted, not name.startswith(wanted), path

    return heapq.nsmallest(limit, (path for path in paths if wanted in path.lower()), key=rank)


def as_text(data: bytes) -> tuple[str, Encoding]:
    """Text and its encoding: ``utf-8``, or ``base64`` of what is not UTF-8."""
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii"), "base64"


async def _commit(objects: Objects, oid: str, ref: str) -> Commit:
    commit = await read_commit(objects, oid)
    if commit is None:
        raise UnknownRevision(unknown(ref).message)
    return commit


def _in_order(entries: Sequence[Entry]) -> list[Entry]:
    ordered = sorted(entries, key=lambda entry: (not entry.is_directory, shown(entry.name)))
    return ordered[:MAX_ENTRIES]


def _branches(snapshot: RefSnapshot, default: str) -> list[Branch]:
    found = [
        Branch(name := shown(ref.name.removeprefix(_BRANCHES)), ref.oid, name == default)
        for ref in snapshot.refs
        if ref.name.startswith(_BRANCHES)
    ]
    return sorted(found, key=lambda branch: not branch.is_default)[:MAX_BRANCHES]


def _tag_refs(snapshot: RefSnapshot) -> list[Ref]:
    """The tags that are looked into, the highest version first."""
    refs = [ref for ref in snapshot.refs if ref.name.startswith(_TAGS)]
    refs.sort(key=lambda ref: version_key(_short(ref)), reverse=True)
    return refs[:MAX_TAGS_READ]


def _tags(refs: Sequence[Ref], read: Sequence[Object | None]) -> list[TagInfo]:
    found = [_tag(ref, content) for ref, content in zip(refs, read, strict=True)]
    found.sort(key=lambda tag: (version_key(tag.name), tag.date or _LONG_AGO), reverse=True)
    return found[:MAX_TAGS]


def _short(ref: Ref) -> str:
    return shown(ref.name.removeprefix(_TAGS))


def _tag(ref: Ref, content: Object | None) -> TagInfo:
    message: str | None = None
    tagger: Person | None = None
    date: datetime | None = None
    if content is not None and content.kind == "tag":
        tag = parse_tag(ref.oid, content.data)
        message, tagger = tag.message.rstrip("\n"), tag.tagger
        date = None if tagger is None else tagger.date
    elif content is not None and content.kind == "commit":
        date = parse_commit(ref.oid, content.data).committer.date
    return TagInfo(_short(ref), ref.oid, ref.peeled or ref.oid, message, tagger, date)
