"""The pages of the OAuth door.

Nothing of an app's is a link or an image in them.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted.web.template import tags

from wit.db.port import Row
from wit.oauth.scopes import Scopes
from wit.web.pages import Content, Page
from wit.web.pages.elements import choice, field, note, post, problem, sentence, submit
from wit.web.routes.oauth.tickets import FIELD


def message(title: str, text: str, status: int = 200) -> Page:
    return Page(title, [tags.p(sentence(text))], status)


def consent(
    *,
    action: str,
    app: Row,
    username: str,
    scopes: Scopes,
    ticket: str,
    hidden: Mapping[str, str],
    leads_to: str = "",
    user_code: str = "",
) -> Page:
    """The question whether ``app`` may have ``scopes``. ``leads_to`` is where the browser goes
    then; ``user_code`` what a device shows."""
    content: list[Content] = [
        tags.p(tags.strong(app["name"]), " wants to use wit as ", tags.strong(username), ".")
    ]
    if app["description"]:
        content.append(tags.p(f"It says of itself: “{app['description']}”"))
    if app["website_url"]:
        content.append(tags.p("Website: ", tags.code(app["website_url"])))
    if not app["is_verified"]:
        unverified = (
            "This app is unverified: nobody here has checked who runs it. "
            "Anybody can give an app this name."
        )
        content.append(note(unverified, kind="warning"))
    content.append(tags.p("It will be able to:"))
    content.append(
        tags.ul(
            [tags.li(f"{meaning} ", tags.code(name)) for name, meaning in scopes.descriptions()]
        )
    )
    if user_code:
        only_if = (
            "Go on only if your device shows ",
            tags.code(user_code),
            " and you have started this there yourself.",
        )
        content.append(note(*only_if, kind="warning"))
    if leads_to:
        content.append(tags.p("You will be sent to ", tags.code(leads_to), "."))
    answers = choice("decision", ("approve", "Authorize"), ("deny", "Cancel"))
    content.append(post(action, {**hidden, FIELD: ticket}, answers))
    return Page(f"Authorize {app['name']}", content, leads_away=True)


def enter_code(action: str, wrong: str = "", status: int = 200) -> Page:
    """The form for the code that a device shows."""
    code = field(
        "Code that your device shows",
        "user_code",
        autocomplete="off",
        autocapitalize="characters",
        spellcheck="false",
        maxlength="20",
        placeholder="XXXX-XXXX",
        autofocus="",
    )
    form = tags.form(code, submit("Continue"), method="get", action=action)
    return Page("Connect a device", [problem(wrong), form], status)
