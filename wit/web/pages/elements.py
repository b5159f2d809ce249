"""What pages are made of: forms with labels, notes, links."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.web.template import Tag, tags

from wit.web.pages import Content


def field(label: str, name: str, *, hint: str = "", **attributes: str) -> Tag:
    """A labelled input, which must be filled in; ``attributes`` are those of ``<input>``."""
    if hint:
        attributes["aria-describedby"] = f"{name}-hint"
    parts: list[Content] = [
        tags.label(label, for_=name),
        tags.input(id=name, name=name, required="", **attributes),
    ]
    if hint:
        parts.append(tags.span(hint, id=f"{name}-hint", class_="hint"))
    return tags.p(parts, class_="field")


def checkbox(label: str, name: str, *, checked: bool) -> Tag:
    more = {"checked": ""} if checked else {}
    return tags.p(tags.label(tags.input(type="checkbox", name=name, value="yes", **more), label))


def post(action: str, hidden: Mapping[str, str], *content: Content) -> Tag:
    """A form that sends what is typed into it, and what is ``hidden``, to ``action``."""
    inputs = [tags.input(type="hidden", name=name, value=hidden[name]) for name in hidden]
    return tags.form(inputs, list(content), method="post", action=action)


def submit(label: str) -> Tag:
    """The one button of a form."""
    return tags.button(label, class_="yes wide")


def choice(name: str, *options: tuple[str, str]) -> Tag:
    """Buttons that send different values of ``name`` (value, label); the first is the usual one."""
    buttons = [
        tags.button(label, name=name, value=value, class_="yes" if number == 0 else "")
        for number, (value, label) in enumerate(options)
    ]
    return tags.div(buttons, class_="choice")


def note(*content: Content, kind: str = "") -> Tag:
    """A paragraph that stands out; ``kind``: warning, done or nothing."""
    return tags.p(list(content), class_=f"note {kind}".strip())


def sentence(text: str) -> str:
    """An error's message as a sentence: they begin small and have no full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def problem(text: str) -> Content:
    """What went wrong, said at once by screen readers; nothing for an empty text."""
    return tags.p(sentence(text), class_="note problem", role="alert") if text else ""


def links(*targets: tuple[str, str] | None) -> Tag:
    """Where else to go: (address, label); None is left out."""
    shown = [tags.a(label, href=href) for href, label in filter(None, targets)]
    return tags.div(shown, class_="links")
