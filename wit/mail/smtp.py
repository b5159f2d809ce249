"""Handing one mail to an SMTP server (RFC 5321, 3207). Blocks: for a thread."""

from __future__ import annotations

import smtplib
import ssl
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, make_msgid, parseaddr
from urllib.parse import unquote, urlsplit

from wit import config
from wit.errors import Unavailable
from wit.mail.messages import Message

TIMEOUT_SECONDS = 30.0


class Undeliverable(Exception):
    """The server will never take this mail; trying again is of no use."""


def compose(message: Message, sender: str, now: datetime) -> EmailMessage:
    """With the headers of RFC 5322. Raises ValueError for a header with a line break."""
    mail = EmailMessage(policy=SMTP_POLICY)
    mail["From"] = sender
    mail["To"] = message.to
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = make_msgid(domain=parseaddr(sender)[1].rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers by machines
    mail.set_content(message.text)
    return mail


def deliver(settings: config.Mail, mail: EmailMessage) -> None:
    """Raises Unavailable if it may work later, Undeliverable if it never will."""
    parts = urlsplit(settings.smtp)
    context = ssl.create_default_context()
    host = parts.hostname or ""
    try:
        if parts.scheme == "smtps":
            client: smtplib.SMTP = smtplib.SMTP_SSL(
                host, parts.port or 465, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            client = smtplib.SMTP(host, parts.port or 587, timeout=TIMEOUT_SECONDS)
        with client:
            client.ehlo()
            if parts.scheme == "smtp" and client.has_extn("starttls"):
                client.starttls(context=context)
                client.ehlo()
            elif parts.scheme == "smtp" and parts.username:
                raise Unavailable("the mail server offers no STARTTLS: the password was not sent")
            if parts.username:
                client.login(unquote(parts.username), unquote(parts.password or ""))
            client.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        if all(code >= 500 for code in codes):
            raise Undeliverable(f"the mail server refused the recipient: {codes[0]}") from None
        raise Unavailable("the mail server does not take mail for the recipient now") from None
    except (smtplib.SMTPException, OSError) as error:
        raise Unavailable(f"the mail server failed: {type(error).__name__}") from error
