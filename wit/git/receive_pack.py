"""Pushes over any door: C git does the work, the policy is asked through the hook channel.

The wire is gitprotocol-pack(5), "Pushing Data To a Server". The advertisement comes from the ref
snapshot; then ``git receive-pack --stateless-rpc`` reads the commands and the pack, on HTTP and
SSH alike. What it does is whole or not at all: objects wait in git's quarantine until the policy
has agreed, and whatever ends a push early leaves nothing behind.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from wit.config import Config
from wit.errors import Invalid, WitError
from wit.git import pktline
from wit.git.advertise import encoded, receive_pack_v0
from wit.git.command import MEMORY_CONFIG, Git, Invocation
from wit.git.damage import Suspect, nobody
from wit.git.governor import Governor
from wit.git.pktline import Marker, Parser
from wit.git.public_text import PublicText, ServerPaths
from wit.git.push import Push, reflog_identity
from wit.git.push_run import Commands, PushRun
from wit.git.refs import RefReader
from wit.git.repository import BareRepository
from wit.latch import Latch
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.streams import ByteSink, ByteSource

MAX_COMMANDS = 16 * 1024 * 1024
"""Bytes of ref updates in one push, about 150 000 refs."""

UNPACK_LIMIT = 10
"""Objects; a push with fewer is kept loose. Measured: one commit is as fast either way, thirty
objects are twice as fast as a pack, whose two files are flushed at once."""

ALLOC_LIMIT = "1g"
"""The largest single allocation of git: an object that inflates beyond it is refused."""

PUSH_CONFIG: tuple[tuple[str, str], ...] = (
    ("receive.fsckObjects", "true"),
    # Old history has these; they hurt nobody, and the history could not be pushed otherwise.
    ("receive.fsck.missingSpaceBeforeDate", "ignore"),
    ("receive.fsck.badTimezone", "ignore"),
    ("receive.fsck.zeroPaddedFilemode", "ignore"),
    ("receive.unpackLimit", str(UNPACK_LIMIT)),
    ("receive.advertisePushOptions", "true"),
    ("receive.advertiseAtomic", "true"),
    ("receive.denyDeleteCurrent", "refuse"),
    ("receive.denyCurrentBranch", "ignore"),
    # To a quarantine, the repository itself is an alternate, whose refs git would list once more
    # for the connectivity check, which knows them already. Repositories here have no others.
    ("core.alternateRefsCommand", "true"),
    ("core.logAllRefUpdates", "always"),
    # What git has reported as done survives a power cut.
    ("core.fsync", "loose-object,pack,pack-metadata,reference"),
    ("core.fsyncMethod", "batch"),
    # Housekeeping may hold packed-refs for a moment.
    ("core.packedRefsTimeout", "10000"),
    ("core.filesRefLockTimeout", "1000"),
)


class ReceivePack:
    """Serves pushes. Errors are told to the client in git's protocol; if part of git's report was
    sent already, WitError is raised instead: the door must break the connection off."""

    def __init__(
        self,
        config: Config,
        git: Git,
        runtime: Runtime,
        *,
        refs: RefReader,
        governor: Governor,
        metrics: Metrics,
        suspect: Suspect = nobody,
    ) -> None:
        """``suspect`` is told of repositories that look damaged."""
        self._config = config
        self._paths = ServerPaths(config.repos_dir)
        self._suspect = suspect
        self._git = git
        self._runtime = runtime
        self._refs = refs
        self._governor = governor
        self._metrics = metrics
        self._git_config = (
            *MEMORY_CONFIG,
            *PUSH_CONFIG,
            *(("transfer.hideRefs", name) for name in config.repositories.hidden_refs),
            *(("receive.hideRefs", name) for name in config.repositories.read_only_refs),
        )

    async def advertise(self, repo: BareRepository, protocol: int, sink: ByteSink) -> None:
        """The reference discovery, without the ``# service`` line that HTTP puts before it.

        Protocol v2 has no push of its own: version 0 is spoken then.
        """
        snapshot = await self._refs.snapshot(repo)
        await sink.write(
            await encoded(self._runtime, receive_pack_v0, snapshot, repo.object_format, protocol)
        )

    async def serve_session(
        self, repo: BareRepository, protocol: int, source: ByteSource, sink: ByteSink, push: Push
    ) -> None:
        """A whole conversation, advertisement included (SSH)."""
        await self.advertise(repo, protocol, sink)
        await self.serve_request(repo, protocol, source, sink, push)

    async def serve_request(
        self, repo: BareRepository, protocol: int, source: ByteSource, sink: ByteSink, push: Push
    ) -> None:
        """What follows the advertisement: commands, pack, report; the same in all protocols.

        What git or the policy refuse stands in the report; returns when the client has it,
        while the push keeps its slot until it is settled. Cancelling returns when git has ended
        and all is tidy; if the policy had agreed already, git may finish first. Raises
        StreamClosed if the client went away.
        """
        try:
            commands = await _read_commands(source)
        except WitError as error:
            await sink.write(pktline.error(error.message))
            return
        if commands is None:
            return
        over = Latch()
        run = PushRun(
            self._config,
            self._runtime,
            governor=self._governor,
            metrics=self._metrics,
            invocation=lambda hooks: self._invocation(repo, push, hooks),
            repo=repo,
            push=push,
            commands=commands,
            source=source,
            sink=sink,
            words=PublicText(self._paths),
            suspect=self._suspect,
            reported=over.open,
        )
        try:
            await self._until_reported(run, over)
        except WitError as error:
            if run.answered:
                raise
            await sink.write(_fatal(error.message, commands))

    @staticmethod
    async def _until_reported(run: PushRun, over: Latch) -> None:
        """Run it until the client has its report; when cancelled, have it end early, and wait."""
        failures: list[Failure] = []
        ended = Latch()

        def end(_: None) -> None:
            ended.open()
            over.open()

        done = Deferred.fromCoroutine(run.run())
        done.addErrback(failures.append)
        done.addCallback(end)
        cancelled = False
        while not (ended if cancelled else over).opened:
            try:
                await (ended if cancelled else over).wait()
            except CancelledError:
                cancelled = True
                run.stop()
        if cancelled:
            raise CancelledError
        for failure in failures:
            failure.raiseException()

    def _invocation(self, repo: BareRepository, push: Push, hooks: str) -> Invocation:
        config = [*self._git_config, ("core.hooksPath", hooks)]
        if push.max_bytes is not None:
            config.append(("receive.maxInputSize", str(push.max_bytes)))
        return self._git.command(
            "receive-pack",
            "--stateless-rpc",
            operands=[repo.path],
            config=config,
            environment={
                "GIT_COMMITTER_NAME": push.actor_name,
                "GIT_COMMITTER_EMAIL": reflog_identity(push.id),
                "GIT_ALLOC_LIMIT": ALLOC_LIMIT,
            },
        )


def _fatal(text: str, commands: Commands) -> bytes:
    """An error instead of git's report. The client prints it and fails."""
    if commands.sideband:
        return pktline.sideband(3, text.encode() + b"\n") + pktline.FLUSH
    return pktline.error(text)


async def _read_commands(source: ByteSource) -> Commands | None:
    """Read up to the flush behind the commands; None if there are none.

    Raises Invalid if the list is malformed or cut off, TooLarge above MAX_COMMANDS.
    """
    parser = Parser(stop_at_flush=True, limit=MAX_COMMANDS)
    data: list[bytes] = []
    commands = 0
    capabilities: set[bytes] = set()
    while True:
        chunk = await source.read()
        if not chunk:
            if data:
                raise Invalid("the push ended before its list of refs did")
            return None
        data.append(chunk)
        for packet in parser.feed(chunk):
            if isinstance(packet, Marker):
                return Commands(data, capabilities) if commands else None
            if not packet.startswith(b"shallow "):
                commands += 1
            # git takes capabilities from whichever line has them.
            capabilities.update(packet.partition(b"\0")[2].split())
