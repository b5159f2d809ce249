"""Signing in, with one factor or two, or with GitHub; and out."""

from __future__ import annotations

import re

from twisted.web.template import tags

from wit.accounts.github import PROVIDER
from wit.web.cookies import TWO_FACTOR
from wit.web.pages import Page
from wit.web.pages.elements import checkbox, field, links, post, problem, submit
from wit.web.routes.auth import sign, social, two_factor
from wit.web.routes.auth.errors import INVALID_TWO_FACTOR_COOKIE, AuthError
from wit.web.routes.auth.exchange import Redirect
from wit.web.routes.pages.visit import Form, Visit, returning

_APP_CODE = re.compile(r"[0-9]{6}")

_FAILED = {
    "expired": "That took too long, or was tried too often. Sign in with your password again.",
    "access_denied": "GitHub says that you have refused.",
    "signup_disabled": "You have no account here, and need an invitation to make one.",
}
"""Why somebody has been sent back to this page: ``error`` in the address."""


async def show_login(visit: Visit, wrong: str) -> Page:
    code = visit.text("error")
    if code and not wrong:
        wrong = _FAILED.get(code, "Signing in with GitHub did not work. Try again.")
    return_to = {"returnTo": visit.return_to}
    focus = {"autofocus": ""}
    again = bool(visit.text("login"))
    ask = field(
        "User name or e-mail address",
        "login",
        value=visit.text("login"),
        autocomplete="username",
        autocapitalize="none",
        spellcheck="false",
        maxlength="254",
        **({} if again else focus),
    )
    password = field(
        "Password",
        "password",
        type="password",
        autocomplete="current-password",
        maxlength="128",
        **(focus if again else {}),
    )
    remember = checkbox(
        "Stay signed in", "remember", checked=not again or "remember" in visit.fields
    )
    content = [
        problem(wrong),
        post("/login", return_to, ask, password, remember, submit("Sign in")),
    ]
    if visit.core.identity.social.github.configured:
        button = tags.button("Sign in with GitHub", class_="wide")
        content.append(post("/login/github", return_to, button))
    forgotten = ("/forgot-password", "Forgot your password?")
    content.append(links(forgotten, await visit.account_link(visit.return_to)))
    return Page("Sign in", content, leads_away=True)


async def login(visit: Visit) -> Redirect:
    name = visit.text("login").strip()
    by_email = "@" in name
    answer = await visit.call(
        sign.sign_in_email if by_email else sign.sign_in_username,
        **{"email" if by_email else "username": name},
        password=visit.text("password"),
        rememberMe="remember" in visit.fields,
    )
    if "twoFactorRedirect" in answer:
        return Redirect(returning("/login/code", visit.return_to))
    return Redirect(visit.return_to)


async def show_code(visit: Visit, wrong: str) -> Page | Redirect:
    if visit.exchange.cookies.signed(visit.exchange.request, TWO_FACTOR) is None:
        return Redirect(returning("/login", visit.return_to))
    ask = field(
        "Code",
        "code",
        hint="The six digits in your authenticator app, or one of your recovery codes.",
        autocomplete="one-time-code",
        autocapitalize="none",
        spellcheck="false",
        maxlength="32",
        autofocus="",
    )
    trust = checkbox(
        "Do not ask again in this browser",
        "trust",
        checked="trust" in visit.fields,
    )
    content = [
        problem(wrong),
        post("/login/code", {"returnTo": visit.return_to}, ask, trust, submit("Verify")),
        links((returning("/login", visit.return_to), "Sign in as somebody else")),
    ]
    return Page("Your second factor", content, leads_away=True)


async def verify_code(visit: Visit) -> Redirect:
    code = re.sub(r"\s", "", visit.text("code"))
    by_app = _APP_CODE.fullmatch(code)
    try:
        await visit.call(
            two_factor.verify_totp if by_app else two_factor.verify_backup_code,
            code=code,
            trustDevice="trust" in visit.fields,
        )
    except AuthError as error:
        if error.code != INVALID_TWO_FACTOR_COOKIE().code:
            raise
        return Redirect(returning("/login", visit.return_to, error="expired"))
    return Redirect(visit.return_to)


async def to_login(visit: Visit, wrong: str) -> Redirect:
    return Redirect(returning("/login", visit.return_to))


async def to_github(visit: Visit) -> Redirect:
    answer = await visit.call(
        social.sign_in_social,
        provider=PROVIDER,
        callbackURL=visit.return_to,
        errorCallbackURL=returning("/login", visit.return_to),
        disableRedirect=True,
    )
    return Redirect(answer["url"])


async def show_logout(visit: Visit, wrong: str) -> Page:
    session = await visit.session()
    if session is None:
        return Page("You are signed out", [links(("/login", "Sign in"))])
    who = tags.strong(session.user["username"])
    return Page(
        "Sign out",
        [
            problem(wrong),
            tags.p("You are signed in as ", who, "."),
            post("/logout", {}, submit("Sign out")),
        ],
    )


async def logout(visit: Visit) -> Redirect:
    await visit.call(sign.sign_out)
    return Redirect("/logout")


LOGIN = Form(show_login, login)
CODE = Form(show_code, verify_code)
GITHUB = Form(to_login, to_github)
LOGOUT = Form(show_logout, logout)
