"""A repository's working tree in a sandbox: ``/workspace`` is a clone at one commit.

What comes into the sandbox is a ``.git`` that we write ourselves (a pack of the commit's history,
two refs, a configuration), by the provider's own way for archives; then git in the sandbox fills
the working tree. So no sandbox ever has a path to the store, and every provider does it alike.

``origin`` is the repository. Where the provider can serve a port inside the sandbox, that is wit's
git door, and so it works without any network; elsewhere it is the public address, if the sandbox's
network can reach it, and else a sentence that says why it cannot.
"""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import urlsplit

import attrs
from twisted.logger import Logger

from wit.errors import Invalid, Unavailable
from wit.git.command import Git
from wit.git.governor import Governor
from wit.git.object_reader import ObjectReader
from wit.git.process import DEVNULL, spawn
from wit.git.refs import RefReader, RefSnapshot
from wit.git.repository import BareRepository
from wit.git.revisions import FALLBACKS, HEAD, Revisions, read_commit, unknown
from wit.runtime import Runtime
from wit.sandboxes.packs import CommitPacks
from wit.sandboxes.provider import (
    WORKSPACE,
    Channel,
    Command,
    Execution,
    Network,
    SandboxProvider,
)
from wit.sandboxes.tarball import Member, Tarball
from wit.sandboxes.tokens import USERNAME

GIT_PORT = 3129
"""Where wit's git door is within sandboxes of providers that serve inside."""

SECONDS = 600.0
"""Longest time to fill a working tree."""

MAX_MESSAGE = 2000
"""Bytes of git's complaint that are kept."""

RESET = ("git", "-c", "safe.directory=*", "reset", "--hard", "--quiet")
"""Fills the working tree from HEAD."""

NO_PROGRAM = 127
"""Exit code of a program that is not there."""

_BRANCHES = "refs/heads/"
_OWN = "wit-origin"
"""File below .git with what is wit's: how to sign in at origin."""

log = Logger()


@attrs.frozen
class Target:
    """What is checked out; ``commit`` is None in a repository without commits."""

    commit: str | None
    branch: str | None
    """None: a detached HEAD."""


@attrs.frozen
class Origin:
    """The remote: where it is, and the secret of the token that git signs in with."""

    url: str
    token: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Author:
    """Whose commits those made in the sandbox are."""

    name: str
    email: str


class Checkouts:
    def __init__(
        self,
        git: Git,
        runtime: Runtime,
        governor: Governor,
        *,
        refs: RefReader,
        revisions: Revisions,
        objects: ObjectReader,
        packs: CommitPacks,
    ) -> None:
        self._git = git
        self._runtime = runtime
        self._governor = governor
        self._refs = refs
        self._revisions = revisions
        self._objects = objects
        self._packs = packs

    async def resolve(
        self, bare: BareRepository, ref: str | None, default_branch: str, user_key: str
    ) -> Target:
        """What ``ref`` (a branch, tag or commit; None: HEAD) means now.

        Raises NotFound if a client may not see such a thing, Invalid if it is no commit.
        """
        found = await self._revisions.find(bare, ref or HEAD, default_branch, user_key)
        snapshot = await self._refs.snapshot(bare)
        if found is None:
            if ref is not None:
                raise unknown(ref)
            head = snapshot.head or f"{_BRANCHES}{default_branch}".encode()
            return Target(None, _branch_name(head))
        async with self._objects.open(bare, user_key) as objects:
            commit = await read_commit(objects, found)
        if commit is None:
            raise Invalid(f"{(ref or HEAD)[:80]!r} is not a commit")
        return Target(commit.oid, _branch_of(snapshot, ref, default_branch, found))

    async def fill(
        self,
        provider: SandboxProvider,
        sandbox_ref: str,
        bare: BareRepository,
        target: Target,
        *,
        origin: Origin,
        author: Author,
        user_key: str,
    ) -> None:
        """Make ``/workspace`` a clone of ``bare`` at ``target``.

        Where the sandbox has no git, the files come without a history. Raises Unavailable with
        git's reason, and what the provider raises.
        """
        config = git_config(bare.object_format, target, origin, author)
        members = [
            Member(".git/"),
            Member(".git/objects/pack/"),
            Member(".git/refs/heads/"),
            Member(".git/refs/tags/"),
            Member(".git/HEAD", _head(target)),
            Member(".git/config", config.encode()),
            Member(f".git/{_OWN}", sign_in(origin).encode(), 0o600),
        ]
        if target.commit is None:
            await provider.upload(sandbox_ref, WORKSPACE, Tarball(self._runtime, members))
            return
        pack = await self._packs.open(bare, target.commit, user_key)
        try:
            members += [
                Member(".git/packed-refs", _packed_refs(target)),
                Member(f".git/objects/pack/{pack.name}.pack", pack.pack, 0o444),
                Member(f".git/objects/pack/{pack.name}.idx", pack.index, 0o444),
            ]
            if pack.shallow:
                members.append(Member(".git/shallow", f"{target.commit}\n".encode()))
            await provider.upload(sandbox_ref, WORKSPACE, Tarball(self._runtime, members))
        finally:
            pack.close()
        said = await self._reset(provider, sandbox_ref)
        if said is None:
            await self._without_git(provider, sandbox_ref, bare, target.commit, user_key)

    async def _reset(self, provider: SandboxProvider, sandbox_ref: str) -> str | None:
        """Fill the working tree; what git said, or None if there is no git."""
        execution = await provider.execute(sandbox_ref, Command(RESET, seconds=SECONDS))
        try:
            await execution.end_input()
            said = await _complaint(execution)
            how = await execution.wait()
        finally:
            await execution.close()
        if how.code == NO_PROGRAM:
            return None
        if how.code != 0:
            reason = said or how.reason or f"status {how.code}"
            raise Unavailable(f"the repository could not be checked out: {reason}")
        return said

    async def _without_git(
        self,
        provider: SandboxProvider,
        sandbox_ref: str,
        bare: BareRepository,
        commit: str,
        user_key: str,
    ) -> None:
        """The files alone; what git wrote of a history nobody there can read."""
        await provider.remove_file(sandbox_ref, ".git")
        command = self._git.command(
            "archive", ("--format", "tar"), git_dir=bare.path, operands=[commit]
        )
        async with (
            self._governor.slot(bare.key, user_key),
            spawn(self._runtime, command, stdin=DEVNULL) as child,
        ):
            await provider.upload(sandbox_ref, WORKSPACE, child.stdout)
            if await child.wait() != 0:
                raise Unavailable("the repository's files could not be read")


