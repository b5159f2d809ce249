from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import pytest

from tests.mail.server import smtp_server
from tests.support.daemon import free_port
from wit import config
from wit.errors import Unavailable
from wit.mail.messages import Message
from wit.mail.smtp import Undeliverable, compose, deliver

SENDER = "wit <noreply@example.org>"
MESSAGE = Message("ada@example.org", "A subject: ä", "Hello Ada,\n\nhttp://x/y?z=ä\n")
NOON = datetime(2030, 1, 2, 12, 0, tzinfo=UTC)


def test_a_mail_arrives_as_it_was_written() -> None:
    with smtp_server() as server:
        deliver(config.Mail(smtp=server.url, sender=SENDER), compose(MESSAGE, SENDER, NOON))
    (data,) = server.mails
    mail = message_from_bytes(data, policy=default)
    assert (mail["To"], mail["From"], mail["Subject"]) == (MESSAGE.to, SENDER, MESSAGE.subject)
    assert mail["Date"] == "Wed, 02 Jan 2030 12:00:00 +0000"
    assert mail["Message-ID"].endswith("@example.org>")
    assert mail.get_content().replace("\r\n", "\n") == MESSAGE.text  # type: ignore[attr-defined]
    assert "rcpt TO:<ada@example.org>" in server.commands


def test_no_header_is_smuggled_in() -> None:
    for to, subject in [
        ("ada@example.org\nBcc: x@example.org", "s"),
        ("ada@example.org", "s\r\nBcc: x@example.org"),
    ]:
        with pytest.raises(ValueError, match=r"linefeed|newline|header"):
            compose(Message(to, subject, "t"), SENDER, NOON)


def test_what_may_work_later_and_what_never_will() -> None:
    mail = compose(MESSAGE, SENDER, NOON)
    with smtp_server("550 no such user") as server, pytest.raises(Undeliverable, match="550"):
        deliver(config.Mail(smtp=server.url), mail)
    with smtp_server("451 later") as server, pytest.raises(Unavailable):
        deliver(config.Mail(smtp=server.url), mail)
    with pytest.raises(Unavailable):
        deliver(config.Mail(smtp=f"smtp://127.0.0.1:{free_port()}"), mail)


def test_a_password_goes_over_tls_or_not_at_all() -> None:
    mail = compose(MESSAGE, SENDER, NOON)
    with smtp_server() as server:
        url = server.url.replace("://", "://user:secret@")
        with pytest.raises(Unavailable, match="STARTTLS"):
            deliver(config.Mail(smtp=url), mail)
    assert server.mails == []
    assert not any("secret" in command or "AUTH" in command for command in server.commands)
