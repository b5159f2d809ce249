"""Pages that wit serves itself."""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import urljoin, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from wit.web.pages import Page, local_path

LOGIN = Page.load("login.html")


def test_the_policy_names_what_is_in_the_page():
    html = LOGIN.fill(return_to="/").decode()
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (block,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in LOGIN.policy.decode()
    assert b"frame-ancestors 'none'" in LOGIN.policy


def test_texts_are_escaped():
    html = LOGIN.fill(return_to='/"><script>alert(1)</script>').decode()
    assert "<script>alert" not in html
    assert 'data-return-to="/&quot;&gt;&lt;script&gt;' in html


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
