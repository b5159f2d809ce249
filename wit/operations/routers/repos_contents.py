"""What is in a repository: its front page, directories, files, languages; and finding one.

Contract, trpc-notes.md, "repos (38)". Where a ref is asked for, a branch, a tag, a full ref name or
a commit's full id will do in all of these procedures.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import Level
from wit.errors import TimedOut, TooLarge, Unavailable, WitError
from wit.git.objects import Entry, shown
from wit.git.revisions import HEAD
from wit.operations.access import Public, Repo
from wit.operations.call import Call
from wit.operations.inputs import OfRepo
from wit.operations.registry import Input, Router
from wit.operations.shapes import OrgRef, Repository, UserRef, repository, user_ref
from wit.repositories.browsing import Branch, Content, Directory, UnknownRevision
from wit.repositories.languages import Share

READ = Repo(Level.READ)

Ref = Annotated[str, Field(max_length=1024)]
TreePath = Annotated[str, Field(max_length=4096)]

router = Router("repos")


class AtRef(OfRepo):
    ref: Ref = HEAD


class AtPath(AtRef):
    path: TreePath = ""


class GetFile(AtRef):
    path: TreePath


class ListFiles(AtRef):
    query: Annotated[str, Field(max_length=1024)] = ""
    limit: Annotated[int, Field(ge=1, le=100)] = 50


class Search(Input):
    query: Annotated[str, Field(min_length=1, max_length=256)]
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class Leaderboard(Input):
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class TreeEntry(TypedDict):
    """Links and submodules are files; what has no content of its own has no size."""

    name: str
    path: str
    type: Literal["file", "directory"]
    sha: str
    size: NotRequired[int]


class NoTree(TypedDict):
    """``entries`` is empty."""

    entries: list[TreeEntry]
    error: str


class Tree(TypedDict):
    """Without an error. ``truncated`` is wit's own: there are more entries."""

    entries: list[TreeEntry]
    error: NotRequired[str]
    truncated: NotRequired[bool]


class File(TypedDict):
    content: str
    encoding: Literal["utf-8", "base64"]
    sha: str
    size: int


class Readme(TypedDict):
    content: str
    encoding: Literal["utf-8", "base64"]


class Files(TypedDict):
    files: list[str]


class BranchInfo(TypedDict):
    name: str
    sha: str
    isDefault: bool


class PageData(TypedDict):
    repo: Repository
    owner: UserRef | OrgRef
    branches: list[BranchInfo]
    tree: Tree | NoTree
    readme: Readme | None
    languages: list[Share]
    isStarred: bool
    isWatching: bool


class Leader(TypedDict):
    id: str
    name: str
    ownerName: str
    ownerType: Literal["user", "organization"]
    description: str | None
    commitCount: int
    starsCount: int


def entry_type(entry: Entry) -> Literal["file", "directory"]:
    return "directory" if entry.is_directory else "file"


def entry_path(folder: bytes, entry: Entry) -> str:
    return shown(folder + b"/" + entry.name if folder else entry.name)


def _tree(directory: Directory) -> Tree:
    entries: list[TreeEntry] = []
    for sized in directory.entries:
        entry = sized.entry
        made: TreeEntry = {
            "name": shown(entry.name),
            "path": entry_path(directory.path, entry),
            "type": entry_type(entry),
            "sha": entry.oid,
        }
        if sized.size is not None:
            made["size"] = sized.size
        entries.append(made)
    return {"entries": entries, "truncated": True} if directory.truncated else {"entries": entries}


def _no_tree(error: str) -> NoTree:
    return {"entries": [], "error": error}


def _branch(branch: Branch) -> BranchInfo:
    return {"name": branch.name, "sha": branch.oid, "isDefault": branch.is_default}


def _readme(content: Content) -> Readme:
    return {"content": content.text, "encoding": content.encoding}


async def _owner(call: Call) -> UserRef | OrgRef:
    repo = call.repo
    if repo["owner_type"] == "organization":
        return {"id": repo["owner_id"], "name": repo["owner_name"], "type": "organization"}
    return user_ref(await call.core.users.get(repo["owner_id"]))


