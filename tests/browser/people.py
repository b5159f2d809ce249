"""People who sit before the browser, and their mail."""

from __future__ import annotations

import itertools
import re

from playwright.sync_api import Page, expect
from pyotp import TOTP

from tests.support.daemon import PASSWORD, wait_until
from tests.support.site import Site
from wit.core import Core

_numbers = itertools.count(1)


def new_user(site: Site) -> str:
    """The name of somebody who has the password that all have."""
    name = f"visitor{next(_numbers)}"
    site.do(lambda core: core.users.create(name, f"{name}@example.org", PASSWORD))
    return name


def with_second_factor(site: Site, name: str) -> tuple[TOTP, list[str]]:
    """Turn two-factor sign-in on; the user's app, and the recovery codes."""

    async def work(core: Core) -> tuple[str, list[str]]:
        user = await core.users.by_username(name)
        enrolment = await core.identity.two_factor.prepare(user)
        await core.identity.two_factor.enable(user["id"])
        return enrolment.uri, enrolment.recovery_codes

    uri, codes = site.do(work)
    seed = re.search(r"secret=([A-Z2-7]+)", uri)
    assert seed is not None
    return TOTP(seed[1]), codes


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    """Fill in the form of ``/login``, where ``page`` is, and send it."""
    page.get_by_label("User name or e-mail address").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def keys(page: Page, *words: str) -> None:
    """Type; the words Tab, Space and Enter are keys."""
    for word in words:
        if word in ("Tab", "Space", "Enter"):
            page.keyboard.press(word)
        else:
            page.keyboard.type(word)


def is_signed_in(page: Page, name: str) -> None:
    """``/`` greets them."""
    page.goto("/")
    expect(page.get_by_role("heading")).to_have_text(f"Welcome, {name}")


def mailed_link(site: Site, email: str) -> str:
    """The link in the first mail to ``email``: a daemon on localhost shows mails on its terminal."""

    def found() -> str:
        _, _, after = site.daemon.log().partition(f"Mail to {email}:")
        link = re.search(r"^(http\S+)\n", after, re.MULTILINE)
        return link[1] if link else ""

    link: str = wait_until(found, what=f"a mail to {email}")
    return link
