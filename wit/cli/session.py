"""What a command is given: the configuration, the three streams, and a Core if it wants one."""

from __future__ import annotations

import getpass
import json
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

import attrs
from twisted.internet.defer import CancelledError

from wit.config import Config
from wit.config_sources import Loaded
from wit.errors import Forbidden, Invalid, WitError
from wit.log import clean
from wit.runtime import Runtime

if TYPE_CHECKING:
    from wit.core import Core

REFUSED = 1
INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""

MAX_SECRET = 4096
"""Characters of a password on standard input."""


@attrs.define
class Session:
    """One run of the command."""

    loaded: Loaded
    runtime: Runtime
    stdin: TextIO
    out: TextIO
    err: TextIO
    _step: str = ""

    @property
    def config(self) -> Config:
        return self.loaded.config

    @asynccontextmanager
    async def core(self) -> AsyncIterator[Core]:
        """Everything that wit consists of, with the database open and up to date.

        Raises ConfigError, DatabaseUnavailable; Forbidden for root in somebody else's folder.
        """
        check_owner_of(self.config)
        from wit.core import Core

        core = Core(self.config, self.runtime)
        await core.open()
        try:
            yield core
        finally:
            await core.close()

    # Answers

    def say(self, text: str) -> None:
        """One line of the answer, as it is."""
        self.out.write(f"{text}\n")

    def note(self, text: str) -> None:
        """One line for people, out of the way of scripts."""
        self._end_step()
        self.err.write(f"{clean(text)}\n")

    def table(
        self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool
    ) -> None:
        """The named columns of each row: aligned for people, or as a JSON array."""
        if as_json:
            picked = [{name: _json_value(row[name]) for name in columns} for row in rows]
            self.say(json.dumps(picked, indent=1, ensure_ascii=False))
            return
        lines = [[name.replace("_", " ").upper() for name in columns]]
        lines += ([_cell(row[name]) for name in columns] for row in rows)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.say("  ".join(cells).rstrip())

    # Progress

    def progress(self, text: str) -> None:
        """What is being done now: one line that changes on a terminal, else a line per step.

        May be called from a thread.
        """
        text = clean(text)
        if self.err.isatty():
            self.err.write(f"\r\x1b[K{text[: _width(self.err) - 1]}")
            self._step = text
        elif (step := text.partition(":")[0]) != self._step:
            self._step = step
            self.err.write(f"{text}\n")
        self.err.flush()

    def _end_step(self) -> None:
        if self._step and self.err.isatty():
            self.err.write("\r\x1b[K")
        self._step = ""

    # Questions

    def secret(self, what: str, *, from_stdin: bool) -> str | None:
        """A password: the first line of standard input, or asked for twice on a terminal.

        None if nobody is there to be asked, or gave none. Raises Invalid.
        """
        if from_stdin:
            text = self.stdin.readline(MAX_SECRET + 2).removesuffix("\n").removesuffix("\r")
            if not text:
                raise Invalid(f"the {what} is expected on the first line of standard input")
            return text
        if not self.stdin.isatty():
            return None
        text = getpass.getpass(f"{what} (empty: none): ")
        if text and getpass.getpass("again: ") != text:
            raise Invalid("these were two different ones; nothing was changed")
        return text or None

    def confirm(self, what: str, *, yes: bool) -> None:
        """Raises Forbidden unless somebody says yes."""
        if yes:
            return
        if not self.stdin.isatty():
            raise Forbidden(f"{what} cannot be undone: add --yes")
        self.err.write(f"{clean(what)} cannot be undone. Type yes to go on: ")
        self.err.flush()
        if self.stdin.readline().strip() != "yes":
            raise Forbidden("nothing was changed")

    def complain(self, message: str) -> None:
        self._end_step()
        for line in message.splitlines() or ["refused"]:
            self.err.write(f"wit: {clean(line)}\n")
        self.err.flush()


Handler = Callable[[Session, Namespace], Awaitable[int | None]]


async def execute(session: Session, handler: Handler, arguments: Namespace) -> int:
    """Run a command; its exit status. Whatever goes wrong becomes a sentence."""
    try:
        status = await handler(session, arguments)
        session._end_step()
        session.out.flush()
        return status or 0
    except WitError as error:
        session.complain(error.message)
        return REFUSED
    except CancelledError:
        session.complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our answer has seen enough; Python must not complain about it at exit.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED
    except Exception as error:
        if arguments.debug:
            traceback.print_exc(file=session.err)
        session.complain(f"internal error: {type(error).__name__}: {error} (--debug shows more)")
        return REFUSED


def check_owner_of(config: Config) -> None:
    """Files that root makes are of no use to a daemon that runs as somebody else."""
    with suppress(FileNotFoundError):
        owner = config.data_dir.stat().st_uid
        if os.geteuid() == 0 and owner != 0:
            raise Forbidden(
                f"{config.data_dir} belongs to user {_user_name(owner)}: run this as that user "
                f"(sudo -u {_user_name(owner)} wit ...)"
            )


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, list | tuple):
        return clean(",".join(map(str, value))) or "-"
    return clean(str(value))


def _json_value(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 80
