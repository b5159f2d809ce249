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


def email_change(to: str, name: str, new: str, link: str) -> Message:
    return Message(
        to,
        "Confirm your new e-mail address",
        f"Hello {name},\n\nyour account is to have the address {new} instead of this one. If that "
        f"is your wish, confirm it here, within a day:\n\n{link}" + FOOTER,
    )


def email_changed(to: str, name: str, new: str) -> Message:
    return Message(
        to,
        "Your e-mail address has changed",
        f"Hello {name},\n\nyour account now has the address {new}, and this one no more. If you "
        "did not do this, tell the administrator of the site at once.\n",
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
