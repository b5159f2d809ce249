"""Making an account: with the link of an invitation, or where everybody may."""

from __future__ import annotations

from twisted.web.template import tags

from wit.accounts.passwords import MAX_LENGTH, MIN_LENGTH
from wit.accounts.sign_up import SignUpClosed
from wit.web.pages import Page
from wit.web.pages.elements import field, links, post, problem, submit
from wit.web.routes.auth import sign
from wit.web.routes.auth.exchange import Redirect
from wit.web.routes.pages.visit import Form, Visit, returning

NEW_PASSWORD = {
    "type": "password",
    "autocomplete": "new-password",
    "minlength": f"{MIN_LENGTH}",
    "maxlength": f"{MAX_LENGTH}",
    "hint": f"At least {MIN_LENGTH} characters; a few words are better than one.",
}
"""Attributes of the field for it."""


async def show(visit: Visit, wrong: str) -> Page:
    to_login = (returning("/login", visit.return_to), "You have an account? Sign in")
    try:
        invited = await visit.core.identity.sign_up.offered_to(visit.text("invitation"))
    except SignUpClosed as closed:
        return Page("No new account", [problem(closed.message), links(to_login)], 403)
    username = field(
        "User name",
        "username",
        hint="Your repositories' addresses begin with it. 3 to 39 letters, digits, “_” and “.”",
        value=visit.text("username"),
        autocomplete="username",
        autocapitalize="none",
        spellcheck="false",
        minlength="3",
        maxlength="39",
        autofocus="",
    )
    email = field(
        "E-mail address",
        "email",
        type="email",
        autocomplete="email",
        maxlength="254",
        value=invited or visit.text("email"),
        **({"readonly": "", "hint": "Your invitation is for this address."} if invited else {}),
    )
    hidden = {"returnTo": visit.return_to, "invitation": visit.text("invitation")}
    form = post(
        "/register",
        hidden,
        username,
        email,
        field("Password", "password", **NEW_PASSWORD),
        submit("Make the account"),
    )
    welcome = [tags.p("Welcome! Choose a name and a password.")] if invited else []
    content = [*welcome, problem(wrong), form, links(to_login)]
    return Page("Make an account", content, leads_away=True)


async def register(visit: Visit) -> Redirect:
    invitation = visit.text("invitation")
    invited = await visit.core.identity.sign_up.offered_to(invitation)
    username = visit.text("username").strip()
    await visit.call(
        sign.sign_up,
        name=username,
        username=username,
        email=invited or visit.text("email").strip(),
        password=visit.text("password"),
        invitation=invitation,
    )
    return Redirect(visit.return_to)


REGISTER = Form(show, register)
