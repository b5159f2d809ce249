"""``/login/npm/<secret>``: may the package manager that asks sign in as the person here?"""

from __future__ import annotations

from twisted.web.template import tags

from wit.web.pages import Page
from wit.web.pages.elements import choice, note, post, problem, sentence
from wit.web.routes.auth.exchange import Redirect
from wit.web.routes.oauth.tickets import FIELD, Tickets
from wit.web.routes.pages.visit import Form, Visit, returning

PATH = "/login/npm"

_PURPOSE = "npm login"


async def show_question(visit: Visit, wrong: str) -> Page | Redirect:
    shown = visit.path["secret"]
    here = f"{PATH}/{shown}"
    session = await visit.session()
    if session is None:
        return Redirect(returning("/login", here))
    asking = await visit.core.package_logins.find(shown)
    ticket = _tickets(visit).issue(session.id, _PURPOSE, shown)
    only_if = (
        "Go on only if you have started this yourself just now, on a machine of yours: with this "
        "token, packages are published in your name."
    )
    content = [
        problem(wrong),
        tags.p(
            "A package manager wants to sign in to the npm registry as ",
            tags.strong(session.user["username"]),
            ".",
        ),
        tags.ul(
            tags.li("It asks from ", tags.code(asking.address), "."),
            tags.li("It calls itself ", tags.code(asking.program or "nothing"), "."),
            tags.li("It gets a token for packages, and reads your profile."),
        ),
        note(only_if, kind="warning"),
        post(here, {FIELD: ticket}, choice("decision", ("approve", "Sign in"), ("deny", "Cancel"))),
    ]
    return Page("Sign in to the registry", content)


async def decide(visit: Visit) -> Page | Redirect:
    shown = visit.path["secret"]
    session = await visit.session()
    if session is None:
        return Redirect(returning("/login", f"{PATH}/{shown}"))
    _tickets(visit).check(visit.text(FIELD), session.id, _PURPOSE, shown)
    approved = visit.text("decision") == "approve"
    await visit.core.package_logins.decide(shown, session.user["id"], approved=approved)
    said = "your terminal goes on by itself" if approved else "the package manager got nothing"
    title = "Signed in" if approved else "Refused"
    return Page(title, [tags.p(sentence(said), " You can close this page.")])


def _tickets(visit: Visit) -> Tickets:
    return Tickets(visit.core.signer, visit.core.runtime)


NPM_LOGIN = Form(show_question, decide)
