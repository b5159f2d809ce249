"""The history of a repository: commits, tags, what lies between two refs.

Contract, trpc-notes.md, "repos (38)". Where a ref is asked for, a branch, a tag, a full ref name or
a commit's full id will do. ``getTreeCommits`` is wit's own.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from wit.db.port import Row
from wit.git.objects import Commit, Person, shown
from wit.git.revisions import HEAD
from wit.operations.call import Call
from wit.operations.inputs import Maybe, OfRepo
from wit.operations.registry import Router
from wit.operations.routers.repos_contents import (
    READ,
    AtPath,
    AtRef,
    Ref,
    entry_path,
    entry_type,
)
from wit.repositories.browsing import TagInfo, UnknownRevision
from wit.repositories.commit_log import LastChange

router = Router("repos")

SHORT = 7
"""Digits of an abbreviated id."""


class GetCommits(AtRef):
    limit: Annotated[int, Field(ge=1, le=100)] = 30


class GetCommit(OfRepo):
    sha: Annotated[str, Field(max_length=64)]


class GetCommitsBetween(OfRepo):
    fromRef: Maybe[Ref] = None
    toRef: Ref = HEAD
    limit: Annotated[int, Field(ge=1, le=500)] = 200


class PullOfCommit(TypedDict):
    number: int
    title: str


class LogEntry(TypedDict):
    sha: str
    message: str
    author: str
    authorEmail: str
    authorUsername: str | None
    authorAvatarUrl: str | None
    date: datetime
    pr: PullOfCommit | None
    commentCount: int
    ciStatus: Literal["success", "pending", "failure"] | None


class Commits(TypedDict):
    commits: list[LogEntry]
    totalCount: int


class Signature(TypedDict):
    name: str
    email: str
    date: datetime


class CommitDetail(TypedDict):
    sha: str
    message: str
    author: Signature
    committer: Signature
    parents: list[str]
    tree: str
    diff: str


class Tagger(TypedDict):
    name: str
    email: str


class Tag(TypedDict):
    """``sha`` is that of the tag's own object if it has one, ``targetSha`` what it leads to."""

    name: str
    sha: str
    targetSha: str
    isAnnotated: bool
    message: NotRequired[str]
    tagger: NotRequired[Tagger]
    date: NotRequired[datetime]


class CommitBetween(TypedDict):
    sha: str
    shortSha: str
    message: str
    author: str
    email: str
    date: str


class BetweenStats(TypedDict):
    totalCommits: int


class CommitsBetween(TypedDict):
    commits: list[CommitBetween]
    stats: BetweenStats


class LastCommit(TypedDict):
    sha: str
    message: str
    author: str
    authorEmail: str
    date: datetime


class TreeCommit(TypedDict):
    name: str
    path: str
    type: Literal["file", "directory"]
    commit: LastCommit | None


class TreeCommits(TypedDict):
    entries: list[TreeCommit]
    complete: bool


def message_of(commit: Commit) -> str:
    return commit.message.rstrip("\n")


def _log_entry(commit: Commit, account: Row | None) -> LogEntry:
    """There are no pull requests, comments and builds yet."""
    return {
        "sha": commit.oid,
        "message": message_of(commit),
        "author": commit.author.name,
        "authorEmail": commit.author.email,
        "authorUsername": None if account is None else account["username"],
        "authorAvatarUrl": None if account is None else account["avatar"],
        "date": commit.author.date,
        "pr": None,
        "commentCount": 0,
        "ciStatus": None,
    }


def _signature(person: Person) -> Signature:
    return {"name": person.name, "email": person.email, "date": person.date}


def _tag(tag: TagInfo) -> Tag:
    made: Tag = {
        "name": tag.name,
        "sha": tag.oid,
        "targetSha": tag.target,
        "isAnnotated": tag.message is not None,
    }
    if tag.message is not None:
        made["message"] = tag.message
    if tag.tagger is not None:
        made["tagger"] = {"name": tag.tagger.name, "email": tag.tagger.email}
    if tag.date is not None:
        made["date"] = tag.date
    return made


def _between(commit: Commit) -> CommitBetween:
    return {
        "sha": commit.oid,
        "shortSha": commit.oid[:SHORT],
        "message": message_of(commit),
        "author": commit.author.name,
        "email": commit.author.email,
        "date": commit.author.date.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def _tree_commit(folder: bytes, change: LastChange) -> TreeCommit:
    last: LastCommit | None = None
    if (commit := change.commit) is not None:
        last = {
            "sha": commit.oid,
            "message": message_of(commit),
            "author": commit.author.name,
            "authorEmail": commit.author.email,
            "date": commit.author.date,
        }
    return {
        "name": shown(change.entry.name),
        "path": entry_path(folder, change.entry),
        "type": entry_type(change.entry),
        "commit": last,
    }


@router.query("getCommits", access=READ, errors=("not_found", "timeout"))
async def get_commits(call: Call, values: GetCommits) -> Commits:
    """The chain of first parents, newest first; ``totalCount`` is its whole length. Nothing for
    an unknown ref. A commit's id as ``ref`` goes on where a page before has ended."""
    try:
        log = await call.core.commits.log(call.repo, values.ref, values.limit, call.user_key)
    except UnknownRevision:
        return {"commits": [], "totalCount": 0}
    return {
        "commits": [_log_entry(commit, log.account(commit)) for commit in log.commits],
        "totalCount": log.total,
    }


@router.query("getCommit", access=READ, errors=("not_found",))
async def get_commit(call: Call, values: GetCommit) -> CommitDetail:
    """One commit by its full id, with its changes towards the first parent. A diff that is too
    long ends with a line that says so and begins with a backslash."""
    found = await call.core.commits.changes(call.repo, values.sha, call.user_key)
    commit = found.commit
    return {
        "sha": commit.oid,
        "message": message_of(commit),
        "author": _signature(commit.author),
        "committer": _signature(commit.committer),
        "parents": list(commit.parents),
        "tree": commit.tree,
        "diff": found.diff,
    }


@router.query("getTags", access=READ, errors=("not_found",))
async def get_tags(call: Call, values: OfRepo) -> list[Tag]:
    """The highest version first, then those without a version, the latest first; 1 000 at most."""
    return [_tag(tag) for tag in await call.core.browsing.tags(call.repo, call.user_key)]


@router.query("getCommitsBetween", access=READ, errors=("not_found", "timeout"))
async def get_commits_between(call: Call, values: GetCommitsBetween) -> CommitsBetween:
    """What ``toRef`` leads to and ``fromRef`` does not, newest first; ``totalCommits`` counts
    them all."""
    log = await call.core.commits.between(
        call.repo, values.fromRef, values.toRef, values.limit, call.user_key
    )
    return {
        "commits": [_between(commit) for commit in log.commits],
        "stats": {"totalCommits": log.total},
    }


@router.query("getTreeCommits", access=READ, errors=("not_found", "invalid", "too_large"))
async def get_tree_commits(call: Call, values: AtPath) -> TreeCommits:
    """The last commit of each entry of a directory, in the order of ``getTree`` (wit's own).

    As ``git log -1 -- <entry>`` finds it. A first look at a very long history can end before all
    is found: then ``complete`` is false, ``commit`` of the others null, and asking again goes on.
    """
    found = await call.core.commits.last_changes(call.repo, values.ref, values.path, call.user_key)
    return {
        "entries": [_tree_commit(found.path, change) for change in found.entries],
        "complete": found.complete,
    }
