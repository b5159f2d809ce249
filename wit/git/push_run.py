"""One run of git receive-pack: its slot, its directory, its streams, its end."""

from __future__ import annotations

from collections.abc import Callable, Set

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from wit.config import Config
from wit.errors import Invalid, TimedOut, Unavailable, WitError, internal_error
from wit.git.command import Invocation
from wit.git.damage import Suspect, sign
from wit.git.governor import Governor
from wit.git.hook_channel import Answer, HookChannel, PreReceive, Question, parse_updates
from wit.git.process import Child, spawn, within
from wit.git.public_text import PublicText
from wit.git.push import Push, Quarantine, Verdict
from wit.git.push_directory import LOCK_FD, PushDirectory, clean_up_after, remove_leftovers
from wit.git.repository import BareRepository
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.streams import ByteSink, ByteSource, StreamClosed

COMMIT_SECONDS = 10.0
"""How long git may go on when the client is gone, but the policy has agreed already."""

DISCARD_SECONDS = 30.0
"""How long the rest of a pack that git refused is read, so that the client gets to its report."""

UPDATES_ON_REACTOR = 16 * 1024
"""Bytes of ref updates, above which they are parsed in a thread."""


@attrs.frozen
class Commands:
    """The command list as it came, and what has to be known about it beforehand."""

    data: list[bytes]
    """All bytes read so far; the beginning of the pack may be among them."""
    capabilities: Set[bytes]

    @property
    def atomic(self) -> bool:
        """Whether all of it is wanted or nothing."""
        return b"atomic" in self.capabilities

    @property
    def sideband(self) -> bool:
        return bool(self.capabilities & {b"side-band", b"side-band-64k"})


