"""What mails say. Plain text, so that a link is seen as what it is."""

from __future__ import annotations

import attrs

FOOTER = "\n\nIf you did not ask for this, you need not do anything.\n"


@attrs.frozen
class Message:
    """One mail to one address."""

    to: str
    subject: str
    text: str = attrs.field(repr=False)


def password_reset(to: str, name: str, link: str) -> Message:
    return Message(
        to,
        "Set a new password",
        f"Hello {name},\n\nset a new password for your account here, within an hour:\n\n{link}"
        + FOOTER,
    )


def verification(to: str, name: str, link: str) -> Message:
    return Message(
        to,
        "Confirm your e-mail address",
        f"Hello {name},\n\nconfirm that this is your address here, within a day:\n\n{link}"
        + FOOTER,
    )


def welcome(to: str, username: str, site: str) -> Message:
    return Message(
        to,
        "Welcome",
        f"Hello {username},\n\nyour account is ready. Sign in at {site} and add an SSH key or an "
        "access token to push your first repository.\n",
    )


def site_invitation(to: str, inviter: str, link: str) -> Message:
    return Message(
        to,
        f"{inviter} invites you",
        f"Hello,\n\n{inviter} invites you to make an account here, within a week:\n\n{link}"
        + FOOTER,
    )
