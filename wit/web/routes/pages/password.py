"""A forgotten password: asking for a mail, and the page that its link leads to."""

from __future__ import annotations

from twisted.web.template import tags

from wit.web.pages import Page
from wit.web.pages.elements import field, links, note, post, problem, submit
from wit.web.routes.auth import mail
from wit.web.routes.pages.register import NEW_PASSWORD
from wit.web.routes.pages.visit import Form, Visit

_TO_LOGIN = ("/login", "Sign in")


async def show_forgotten(visit: Visit, wrong: str) -> Page:
    title = "Forgotten password"
    if not visit.core.identity.outbox.delivers:
        sentence = "This server sends no mail. Ask its administrator for a new password."
        return Page(title, [tags.p(sentence), links(_TO_LOGIN)])
    ask = field(
        "E-mail address of your account",
        "email",
        type="email",
        autocomplete="email",
        maxlength="254",
        value=visit.text("email"),
        autofocus="",
    )
    explained = tags.p("You get a mail with a link, with which you choose a new password.")
    form = post("/forgot-password", {}, ask, submit("Send the mail"))
    return Page(title, [explained, problem(wrong), form, links(_TO_LOGIN)])


async def ask_for_mail(visit: Visit) -> Page:
    await visit.call(mail.request_password_reset, email=visit.text("email").strip())
    sentence = (
        "If an account has this address, a mail is on its way to it. Its link is good for an hour."
    )
    return Page("Look into your mail", [tags.p(sentence), links(_TO_LOGIN)])


async def show_reset(visit: Visit, wrong: str) -> Page:
    token = visit.text("token")
    if not token or not await visit.core.identity.password_reset.good(token):
        sentence = "It is wrong, too old, or was used before."
        again = links(("/forgot-password", "Ask for another"), _TO_LOGIN)
        return Page("This link is not good any more", [problem(sentence), again], 400)
    ask = field("New password", "password", autofocus="", **NEW_PASSWORD)
    return Page(
        "Choose a new password",
        [
            problem(wrong),
            post("/reset-password", {"token": token}, ask, submit("Set the password")),
            tags.p("You will be signed out everywhere.", class_="hint"),
        ],
    )


async def reset(visit: Visit) -> Page:
    await visit.call(
        mail.reset_password, token=visit.text("token"), newPassword=visit.text("password")
    )
    sentence = note("From now on you sign in with your new password.", kind="done")
    return Page("Your password is changed", [sentence, links(_TO_LOGIN)])


FORGOTTEN = Form(show_forgotten, ask_for_mail)
RESET = Form(show_reset, reset)
