"""``/``: where people land who wanted nowhere in particular."""

from __future__ import annotations

from twisted.web.template import tags

from wit.web.pages import Page
from wit.web.pages.elements import links, problem
from wit.web.routes.pages.visit import Form, Visit

_API = ("/api/docs", "The API")

_BAD_LINK = "The link of the mail is wrong or too old; ask for another."
"""The link that verifies an address leads here, with ``error`` in the address."""


async def show(visit: Visit, wrong: str) -> Page:
    bad_link = problem(_BAD_LINK if "error" in visit.fields else "")
    session = await visit.session()
    if session is None:
        what = tags.p("A git host: repositories over HTTP and SSH.")
        account = await visit.account_link("/")
        return Page("Welcome", [bad_link, what, links(("/login", "Sign in"), account, _API)])
    name = session.user["username"]
    address = f"{visit.core.config.public_url}/{name}/REPOSITORY.git"
    return Page(
        f"Welcome, {name}",
        [
            bad_link,
            tags.p("Your repositories are at"),
            tags.pre(tags.code(address)),
            links(_API, ("/logout", "Sign out")),
        ],
    )


HOME = Form(show)
