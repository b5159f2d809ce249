"""The ``wit`` command: reads its arguments, runs one command on a reactor, answers with a status.

Answers go to standard output; hints, progress and refusals to standard error.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from wit import __version__
from wit.cli.grammar import make_parser
from wit.config_sources import read
from wit.errors import ConfigError
from wit.redaction import redact


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point; ends the process by SystemExit once the reactor has run."""
    arguments = make_parser(__version__).parse_args(argv)
    try:
        loaded = read(arguments.data_dir, {}, os.environ, write_default=arguments.writes)
    except ConfigError as error:
        complain(error.message)
        return 1

    from twisted.internet.task import react

    from wit.cli.session import Session
    from wit.runtime import Runtime

    async def command(reactor: Any) -> None:
        session = Session(loaded, Runtime(reactor), sys.stdin, sys.stdout, sys.stderr)
        raise SystemExit(await run_until_signal(reactor, session, arguments))

    react(command)


def complain(message: str) -> None:
    for line in message.splitlines():
        print(f"wit: {redact(line)}", file=sys.stderr)


async def run_until_signal(reactor: Any, session: Any, arguments: Namespace) -> int:
    """The command's status. A signal cancels it and waits until it has cleaned up."""
    from twisted.internet.defer import Deferred

    from wit.cli.session import execute

    _set_up_log(session.err, debug=arguments.debug)
    work: Deferred[int] = Deferred.fromCoroutine(execute(session, handler(arguments), arguments))
    ended: Deferred[None] = Deferred()

    def interrupt() -> Deferred[None] | None:
        if work.called:
            return None
        work.cancel()
        return ended

    reactor.addSystemEventTrigger("before", "shutdown", interrupt)
    try:
        return await work
    finally:
        ended.callback(None)


def handler(arguments: Namespace) -> Any:
    module, _, function = arguments.run.partition(":")
    return getattr(import_module(f"wit.cli.{module}"), function)


def _set_up_log(stream: Any, *, debug: bool) -> None:
    """The log is for the daemon; here it is shown on demand only."""
    from twisted.logger import globalLogBeginner

    from wit.log import LineObserver

    observers: list[Any] = [LineObserver(stream, "debug")] if debug else [lambda event: None]
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)


if __name__ == "__main__":
    sys.exit(main())