class PushRun:
    """:meth:`run` is never cancelled, so that its tidying is never cut short; who wants it to end
    early calls :meth:`stop` and waits."""

    log = Logger()

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        *,
        governor: Governor,
        metrics: Metrics,
        invocation: Callable[[str], Invocation],
        repo: BareRepository,
        push: Push,
        commands: Commands,
        source: ByteSource,
        sink: ByteSink,
        words: PublicText,
        suspect: Suspect,
        reported: Callable[[], object],
    ) -> None:
        """``invocation`` makes the command line for a folder of hooks. ``reported`` is called when
        the client has git's whole report: what follows is our own book-keeping, which a client
        need not wait for."""
        self._runtime = runtime
        self._governor = governor
        self._metrics = metrics
        self._repos_dir = config.repos_dir
        self._config = config.git
        self._invocation = invocation
        self._repo = repo
        self._push = push
        self._commands = commands
        self._source = source
        self._sink = sink
        self._words = words
        self._suspect = suspect
        self._reported = reported
        self.answered = False
        """Whether any of git's report was sent."""
        self._stopped = False
        self._failure: Exception | None = None
        self._child: Child | None = None
        self._interruptible: Deferred[None] | None = None
        """What waits for somebody else, and is cancelled when the push is stopped."""
        self._quarantine = ""
        self._asked = False
        self._accepted = False
        self._reasons: dict[bytes, str | None] = {}
        """ref -> why it is refused; None: it may be changed"""

    def stop(self, failure: Exception | None = None) -> None:
        """End the push early: at once while it changed nothing, else when git had its time.

        ``failure`` is what :meth:`run` then raises.
        """
        if self._stopped:
            return
        self._stopped = True
        self._failure = failure
        if self._interruptible is not None:
            self._interruptible.cancel()
        if self._child is not None:
            if self._accepted:
                self._runtime.reactor.callLater(COMMIT_SECONDS, self._child.kill)
            else:
                self._child.kill()

    async def run(self) -> None:
        slot = self._governor.slot(self._repo.key, self._push.user_key)
        self._interruptible = Deferred.fromCoroutine(slot.__aenter__())
        await self._interruptible
        self._interruptible = None
        try:
            if not self._stopped:
                await self._run_in_directory()
        finally:
            await slot.__aexit__(None, None, None)
        if self._failure is not None:
            raise self._failure

    async def _run_in_directory(self) -> None:
        try:
            directory = await self._runtime.in_thread(
                PushDirectory.create, self._repos_dir, self._push.id, self._repo.key
            )
        except OSError as error:
            raise _no_room(error) from error
        clean = True
        try:
            if not self._stopped:
                clean = await self._run_git(directory)
        finally:
            if self._child is not None:
                await self._finish()
            tidy = self._runtime.in_thread(self._tidy, directory, clean)
            await tidy

    async def _finish(self) -> None:
        try:
            await self._push.finished()
        except Exception:
            self.log.failure("push {push} is left to be reconciled", push=self._push.id)

    def _tidy(self, directory: PushDirectory, clean: bool) -> None:
        """In a thread. A directory that is left, unlocked, is one for the next reconciliation."""
        if self._quarantine:
            remove_leftovers([self._quarantine])
        if clean or clean_up_after(self._repos_dir, self._push.id, self._repo):
            directory.remove()
        else:
            directory.release()

    async def _run_git(self, directory: PushDirectory) -> bool:
        """Returns whether git ended by itself, having tidied up."""
        try:
            channel = HookChannel(self._runtime)
        except OSError as error:
            raise _no_room(error) from error
        try:
            far_ends = {**channel.far_ends, LOCK_FD: directory.lock_fd}
            child = spawn(self._runtime, self._invocation(directory.hooks), extra_fds=far_ends)
            self._child = child
            channel.close_far_ends()
            answering = channel.serve(lambda question: self._answer(question, directory))
            code = await self._converse(child, Deferred.fromCoroutine(answering))
        finally:
            channel.close()
        self._metrics.pushes.labels(self._outcome(code)).inc()
        if code == 0 and not self._stopped:
            self._reported()
        stderr = child.stderr_tail.decode("utf-8", "replace")
        if code != 0 and not self._stopped:
            self.log.warn(
                "git receive-pack of push {push} ended with {code}: {stderr}",
                push=self._push.id,
                code=code,
                stderr=stderr,
            )
            if not self.answered:
                self._failure = Invalid("git could not read this push; nothing was changed")
        if self._words.edited:
            said, push, repo = self._words.said, self._push.id, self._repo.key
            self.log.warn("git told push {push} to {repo}: {text}", push=push, repo=repo, text=said)
        if not self._stopped and (found := sign(f"{self._words.said}\n{stderr}")):
            self._suspect(self._repo.key, found)
        return code >= 0

    async def _converse(self, child: Child, hooks: Deferred[None]) -> int:
        """Carry everything both ways; returns git's exit status."""
        too_late = self._runtime.reactor.callLater(
            self._config.push_seconds, self.stop, TimedOut("the push took too long and was ended")
        )
        feeding = Deferred.fromCoroutine(self._feed(child))
        feeding.addErrback(_trap_cancellation)
        hooks.addErrback(_trap_cancellation)
        try:
            await self._carry(child)
            code = await child.wait()
            if not self._asked and not self._stopped:
                enough = self._runtime.reactor.callLater(DISCARD_SECONDS, feeding.cancel)
                await feeding
                if enough.active():
                    enough.cancel()
        finally:
            feeding.cancel()
            hooks.cancel()
            if too_late.active():
                too_late.cancel()
            await child.close()
        await hooks
        return code

    async def _feed(self, child: Child) -> None:
        """The request into git; once git reads no more, the rest goes nowhere."""
        reading = True
        try:
            for chunk in self._commands.data:
                reading = reading and await _give(child, chunk)
            self._commands.data.clear()
            while data := await self._source.read():
                reading = reading and await _give(child, data)
        except StreamClosed as gone:
            self.stop(gone)
        finally:
            child.stdin.close()

    async def _carry(self, child: Child) -> None:
        """git's report to the client. When nobody wants it any more, git can still end."""
        while data := await child.stdout.read():
            await self._report(self._words.feed(data))
        await self._report(self._words.end())

    async def _report(self, data: bytes) -> None:
        if not data or self._stopped:
            return
        self.answered = True
        self._interruptible = Deferred.fromCoroutine(self._sink.write(data))
        try:
            await self._interruptible
        except StreamClosed as gone:
            self.stop(gone)
        except CancelledError:
            pass  # by stop
        finally:
            self._interruptible = None

    async def _answer(self, question: Question, directory: PushDirectory) -> Answer:
        if not isinstance(question, PreReceive):
            reason = self._reasons.get(question.ref, "the push rules were not asked about this ref")
            return Answer(True) if reason is None else Answer(False, (reason,))
        self._asked = True
        self._quarantine = question.object_directory
        seconds = self._config.hook_seconds
        try:
            verdict = await within(self._runtime, seconds, self._decide(question))
            return await self._pronounce(verdict, directory)
        except TimeoutError:
            self.log.error("the push rules took longer than {seconds} seconds", seconds=seconds)
            return Answer(False, ("the push rules did not answer in time; try again later",))
        except WitError as error:
            return Answer(False, (error.message,))
        except CancelledError:
            raise
        except Exception:
            self.log.failure("push {push} could not be decided", push=self._push.id)
            return Answer(False, (internal_error(self._push.id),))

    async def _decide(self, question: PreReceive) -> Verdict:
        if len(question.updates) <= UPDATES_ON_REACTOR:
            updates = parse_updates(question.updates)
        else:
            updates = await self._runtime.in_thread(parse_updates, question.updates)
        quarantine = Quarantine(self._repo, question.object_directory, question.alternates)
        verdict = await self._push.decide(quarantine, updates, question.options)
        self._reasons = {update.ref: verdict.refused.get(update.ref) for update in updates}
        return verdict

    async def _pronounce(self, verdict: Verdict, directory: PushDirectory) -> Answer:
        """The verdict for the push as a whole; refs refused alone get their reason one by one."""
        reasons = tuple(dict.fromkeys(r for r in self._reasons.values() if r is not None))
        if reasons and (self._commands.atomic or None not in self._reasons.values()):
            return Answer(False, (*verdict.messages, *reasons))
        if reasons:
            await self._runtime.in_thread(directory.check_each_ref)
        if self._stopped:
            return Answer(False)
        self._accepted = True
        return Answer(True, verdict.messages)

    def _outcome(self, code: int) -> str:
        if self._accepted and code == 0:
            return "accepted"
        if self._stopped:
            return "aborted"
        return "refused" if self._asked and code == 0 else "failed"


async def _give(child: Child, data: bytes) -> bool:
    """Whether git still reads."""
    try:
        await child.stdin.write(data)
    except StreamClosed:
        return False
    return True


def _trap_cancellation(failure: Failure) -> None:
    failure.trap(CancelledError)  # type: ignore[no-untyped-call]


def _no_room(error: OSError) -> Unavailable:
    return Unavailable(f"the server has no room for a push right now ({error.strerror})")
