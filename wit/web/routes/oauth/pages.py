"""The pages of the OAuth door: plain HTML without scripts or anything from elsewhere.

All text in them is escaped here; nothing of an app's is a link or an image.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape

from wit.db.port import Row
from wit.oauth.scopes import Scopes
from wit.web.routes.oauth.messages import HTML
from wit.web.routes.oauth.tickets import FIELD
from wit.web.streaming import Request

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --accent: #2b6cb0; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; min-height: 100vh; display: grid;
  place-items: center; }
main { width: min(28rem, 90vw); padding: 2rem 0; }
h1 { font-size: 1.4rem; font-weight: 600; overflow-wrap: anywhere; }
p, li { overflow-wrap: anywhere; }
code { font-family: ui-monospace, monospace; }
.note { border-left: .25rem solid #c05621; padding-left: .75rem; }
input { display: block; box-sizing: border-box; width: 100%; margin: .25rem 0 1rem;
  padding: .5rem .6rem; font: inherit; border: 1px solid var(--line); border-radius: .4rem; }
button { padding: .6rem 1.2rem; margin-right: .5rem; font: inherit; border: 1px solid var(--line);
  border-radius: .4rem; cursor: pointer; }
button.yes { color: #fff; background: var(--accent); }
"""
_STYLE_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"
).encode()
"""Without form-action: browsers apply it to the redirect that follows the form, too, and that one
goes to the app, and perhaps from there to any other place."""


def show(request: Request, title: str, body: str, status: int = 200) -> None:
    """``body`` is HTML. The page says from where its form comes, which the site checks: so it
    has another referrer policy than everything else here."""
    request.setHeader(b"Content-Security-Policy", _POLICY)
    request.setHeader(b"X-Frame-Options", b"DENY")
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="same-origin">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
    request.answer(status, HTML, text.encode())


def show_message(request: Request, title: str, text: str, status: int = 200) -> None:
    show(request, title, f"<h1>{escape(title)}</h1>\n<p>{escape(text)}</p>", status)


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
) -> str:
    """The question whether ``app`` may have ``scopes``. ``leads_to`` is where the browser goes
    then; ``user_code`` what a device shows."""
    parts = [f"<h1>Authorize {escape(app['name'])}</h1>"]
    parts.append(
        f"<p><strong>{escape(app['name'])}</strong> wants to use wit as "
        f"<strong>{escape(username)}</strong>.</p>"
    )
    if app["description"]:
        parts.append(f"<p>It says of itself: “{escape(app['description'])}”</p>")
    if app["website_url"]:
        parts.append(f"<p>Website: <code>{escape(app['website_url'])}</code></p>")
    if not app["is_verified"]:
        parts.append(
            '<p class="note">This app is unverified: nobody here has checked who runs it. '
            "Anybody can give an app this name.</p>"
        )
    parts.append("<p>It will be able to:</p>\n<ul>")
    parts += [
        f"<li>{escape(meaning)} <code>{escape(name)}</code></li>"
        for name, meaning in scopes.descriptions()
    ]
    parts.append("</ul>")
    if user_code:
        parts.append(
            f'<p class="note">Go on only if your device shows <code>{escape(user_code)}</code> '
            "and you have started this there yourself.</p>"
        )
    if leads_to:
        parts.append(f"<p>You will be sent to <code>{escape(leads_to)}</code>.</p>")
    fields = [*hidden.items(), (FIELD, ticket)]
    parts.append(f'<form method="post" action="{escape(action)}">')
    parts += _hidden(fields)
    parts.append('<button class="yes" name="decision" value="approve">Authorize</button>')
    parts.append('<button name="decision" value="deny">Cancel</button>\n</form>')
    return "\n".join(parts)


def _hidden(fields: Iterable[tuple[str, str]]) -> list[str]:
    return [
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in fields
    ]


def enter_code(action: str, problem: str = "") -> str:
    """The form for the code that a device shows."""
    note = f'<p class="note" role="alert">{escape(problem)}</p>\n' if problem else ""
    return (
        f"<h1>Connect a device</h1>\n{note}"
        f'<form method="get" action="{escape(action)}">\n'
        "<label>Code that your device shows "
        '<input name="user_code" autocomplete="off" autocapitalize="characters" required '
        'maxlength="20" placeholder="XXXX-XXXX" autofocus></label>\n'
        '<button class="yes">Continue</button>\n</form>'
    )
