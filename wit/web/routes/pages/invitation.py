"""The page that the mail of an invitation to a repository leads to.

Who holds the link's secret may see what it is for: the mail says it as well.
"""

from __future__ import annotations

from twisted.web.template import tags

from wit.errors import Invalid, NotFound
from wit.repositories.invitations import Invited
from wit.web.pages import Content, Page
from wit.web.pages.elements import choice, links, note, post, problem
from wit.web.routes.auth.exchange import Redirect
from wit.web.routes.pages.visit import Form, Visit, returning

_MAY = {
    "read": "see and clone it",
    "write": "see it and push to it",
    "admin": "push to it and manage it: its settings, rules and collaborators",
}


def _here(visit: Visit) -> str:
    return f"/invitations/{visit.path['token']}"


def _what(invited: Invited) -> list[Content]:
    who, repository = tags.strong(invited.inviter), tags.strong(invited.repository)
    return [
        tags.p(who, " invites you to work on ", repository, "."),
        tags.p(f"You will be able to {_MAY[invited.permission]}."),
    ]


async def show(visit: Visit, wrong: str) -> Page:
    try:
        invited = await visit.core.invitations.look(visit.path["token"])
    except NotFound as gone:
        return Page("No invitation", [problem(gone.message), links(("/", "Home"))], 404)
    content = [problem(wrong), *_what(invited)]
    session = await visit.session()
    if session is None:
        to_login = (returning("/login", _here(visit)), "Sign in to answer")
        content.append(links(to_login, await visit.account_link(_here(visit))))
    else:
        answers = ("accept", "Accept"), ("decline", "Decline")
        content += [
            tags.p("You are signed in as ", tags.strong(session.user["username"]), "."),
            post(_here(visit), {}, choice("decision", *answers)),
            links((returning("/login", _here(visit)), "Sign in as somebody else")),
        ]
    return Page("Invitation", content)


async def answer(visit: Visit) -> Page | Redirect:
    session = await visit.session()
    if session is None:
        return Redirect(returning("/login", _here(visit)))
    secret = visit.path["token"]
    invited = await visit.core.invitations.look(secret)
    match visit.text("decision"):
        case "accept":
            await visit.core.invitations.accept(secret, session.user_id)
        case "decline":
            await visit.core.invitations.decline(secret)
            sentence = note(f"Nobody is told, and you have no part in {invited.repository}.")
            return Page("Declined", [sentence, links(("/", "Home"))])
        case _:
            raise Invalid("decision must be accept or decline")
    clone = f"git clone {visit.core.config.public_url}/{invited.repository}.git"
    done = note("You work on ", tags.strong(invited.repository), " now.", kind="done")
    return Page("Accepted", [done, tags.pre(tags.code(clone)), links(("/", "Home"))])


INVITATION = Form(show, answer)
