"""How the hooks of one push ask the daemon, and nobody else can.

The channel is a pair of pipes of which git inherits the far ends (descriptors 3 and 5): a
capability that exactly this push's processes have, without a path or a key, and that breaks by
itself when either side dies. The hook script (hooks/push-hook) refuses the push whenever it
gets no proper answer, so a push fails closed (attack list, line 23).
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping

import attrs
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from wit.git.pipes import PipeSink, PipeSource
from wit.git.pktline import ProtocolError
from wit.git.push import RefUpdate
from wit.git.refname import check_oid
from wit.runtime import Runtime
from wit.streams import StreamClosed

QUESTION_FD = 3
ANSWER_FD = 5
"""What the script calls the far ends."""

MAX_QUESTION = 24 * 1024 * 1024
"""Bytes in one question; a push of 16 MiB of ref updates with its options fits."""

MAX_ANSWER_LINES = 100
MAX_ANSWER_LINE = 1000
"""Characters."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

log = Logger()


@attrs.frozen
class PreReceive:
    """All of a push has arrived and waits in the quarantine."""

    object_directory: str
    """Empty if the push brought no objects."""
    alternates: str
    options: list[str]
    updates: bytes
    """Lines ``old new ref``, as git gave them to the hook."""


@attrs.frozen
class UpdateOne:
    """git is about to change one ref."""

    ref: bytes


Question = PreReceive | UpdateOne


@attrs.frozen
class Answer:
    accept: bool
    messages: tuple[str, ...] = ()
    """For the client, which shows each with ``remote: `` in front."""


class QuestionParser:
    """Bytes in, questions out. Raises ProtocolError for what the script never sends."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._fields: list[bytes] = []

    def feed(self, data: bytes) -> list[Question]:
        self._buffer += data
        if len(self._buffer) + sum(map(len, self._fields)) > MAX_QUESTION:
            raise ProtocolError("the push has too many refs or options")
        questions: list[Question] = []
        while (end := self._buffer.find(b"\0", self._searched)) >= 0:
            self._fields.append(bytes(self._buffer[:end]))
            del self._buffer[: end + 1]
            self._searched = 0
            question = self._complete()
            if question is not None:
                questions.append(question)
                self._fields = []
        self._searched = len(self._buffer)
        return questions

    def _complete(self) -> Question | None:
        kind, *rest = self._fields
        if kind == b"update":
            return UpdateOne(rest[0]) if rest else None
        if kind != b"pre-receive":
            raise ProtocolError("unknown question from a hook")
        if len(rest) < 3:
            return None
        if not re.fullmatch(rb"[0-9]{1,6}", rest[2]):
            raise ProtocolError("bad number of push options")
        if len(rest) < 4 + int(rest[2]):
            return None
        return PreReceive(
            object_directory=os.fsdecode(rest[0]),
            alternates=os.fsdecode(rest[1]),
            options=[option.decode("utf-8", "replace") for option in rest[3:-1]],
            updates=rest[-1],
        )


def parse_updates(lines: bytes) -> list[RefUpdate]:
    """The lines of a pre-receive hook's input (githooks(5)). Raises ProtocolError, Invalid."""
    updates = []
    for line in lines.splitlines():
        old, _, rest = line.partition(b" ")
        new, _, ref = rest.partition(b" ")
        if not ref:
            raise ProtocolError("bad line from a hook")
        updates.append(RefUpdate(ref, check_oid(old.decode()), check_oid(new.decode())))
    return updates


def encode_answer(answer: Answer) -> bytes:
    """The lines that the script reads. Control characters would reach terminals and are dropped."""
    lines = [line for message in answer.messages for line in message.split("\n")]
    if len(lines) > MAX_ANSWER_LINES:
        more = len(lines) - MAX_ANSWER_LINES
        lines = [*lines[:MAX_ANSWER_LINES], f"... and {more} more"]
    shown = [
        "|" + _CONTROL.sub("\N{REPLACEMENT CHARACTER}", line)[:MAX_ANSWER_LINE] for line in lines
    ]
    shown.append("accept" if answer.accept else "refuse")
    return "".join(f"{line}\n" for line in shown).encode("utf-8", "replace")


class HookChannel:
    """The daemon's end of one push's channel."""

    def __init__(self, runtime: Runtime) -> None:
        """Raises OSError if there are no descriptors left."""
        question_read, question_write = os.pipe2(os.O_CLOEXEC)
        try:
            answer_read, answer_write = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(question_read)
            os.close(question_write)
            raise
        os.set_blocking(question_read, False)
        os.set_blocking(answer_write, False)
        self._runtime = runtime
        self._questions = PipeSource(runtime.reactor, question_read)
        self._answers = PipeSink(runtime.reactor, answer_write)
        self._far_ends = {QUESTION_FD: question_write, ANSWER_FD: answer_read}

    @property
    def far_ends(self) -> Mapping[int, int]:
        """What git has to inherit: the number there, the descriptor here."""
        return self._far_ends

    def close_far_ends(self) -> None:
        """Once git has them: then only git's death ends the channel."""
        far_ends, self._far_ends = self._far_ends, {}
        for fd in far_ends.values():
            os.close(fd)

    def close(self) -> None:
        """A hook that still asks is refused."""
        self.close_far_ends()
        self._questions.close()
        self._answers.close()

    async def serve(self, answer: Callable[[Question], Awaitable[Answer]]) -> None:
        """Answer one question after the other until the channel breaks.

        ``answer`` fails for no reason but a mistake in wit: then the channel is closed.
        """
        parser = QuestionParser()
        try:
            while data := await self._questions.read():
                for question in parser.feed(data):
                    await self._answers.write(encode_answer(await answer(question)))
        except StreamClosed:
            pass
        except CancelledError:
            raise
        except Exception:
            log.failure("a hook was not answered")
        finally:
            self.close()
