"""Pages that wit serves itself."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from wit.web.pages import Page, local_path
from wit.web.pages.elements import problem, sentence


def test_forms_stay_here_unless_the_page_says_otherwise():
    assert b"form-action 'self'" in Page("Title", []).policy()
    assert b"form-action" not in Page("Title", [], leads_away=True).policy()


def test_messages_become_sentences():
    assert sentence("this is wrong; try again") == "This is wrong; try again."
    assert sentence("Why?") == "Why?"
    assert problem("") == ""


@given(st.text() | st.text("/\\abc:.@\t\n ", max_size=12))
def test_an_address_to_return_to_is_on_this_site(text: str):
    path = local_path(text)
    assert path.startswith("/")
    there = urlsplit(urljoin("https://wit.example/login", path.replace("\\", "/")))
    assert there.netloc == "wit.example"
    assert not re.search(r"[\x00-\x20\\]", path)


def test_addresses_that_are_none():
    assert local_path("/oauth/authorize?a=b&c=%2F") == "/oauth/authorize?a=b&c=%2F"
    for text in (
        None,
        "",
        "x",
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/a\nb",
    ):
        assert local_path(text) == "/"