def git_config(object_format: str, target: Target, origin: Origin, author: Author) -> str:
    """``.git/config`` (git-config(1), "Syntax")."""
    lines = [
        "[core]",
        f"\trepositoryformatversion = {0 if object_format == 'sha1' else 1}",
        "\tfilemode = true",
        "\tbare = false",
        "\tlogallrefupdates = true",
    ]
    if object_format != "sha1":
        lines += ["[extensions]", f"\tobjectformat = {object_format}"]
    lines += [
        '[remote "origin"]',
        f"\turl = {_quoted(origin.url)}",
        "\tfetch = +refs/heads/*:refs/remotes/origin/*",
    ]
    if target.branch is not None:
        lines += [
            f"[branch {_quoted(target.branch)}]",
            "\tremote = origin",
            f"\tmerge = {_quoted(_BRANCHES + target.branch)}",
        ]
    lines += [
        "[user]",
        f"\tname = {_quoted(author.name)}",
        f"\temail = {_quoted(author.email)}",
        "[include]",
        f"\tpath = {_OWN}",
    ]
    return "\n".join(lines) + "\n"


def sign_in(origin: Origin) -> str:
    """The file beside it with the token: sent to origin's server and to no other."""
    parts = urlsplit(origin.url)
    if origin.token is None or parts.scheme not in ("http", "https"):
        return ""
    secret = b64encode(f"{USERNAME}:{origin.token}".encode()).decode()
    lines = [
        f'[http "{parts.scheme}://{parts.netloc}/"]',
        f"\textraHeader = Authorization: Basic {secret}",
    ]
    if parts.hostname == "127.0.0.1":
        lines.append('\tproxy = ""')
    return "\n".join(lines) + "\n"


def origin_url(public_url: str, full_name: str, network: Network, *, inside: bool) -> str:
    """Where a sandbox reaches its repository; what its git says instead, if it cannot."""
    if inside:
        return f"http://127.0.0.1:{GIT_PORT}/{full_name}.git"
    address = f"{public_url}/{full_name}.git"
    if network is Network.NONE:
        shown = address.partition("://")[2]
        return f"/this sandbox has no network, so {shown} cannot be reached from it"
    if urlsplit(public_url).hostname in ("localhost", "127.0.0.1", "::1"):
        return f"/the address of this server ({full_name}) is not known outside it, see public_url"
    return address


async def _complaint(execution: Execution) -> str:
    """The end of what it wrote to standard error."""
    said = b""
    while output := await execution.read():
        if output.channel is Channel.STDERR:
            said = (said + output.data)[-MAX_MESSAGE:]
    return said.decode("utf-8", "replace").strip()


def _head(target: Target) -> bytes:
    if target.branch is not None:
        return f"ref: {_BRANCHES}{target.branch}\n".encode()
    return f"{target.commit}\n".encode()


def _packed_refs(target: Target) -> bytes:
    """gitrepository-layout(5). Sorted: ``refs/heads`` is before ``refs/remotes``."""
    lines = ["# pack-refs with: peeled fully-peeled sorted "]
    if target.branch is not None:
        for place in ("heads", "remotes/origin"):
            lines.append(f"{target.commit} refs/{place}/{target.branch}")
    return ("\n".join(lines) + "\n").encode()


def _branch_of(
    snapshot: RefSnapshot, ref: str | None, default_branch: str, found: str
) -> str | None:
    """The branch that is checked out, if ``ref`` means one."""
    names: list[bytes] = []
    if ref is None or ref == HEAD:
        names += [snapshot.head] if snapshot.head is not None else []
        names += [f"{_BRANCHES}{name}".encode() for name in (default_branch, *FALLBACKS)]
    else:
        names += [f"{_BRANCHES}{ref}".encode(), ref.encode()]
    for name in names:
        known = snapshot.by_name.get(name)
        if known is not None and known.oid == found and name.startswith(_BRANCHES.encode()):
            return _branch_name(name)
    return None


def _branch_name(ref: bytes) -> str | None:
    """None for a name that is no UTF-8: it is then checked out as a commit."""
    try:
        return ref.decode().removeprefix(_BRANCHES)
    except UnicodeDecodeError:
        return None


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", " ").replace("\0", "") + '"'
