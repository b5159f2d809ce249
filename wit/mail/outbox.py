"""The outbox: mails wait in the job queue, and what they say is made when they go out.

So no link with a secret ever lies in the database: a job only names the kind of mail and for whom.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from twisted.logger import Logger

from wit.config import Config
from wit.db.port import Connection
from wit.jobs.queue import JobQueue
from wit.mail import smtp
from wit.mail.messages import Message
from wit.runtime import Runtime

JOB = "mail"
AT_ONCE = 2
LOCAL = ("localhost", "127.0.0.1", "::1")

Composer = Callable[[Any], Awaitable[Message | None]]
"""From a job's payload to the mail; None if there is nothing to send any more."""


def show(text: str) -> None:
    """To the terminal of whoever develops: the log would take the links' secrets out."""
    print(text, file=sys.__stderr__, flush=True)


class Outbox:
    """``post`` queues a mail; the daemon that works the queue composes and sends it."""

    log = Logger()

    def __init__(
        self,
        config: Config,
        jobs: JobQueue,
        runtime: Runtime,
        console: Callable[[str], None] = show,
    ) -> None:
        self._settings = config.mail
        self._jobs = jobs
        self._runtime = runtime
        self.console = console
        self._composers: dict[str, Composer] = {}
        self._local = urlsplit(config.public_url).hostname in LOCAL
        jobs.register(JOB, self._work, AT_ONCE)

    @property
    def reaches_people(self) -> bool:
        """Whether mails really go out."""
        return bool(self._settings.smtp)

    @property
    def delivers(self) -> bool:
        """Whether somebody gets to see mails, if only on the terminal of who develops."""
        return self.reaches_people or self._local

    def register(self, kind: str, composer: Composer) -> None:
        """Have ``composer(payload)`` write the mails of ``kind``."""
        self._composers[kind] = composer

    async def post(self, kind: str, payload: dict[str, Any], tx: Connection | None = None) -> None:
        """Queue a mail; ``payload`` is JSON data without secrets."""
        await self._jobs.enqueue(JOB, {"kind": kind, **payload}, tx=tx)

    async def _work(self, payload: Any) -> None:
        message = await self._composers[payload["kind"]](payload)
        if message is None:
            return
        if self._settings.smtp:
            mail = smtp.compose(message, self._settings.sender, self._runtime.now())
            try:
                await self._runtime.in_thread(smtp.deliver, self._settings, mail)
            except smtp.Undeliverable as error:
                self.log.warn("a mail was given up: {reason}", reason=str(error))
        elif self._local:
            self.console(f"mail.smtp is not set. Mail to {message.to}:\n{message.text}")
        else:
            self.log.warn(
                "mail.smtp is not set: a mail of the kind {kind} was not sent", kind=payload["kind"]
            )