@router.query("getPageData", access=READ, errors=("not_found",))
async def get_page_data(call: Call, values: OfRepo) -> PageData:
    """All that a repository's front page shows."""
    core, repo = call.core, call.repo
    front = await core.browsing.front_page(repo, call.user_key)
    languages: list[Share] = []
    with suppress(WitError):  # the page is of use without them
        languages = await core.languages.of(repo, HEAD, call.user_key)
    starred = watching = False
    if (user_id := call.actor.user_id) is not None:
        starred = await core.stars.has(repo["id"], user_id)
        watching = await core.watches.has(repo["id"], user_id)
    return {
        "repo": repository(repo),
        "owner": await _owner(call),
        "branches": [_branch(branch) for branch in await core.browsing.branches(repo)],
        "tree": _no_tree(front.error or "") if front.root is None else _tree(front.root),
        "readme": None if front.readme is None else _readme(front.readme),
        "languages": languages,
        "isStarred": starred,
        "isWatching": watching,
    }


@router.query("getLanguages", access=READ, errors=("not_found", "too_large", "timeout"))
async def get_languages(call: Call, values: AtRef) -> list[Share]:
    """The languages of the files, the largest share first; none for an unknown ref."""
    try:
        return await call.core.languages.of(call.repo, values.ref, call.user_key)
    except UnknownRevision:
        return []


@router.query("getTree", access=READ, errors=("not_found", "invalid"))
async def get_tree(call: Call, values: AtPath) -> Tree | NoTree:
    """A directory: directories first, then by name. What fails is in ``error``, but a path that
    does not exist is an error of its own."""
    try:
        return _tree(
            await call.core.browsing.directory(call.repo, values.ref, values.path, call.user_key)
        )
    except (UnknownRevision, TooLarge, TimedOut, Unavailable) as error:
        return _no_tree(error.message)


@router.query("listFiles", access=READ, errors=("not_found", "too_large", "timeout"))
async def list_files(call: Call, values: ListFiles) -> Files:
    """Paths of files whose path contains ``query``: files of exactly that name first, then those
    whose name begins so, then by path. None for an unknown ref."""
    try:
        return {
            "files": await call.core.browsing.paths(
                call.repo, values.ref, values.query, values.limit, call.user_key
            )
        }
    except UnknownRevision:
        return {"files": []}


@router.query("getFile", access=READ, errors=("not_found", "invalid", "too_large"))
async def get_file(call: Call, values: GetFile) -> File:
    """A file's content, of 10 MiB at most: as text, or base64 when it is not UTF-8."""
    content = await call.core.browsing.file(call.repo, values.ref, values.path, call.user_key)
    return {
        "content": content.text,
        "encoding": content.encoding,
        "sha": content.oid,
        "size": content.size,
    }


@router.query("getBranches", access=READ, errors=("not_found",))
async def get_branches(call: Call, values: OfRepo) -> list[BranchInfo]:
    """The default branch first, then by name."""
    return [_branch(branch) for branch in await call.core.browsing.branches(call.repo)]


@router.query("search", access=Public(), limit="search")
async def search(call: Call, values: Search) -> list[Repository]:
    """Public repositories with ``query`` in their name or description, most stars first."""
    return [repository(row) for row in await call.core.discovery.search(values.query, values.limit)]


@router.query("leaderboard", access=Public(), limit="search")
async def leaderboard(call: Call, values: Leaderboard) -> list[Leader]:
    """Public repositories with the most commits on HEAD in the last seven days."""
    return [
        {
            "id": busy.repo["id"],
            "name": busy.repo["name"],
            "ownerName": busy.repo["owner_name"],
            "ownerType": busy.repo["owner_type"],
            "description": busy.repo["description"],
            "commitCount": busy.commits,
            "starsCount": busy.repo["stars_count"],
        }
        for busy in await call.core.discovery.leaderboard(values.limit)
    ]
