from __future__ import annotations

from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.mail.server import smtp_server
from wit.config import Config, Mail, Server
from wit.db.port import Database
from wit.db.tables import jobs
from wit.jobs.queue import JobQueue
from wit.latch import Latch
from wit.mail.messages import Message
from wit.mail.outbox import Outbox
from wit.metrics import Metrics
from wit.runtime import Runtime


async def letter(payload: Any) -> Message | None:
    return None if payload["to"] == "nobody" else Message(payload["to"], "s", "a secret link")


def outbox(queue: JobQueue, runtime: Runtime, smtp: str = "", url: str = "http://localhost:3000"):
    shown: list[str] = []
    config = Config(Path("/nonexistent"), server=Server(public_url=url), mail=Mail(smtp=smtp))
    made = Outbox(config, queue, runtime, shown.append)
    made.register("letter", letter)
    return made, shown


def test_a_mail_waits_in_the_queue_without_its_words(database: Database, runtime, run) -> None:
    queue = JobQueue(database, runtime, Metrics())
    with smtp_server() as server:
        made, shown = outbox(queue, runtime, server.url)
        assert made.reaches_people
        run(made.post("letter", {"to": "ada@example.org"}))
        (row,) = run(database.fetch_all(select(jobs)))
        assert row["payload"] == {"kind": "letter", "to": "ada@example.org"}
        run(made._work(row["payload"]))
        run(made._work({"kind": "letter", "to": "nobody"}))
    (mail,) = [message_from_bytes(data, policy=default) for data in server.mails]
    assert mail["To"] == "ada@example.org"
    assert shown == []


def test_the_queue_sends_it(database: Database, runtime, run) -> None:
    queue = JobQueue(database, runtime, Metrics())
    sent = Latch()
    made, shown = outbox(queue, runtime)

    def show(text: str) -> None:
        shown.append(text)
        sent.open()

    made.console = show

    async def work() -> None:
        await queue.start()
        try:
            await made.post("letter", {"to": "ada@example.org"})
            await sent.wait()
        finally:
            await queue.stop()

    run(work())
    assert "a secret link" in shown[0] and "ada@example.org" in shown[0]


@pytest.mark.attack(57)
def test_where_others_read_the_log_no_link_is_shown(database: Database, runtime, run) -> None:
    queue = JobQueue(database, runtime, Metrics())
    made, shown = outbox(queue, runtime, url="https://git.example.org")
    run(made._work({"kind": "letter", "to": "ada@example.org"}))
    assert shown == [] and not made.reaches_people


def test_a_refused_mail_is_given_up(database: Database, runtime, run) -> None:
    queue = JobQueue(database, runtime, Metrics())
    with smtp_server("550 no such user") as server:
        made, _ = outbox(queue, runtime, server.url)
        run(made._work({"kind": "letter", "to": "ada@example.org"}))
    assert server.mails == []
