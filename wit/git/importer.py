"""Copying a repository from a path or a URL into a new bare one.

Branches, tags and notes are fetched and checked by fsck; nothing else of the source comes along: no
configuration, no hooks, no hidden refs. Where the source is named by a mere user, only http and
https are possible, and git connects to the addresses that were checked (attack list, lines 41 to
43).
"""

from __future__ import annotations

import os
import re
import shutil
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urlsplit

import attrs
from twisted.internet.defer import CancelledError

from wit.addresses import check_host, resolve_public
from wit.errors import Conflict, Invalid, TimedOut, TooLarge, Unavailable
from wit.git.command import MEMORY_CONFIG, Git, Invocation
from wit.git.delta_chains import has_deep_chain, too_deep
from wit.git.process import DEVNULL, Child, run, spawn, within
from wit.git.refname import check_refname
from wit.git.refs_files import read_refs
from wit.git.repository import UNFINISHED_PREFIX, create_bare
from wit.runtime import Runtime

IMPORT_SECONDS = 6 * 3600.0
"""Time limit of one import."""

LOOK_SECONDS = 60.0
"""Within which the source must have told its first refs."""

PROGRESS_SECONDS = 0.25
"""How often progress is passed on, and the size looked at."""

FIRST_REFS = 64 * 1024
"""Bytes of the source's list of refs that are looked at; HEAD is at its beginning."""

REFSPECS = tuple(
    f"+refs/{namespace}/*:refs/{namespace}/*" for namespace in ("heads", "tags", "notes")
)

PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}

SSH_COMMAND = "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new -oClearAllForwardings=yes"
"""For sources that the operator names; it uses the keys of the account that wit runs as."""

Progress = Callable[[str], object]

_SYMREF = re.compile(r"ref: (refs/heads/\S+)\tHEAD")
_PROGRESS = re.compile(r"remote: (Enumerating|Counting|Compressing|Finding|Total)\b")
_OID_LINE = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\t(\S+)")


@attrs.frozen
class _Source:
    """Where to fetch from: what git is told, free of passwords."""

    location: str
    protocol: str
    config: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    """May hold a password: it reaches git by the environment, never by argv or a file."""


@attrs.frozen
class _Found:
    """What the source tells about itself."""

    object_format: str
    default_branch: str | None


async def import_mirror(
    git: Git,
    runtime: Runtime,
    source: str,
    destination: str,
    *,
    allow_local: bool,
    progress: Progress | None = None,
    max_bytes: int | None = None,
    max_delta_depth: int = 4095,
) -> str:
    """Make the bare repository ``destination`` from ``source``; returns its object format.

    It is made beside its place and renamed into it when it is whole; cancelled or failed, nothing
    stays. With ``allow_local`` the source may be an absolute path or any http, https, ssh or git
    URL; without it (a user's wish) it is http or https on the public internet, without redirects.

    Raises Invalid for a source that is none, that git refuses, or whose packs have chains of more
    than ``max_delta_depth`` deltas, Conflict if something is at ``destination``, TooLarge beyond
    ``max_bytes`` on disk, TimedOut, Unavailable.
    """
    origin = await _parse(runtime, source, allow_local=allow_local)
    if await runtime.in_thread(os.path.lexists, destination):
        raise Conflict("there is a repository of this name already")
    unfinished = os.path.join(
        os.path.dirname(destination), UNFINISHED_PREFIX + runtime.random_bytes(8).hex()
    )
    try:
        found = await _look(git, runtime, origin)
        branch = found.default_branch or "main"
        await create_bare(git, runtime, unfinished, found.object_format, branch)
        fetch = _command(
            git, "fetch", origin, "--progress", "--no-tags", "--no-write-fetch-head",
            "--no-auto-maintenance", git_dir=unfinished, operands=REFSPECS,
        )  # fmt: skip
        checked = await _fetch(runtime, fetch, unfinished, progress or _ignore, max_bytes)
        await _check_chains(runtime, unfinished, found, max_delta_depth)
        if not checked:
            fsck = git.command(
                "fsck", "--full", "--strict", "--no-dangling", "--no-progress", git_dir=unfinished
            )
            await _succeed(runtime, fsck)
        await _tidy(git, runtime, unfinished, found, progress or _ignore)
        await runtime.in_thread(_install, unfinished, destination)
    finally:
        with suppress(CancelledError):
            await runtime.in_thread(shutil.rmtree, unfinished, ignore_errors=True)
    return found.object_format


