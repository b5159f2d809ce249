"""Pages that wit serves itself: plain HTML, no outside resources, scripts named by their hash."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from importlib import resources
from string import Template

import attrs

_BLOCK = {
    "script-src": re.compile(r"<script>(.*?)</script>", re.DOTALL),
    "style-src": re.compile(r"<style>(.*?)</style>", re.DOTALL),
}


@attrs.frozen
class Page:
    """One page: a template whose ``$names`` are filled with escaped text, and its policy.

    The Content-Security-Policy (CSP Level 3) allows exactly the page's own script and style, by
    their hashes, and forms to this site; nothing may frame it.
    """

    _template: Template
    policy: bytes

    @classmethod
    def load(cls, name: str) -> Page:
        """The file ``name`` beside this module."""
        text = resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
        sources = {
            directive: " ".join(map(_hash, pattern.findall(text))) or "'none'"
            for directive, pattern in _BLOCK.items()
        }
        policy = (
            f"default-src 'none'; script-src {sources['script-src']}; "
            f"style-src {sources['style-src']}; connect-src 'self'; form-action 'self'; "
            "img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"
        )
        return cls(Template(text), policy.encode())

    def fill(self, **texts: str) -> bytes:
        """The page with the texts, escaped for HTML text and attributes, in their places."""
        return self._template.substitute(
            {name: escape(text, quote=True) for name, text in texts.items()}
        ).encode()


def _hash(block: str) -> str:
    """Of a script or style, which have no ``$names``: only ``$$``, which stands for ``$``."""
    digest = hashlib.sha256(block.replace("$$", "$").encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def local_path(text: str | None, default: str = "/") -> str:
    """``text`` if it is a path on this site, else ``default``: for addresses to return to.

    Browsers take ``//host`` and ``/\\host`` for other sites, and drop tabs and line ends: none of
    these is a path.
    """
    if text is None or len(text) > 2048 or not re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", text):
        return default
    return default if "\\" in text else text
