"""Fetches, over any door.

The refs are answered from memory; packs are made by ``git upload-pack --stateless-rpc``, one
process for one request, also where a client holds a session open. What is wanted is checked
before git hears of it, and the packs of clones go through the pack cache.
gitprotocol-v2(5), gitprotocol-pack(5), gitprotocol-http(5).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import attrs
from twisted.logger import Logger

from wit.config import Config
from wit.errors import TimedOut, Unavailable, WitError
from wit.git import pktline
from wit.git.advertise import encoded, ls_refs, parse_command, parse_ls_refs, v2_capabilities
from wit.git.command import MEMORY_CONFIG, Git, Invocation
from wit.git.damage import Suspect, nobody, sign
from wit.git.fetch_request import Budget, FetchRequest, Requests, from_v0, from_v2, wants_of_v0
from wit.git.governor import Governor
from wit.git.pack_cache import NotCached, PackCache
from wit.git.pktline import ProtocolError
from wit.git.process import PIPE, Child, feed, spawn, within
from wit.git.public_text import PublicText, ServerPaths
from wit.git.reachability import NotOurRef, Reachability
from wit.git.refs import RefReader
from wit.git.repository import BareRepository
from wit.runtime import Runtime
from wit.streams import (
    CHUNK,
    ByteSink,
    ByteSource,
    BytesSource,
    SizedSink,
    StreamClosed,
    copy,
)

log = Logger()


class _Answer:
    """A ByteSink that knows whether anything was sent, which decides how an error is told."""

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink
        self.started = False

    def announce(self, size: int) -> None:
        """So many bytes will come; to a client that hears it, nothing else can be sent instead."""
        if isinstance(self._sink, SizedSink):
            self.started = True
            self._sink.announce(size)

    async def write(self, data: bytes) -> None:
        self.started = True
        await self._sink.write(data)


@attrs.frozen
class _Talk:
    """Who talks with which repository, and how."""

    repo: BareRepository
    protocol: int
    user_key: str | None


class UploadPack:
    """Serves fetches. Errors are told to the client as ERR packets; if part of an answer was
    sent already, WitError is raised instead: the door must break the connection off."""

    def __init__(
        self,
        config: Config,
        git: Git,
        runtime: Runtime,
        *,
        refs: RefReader,
        governor: Governor,
        cache: PackCache,
        suspect: Suspect = nobody,
    ) -> None:
        """``suspect`` is told of repositories that look damaged."""
        self._config = config.git
        self._paths = ServerPaths(config.repos_dir)
        self._suspect = suspect
        self._git = git
        self._runtime = runtime
        self._refs = refs
        self._governor = governor
        self._cache = cache
        self._reachability = Reachability(git, runtime, governor, suspect)
        self._budget = Budget()
        self._git_config = (
            ("uploadpack.allowAnySHA1InWant", "false"),
            ("uploadpack.allowReachableSHA1InWant", "true"),
            ("uploadpack.allowFilter", "true"),
            # It would read any object as a pattern list, reachable or not, and costs most.
            ("uploadpackfilter.sparse:oid.allow", "false"),
            ("uploadpack.allowRefInWant", "false"),
            ("uploadpack.keepAlive", "5"),
            *(("transfer.hideRefs", name) for name in config.repositories.hidden_refs),
            *MEMORY_CONFIG,
        )

    async def advertise(self, repo: BareRepository, protocol: int, sink: ByteSink) -> None:
        """What comes before the first request; the ``# service`` line of HTTP is the door's.

        Raises WitError with nothing sent if git cannot be run.
        """
        if protocol >= 2:
            await sink.write(v2_capabilities(repo.object_format))
        else:
            talk = _Talk(repo, protocol, None)
            await self._run(talk, b"", sink, "--stateless-rpc", "--advertise-refs")

    async def serve_request(
        self,
        repo: BareRepository,
        protocol: int,
        source: ByteSource,
        sink: ByteSink,
        user_key: str,
    ) -> None:
        """Answer one stateless request, the body of a POST."""
        talk = _Talk(repo, protocol, user_key)
        with self._requests(source) as requests:

            async def work(answer: _Answer) -> None:
                if protocol >= 2:
                    await self._one_v2(talk, requests, answer)
                else:
                    packets = await requests.everything()
                    await self._fetch(talk, from_v0(packets, repo.object_format), answer)

            await self._told(sink, work)

    async def serve_session(
        self,
        repo: BareRepository,
        protocol: int,
        source: ByteSource,
        sink: ByteSink,
        user_key: str,
    ) -> None:
        """The whole conversation of an SSH channel, beginning with the advertisement."""
        talk = _Talk(repo, protocol, user_key)
        going_on = True
        with self._requests(source) as requests:

            async def work(answer: _Answer) -> None:
                nonlocal going_on
                if protocol >= 2:
                    going_on = await self._one_v2(talk, requests, answer)
                else:
                    going_on = False
                    await self._session_v0(talk, requests, source, answer)

            if protocol >= 2:
                await self.advertise(repo, protocol, sink)
            while going_on and await self._told(sink, work):
                pass

    def _requests(self, source: ByteSource) -> Requests:
        return Requests(source, self._config.negotiation_bytes, self._budget)

    async def _told(
        self, sink: ByteSink, work: Callable[[_Answer], Coroutine[Any, Any, None]]
    ) -> bool:
        """Do ``work`` within the time limit; whether it went well. If not, the client knows."""
        answer = _Answer(sink)
        try:
            await self._in_time(work(answer))
        except WitError as error:
            if answer.started:
                raise
            await sink.write(pktline.error(error.message))
            return False
        return True

    async def _in_time(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await within(self._runtime, self._config.fetch_seconds, work)
        except TimeoutError:
            raise TimedOut("the fetch took longer than this server allows") from None

    async def _one_v2(self, talk: _Talk, requests: Requests, answer: _Answer) -> bool:
        """Answer the next request; False if there is none."""
        packets = await requests.next()
        if len(packets) < 2:
            return False
        repo = talk.repo
        command = parse_command(packets, repo.object_format)
        if command.name == "ls-refs":
            snapshot = await self._refs.snapshot(repo)
            request = parse_ls_refs(command.arguments)
            refs = await encoded(self._runtime, ls_refs, snapshot, request)
            answer.announce(len(refs))
            await copy(_Pieces(refs), answer)
        elif command.name == "fetch":
            await self._fetch(talk, from_v2(command, repo.object_format), answer)
        else:
            raise ProtocolError(f"invalid command {command.name[:80]!r}")
        return True

    async def _fetch(self, talk: _Talk, request: FetchRequest, answer: _Answer) -> None:
        """Check what is wanted, then let git answer: into the cache if it is a clone."""
        repo = talk.repo
        snapshot = await self._refs.snapshot(repo)
        await self._reachability.check_wants(repo, snapshot, request.wants, talk.user_key)
        if request.is_clone:
            key = request.cache_key(repo, snapshot.version)
            expected = 0
            if key not in self._cache:
                expected = await self._runtime.in_thread(_pack_bytes, repo.path)

            async def produce(fd: int) -> None:
                await self._in_time(self._run(talk, request.data, fd, "--stateless-rpc"))

            try:
                with self._cache.open(key, produce, expected) as reader:
                    if reader.size is not None:
                        answer.announce(reader.size)
                    await self._tell(repo, reader, answer)
                return
            except NotCached as reason:
                log.info("{repo} is fetched uncached: {reason}", repo=repo.key, reason=reason)
        await self._run(talk, request.data, answer, "--stateless-rpc")

    async def _run(self, talk: _Talk, data: bytes, output: ByteSink | int, *flags: str) -> None:
        """One ``git upload-pack`` under a slot, from ``data`` to a sink or a descriptor."""
        stdout = output if isinstance(output, int) else PIPE
        command = self._command(talk, *flags)
        async with (
            self._governor.slot(talk.repo.key, talk.user_key),
            spawn(self._runtime, command, stdout=stdout) as child,
        ):
            feeding = feed(child, BytesSource(data))
            try:
                if not isinstance(output, int):
                    await self._tell(talk.repo, child.stdout, output)
                await self._ended_well(talk.repo, child)
            finally:
                feeding.cancel()

    async def _session_v0(
        self, talk: _Talk, requests: Requests, source: ByteSource, answer: _Answer
    ) -> None:
        """One git for the whole conversation, whose wants are looked at in passing."""
        repo = talk.repo
        before = await self._refs.snapshot(repo)

        async def check(wants: Sequence[str]) -> None:
            try:
                await self._reachability.check_wants(repo, before, wants, None, holds_slot=True)
            except NotOurRef:
                # The refs may have moved between our look and git's.
                now = await self._refs.snapshot(repo)
                await self._reachability.check_wants(repo, now, wants, None, holds_slot=True)

        checked = _CheckedWants(requests, source, repo.object_format, check)
        async with (
            self._governor.slot(repo.key, talk.user_key),
            spawn(self._runtime, self._command(talk)) as child,
        ):
            feeding = feed(child, checked)
            try:
                await self._tell(repo, child.stdout, answer)
                if checked.refusal is None:
                    await self._ended_well(repo, child)
                else:
                    # The advertisement is out and the client waits for a packet.
                    await answer.write(pktline.error(checked.refusal.message))
            finally:
                feeding.cancel()

    def _command(self, talk: _Talk, *flags: str) -> Invocation:
        return self._git.command(
            "upload-pack",
            "--strict",
            *flags,
            operands=[talk.repo.path],
            config=self._git_config,
            protocol=f"version={talk.protocol}",
        )

    async def _tell(self, repo: BareRepository, source: ByteSource, sink: ByteSink) -> None:
        """git's answer to the client, without the server's paths; those are for the log."""
        words = PublicText(self._paths)
        try:
            while data := await source.read():
                if edited := words.feed(data):
                    await sink.write(edited)
            if rest := words.end():
                await sink.write(rest)
        finally:
            if words.edited:
                log.warn("git told a client of {repo}: {text}", repo=repo.key, text=words.said)
            if found := sign(words.said):
                self._suspect(repo.key, found)

    async def _ended_well(self, repo: BareRepository, child: Child) -> None:
        code = await child.wait()
        if code == 0:
            return
        stderr = child.stderr_tail.decode("utf-8", "replace")
        log.error(
            "git upload-pack ended with {code} in {repo}: {stderr}",
            code=code,
            repo=repo.key,
            stderr=stderr,
        )
        if code > 0 and (found := sign(stderr)):
            self._suspect(repo.key, found)
        fatal = [line[7:] for line in stderr.splitlines() if line.startswith("fatal: ")]
        reason = f"status {code}"
        if fatal:
            reason = self._paths.hide(fatal[-1]).replace(repo.path, "the repository")
        raise Unavailable(f"git could not answer this fetch: {reason}")


class _CheckedWants:
    """The client's side of a v0 session: its first request is checked before git sees it."""

    def __init__(
        self,
        requests: Requests,
        source: ByteSource,
        object_format: str,
        check: Callable[[Sequence[str]], Coroutine[Any, Any, None]],
    ) -> None:
        self._requests = requests
        self._source = source
        self._object_format = object_format
        self._check = check
        self._started = False
        self.refusal: WitError | None = None

    async def read(self) -> bytes:
        if self._started:
            return self._requests.rest() or await self._source.read()
        self._started = True
        try:
            packets = await self._requests.next(v2=False)
            await self._check(wants_of_v0(packets, self._object_format))
        except WitError as error:
            self.refusal = error
            raise StreamClosed(error.message) from error
        return b"".join(
            pktline.encode(packet) if isinstance(packet, bytes) else pktline.FLUSH
            for packet in packets
        )


class _Pieces:
    """A ByteSource that hands a large answer out piece by piece."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    async def read(self) -> bytes:
        piece = self._data[self._position : self._position + CHUNK]
        self._position += len(piece)
        return piece


def _pack_bytes(path: str) -> int:
    """About as many bytes as a full clone has: those of the packs, of an alternate too."""
    total = 0
    folders = [os.path.join(path, "objects")]
    with suppress(OSError), open(os.path.join(folders[0], "info", "alternates")) as alternates:
        folders += [os.path.join(folders[0], line.rstrip("\n")) for line in alternates]
    for folder in folders:
        with suppress(OSError):
            total += sum(
                entry.stat().st_size
                for entry in os.scandir(os.path.join(folder, "pack"))
                if entry.name.endswith(".pack")
            )
    return total