async def _parse(runtime: Runtime, source: str, *, allow_local: bool) -> _Source:
    if not source.isprintable() or source.startswith("-"):
        raise Invalid("the source is not a path or URL")
    if "://" not in source:
        if not allow_local:
            raise Invalid("the source must be an http or https URL")
        if ":" in source.partition("/")[0]:
            raise Invalid("write the source as ssh://user@host/path")
        return _local(source)
    try:
        url = urlsplit(source)
        port = url.port
    except ValueError:
        raise Invalid("the source is not a valid URL") from None
    allowed = tuple(PORTS) if allow_local else ("http", "https")
    if url.scheme not in allowed:
        raise Invalid(f"the source must be a URL of one of these kinds: {', '.join(allowed)}")
    if not source.isascii() or " " in source:
        raise Invalid("the source URL has characters that must be percent-encoded")
    if url.query or url.fragment:
        raise Invalid("the source URL must not have a query or fragment")
    host = check_host((url.hostname or "").removesuffix("."))
    config: list[tuple[str, str]] = []
    if not allow_local:
        addresses = await resolve_public(runtime, host, port or PORTS[url.scheme])
        if ":" not in host:
            pin = ",".join(f"[{ip}]" if ":" in ip else ip for ip in addresses)
            config.append(("http.curloptResolve", f"{host}:{port or PORTS[url.scheme]}:{pin}"))
    return _without_password(url, host, port, config)


def _local(path: str) -> _Source:
    return _Source(os.path.abspath(path), "file")


def _without_password(
    url: SplitResult, host: str, port: int | None, config: list[tuple[str, str]]
) -> _Source:
    netloc = f"[{host}]" if ":" in host else host
    if port is not None:
        netloc += f":{port}"
    if url.scheme == "ssh" and url.username:
        if url.password or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", url.username):
            raise Invalid("an ssh source is written ssh://user@host/path, without a password")
        netloc = f"{url.username}@{netloc}"
    elif url.username or url.password:
        user, password = unquote(url.username or ""), unquote(url.password or "")
        basic = b64encode(f"{user}:{password}".encode()).decode()
        config.append(("http.extraHeader", f"Authorization: Basic {basic}"))
    location = url._replace(netloc=netloc).geturl()
    return _Source(location, url.scheme, tuple(config))


def _command(
    git: Git,
    name: str,
    source: _Source,
    *options: str,
    git_dir: str | None = None,
    operands: tuple[str, ...] = (),
) -> Invocation:
    try:
        return git.command(
            name,
            *options,
            git_dir=git_dir,
            operands=[source.location, *operands],
            config=(
                *MEMORY_CONFIG,
                ("fetch.fsckObjects", "true"),
                ("fetch.unpackLimit", "1"),
                *source.config,
            ),
            environment={"GIT_SSH_COMMAND": SSH_COMMAND} if source.protocol == "ssh" else None,
            allow_protocols=[source.protocol],
        )
    except ValueError as error:
        raise Invalid("the source is not a path or URL that git takes") from error


async def _look(git: Git, runtime: Runtime, source: _Source) -> _Found:
    """Read the beginning of the source's list of refs."""
    command = _command(git, "ls-remote", source, "--symref")
    async with spawn(runtime, command, stdin=DEVNULL) as child:
        try:
            listing, code = await within(runtime, LOOK_SECONDS, _first_refs(child))
        except TimeoutError:
            raise TimedOut("the source did not answer in time") from None
        if code != 0:
            raise Invalid(f"the source cannot be read: {_reason(child.stderr_tail)}")
    return _found(listing)


async def _first_refs(child: Child) -> tuple[str, int]:
    listing = b""
    while data := await child.stdout.read():
        listing += data
        if len(listing) > FIRST_REFS:
            return os.fsdecode(listing.rpartition(b"\n")[0]), 0
    return os.fsdecode(listing), await child.wait()


def _found(listing: str) -> _Found:
    symref = _SYMREF.match(listing)
    oids = {name: oid for oid, name in _OID_LINE.findall(listing)}
    branch = symref[1] if symref else None
    if branch is None and "HEAD" in oids:  # detached: a branch at the same commit, if there is one
        same = (name for name, oid in oids.items() if oid == oids["HEAD"])
        branch = next((name for name in same if name.startswith("refs/heads/")), None)
    if branch is None:
        branches = [name for name in oids if name.startswith("refs/heads/")]
        usual = ["refs/heads/main", "refs/heads/master", *branches]
        branch = next((name for name in usual if name in branches), None)
    if branch is not None:
        try:
            check_refname(os.fsencode(branch))
        except Invalid:
            branch = None
    is_sha256 = any(len(oid) == 64 for oid in oids.values())
    return _Found("sha256" if is_sha256 else "sha1", branch and branch.removeprefix("refs/heads/"))


async def _fetch(
    runtime: Runtime, command: Invocation, path: str, progress: Progress, max_bytes: int | None
) -> bool:
    """Whether every object surely went through fsck.

    That is done by the git process that unpacks what a server sends, and that says "Receiving
    objects". The dumb HTTP protocol, which a source may choose, has no such process.
    """
    async with spawn(runtime, command, stdin=DEVNULL, stdout=DEVNULL) as child:
        watch = _Watch(runtime, child, path, progress, max_bytes)
        try:
            code = await within(runtime, IMPORT_SECONDS, watch.until_end())
        except TimeoutError:
            raise TimedOut("the import took too long") from None
        if code != 0:
            raise Invalid(f"the source cannot be fetched: {_reason(child.stderr_tail)}")
    return watch.received


@attrs.define
class _Watch:
    """Passes on what a fetch says while it works, and looks at how large the repository gets."""

    _runtime: Runtime
    _child: Child
    _path: str
    _progress: Progress
    _max_bytes: int | None
    _reported: str = ""
    received: bool = False

    async def until_end(self) -> int:
        while True:
            with suppress(TimeoutError):
                code = await within(self._runtime, PROGRESS_SECONDS, self._child.wait())
                self._report()
                return code
            self._report()
            if self._max_bytes is not None:
                size = await self._runtime.in_thread(_size, self._path)
                if size > self._max_bytes:
                    raise TooLarge(f"the source is larger than {self._max_bytes} bytes")

    def _report(self) -> None:
        """Pass on the last complete line, if it is a new one."""
        lines = re.split(r"[\r\n]+", self._child.stderr_tail.decode("utf-8", "replace"))[:-1]
        self.received |= any(line.startswith("Receiving objects:") for line in lines)
        line = next((line.rstrip() for line in reversed(lines) if line.strip()), self._reported)
        if line != self._reported:
            self._reported = line
            self._progress(_printable(line))


async def _check_chains(runtime: Runtime, path: str, found: _Found, limit: int) -> None:
    objects = os.path.join(path, "objects")
    if await has_deep_chain(runtime, objects, found.object_format, limit):
        raise Invalid(f"the source cannot be used: {too_deep(limit)}")


async def _tidy(git: Git, runtime: Runtime, path: str, found: _Found, progress: Progress) -> None:
    """Leave out refs that could not have been pushed to wit, and pack the others."""
    reading = await runtime.in_thread(read_refs, path, found.object_format, ())
    deletions = b""
    for ref in reading.refs:
        try:
            check_refname(ref.name)
        except Invalid as error:
            progress(_printable(f"left out: {error.message}"))
            deletions += b"delete %b\0\0" % ref.name
    if deletions:
        await _succeed(runtime, git.command("update-ref", "--stdin", "-z", git_dir=path), deletions)
    await _succeed(runtime, git.command("pack-refs", "--all", "--prune", git_dir=path))


async def _succeed(runtime: Runtime, command: Invocation, stdin: bytes = b"") -> None:
    done = await run(runtime, command, stdin, timeout=IMPORT_SECONDS)
    if done.code != 0:
        raise Invalid(f"the source cannot be used: {_reason(done.stderr)}")


def _install(unfinished: str, destination: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(unfinished, "FETCH_HEAD"))
    if os.path.lexists(destination):
        raise Conflict("there is a repository of this name already")
    try:
        os.rename(unfinished, destination)
    except FileExistsError:
        raise Conflict("there is a repository of this name already") from None
    except OSError as error:
        raise Unavailable(f"the repository cannot be written: {error.strerror}") from error


def _size(path: str) -> int:
    """Bytes in the packs of a repository, those that are being written included."""
    total = 0
    folder = os.path.join(path, "objects", "pack")
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_size
    return total


def _reason(stderr: bytes) -> str:
    """git's own last words, and the other side's but for its progress."""
    lines = [
        line.strip()
        for line in re.split(r"[\r\n]+", stderr.decode("utf-8", "replace"))
        if line.startswith(("fatal:", "error", "ERROR:", "remote:", "ssh:"))
        and not _PROGRESS.match(line)
    ]
    return _printable("; ".join(lines[-3:])[:500]) or "git gave no reason"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _ignore(line: str) -> None:
    return None
