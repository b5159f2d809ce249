"""The documents, as they are served."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

import wit.web
from tests.web.harness import Online, online
from wit.operations.api import wit_api
from wit.operations.openapi import document
from wit.operations.typescript import declaration
from wit.runtime import Runtime
from wit.web.routes.documents import Documents

BASE = "https://wit.example.org"
PAGES = Path(wit.web.__file__).parent / "pages"


@pytest.fixture(scope="module")
def site(run: Any) -> Iterator[Online]:
    from twisted.internet import reactor

    runtime = Runtime(reactor)
    with online(run, runtime, [Documents(wit_api(), BASE, runtime).route()]) as site:
        yield site


def get(site: Online, path: str, **headers: str) -> tuple[int, Message, bytes]:
    request = urllib.request.Request(site.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as other:
        return other.code, other.headers, other.read()


def test_the_openapi_document(site: Online) -> None:
    status, headers, body = get(site, "/api/openapi.json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == json.loads(json.dumps(document(wit_api(), BASE)))


def test_the_typescript_types(site: Online) -> None:
    status, headers, body = get(site, "/api/trpc.d.ts")
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert body.decode() == declaration(wit_api())


def test_what_has_not_changed_is_not_sent_again(site: Online) -> None:
    _, headers, _ = get(site, "/api/openapi.json")
    again = {"If-None-Match": headers["ETag"]}
    assert get(site, "/api/openapi.json", **again)[0::2] == (304, b"")
    assert get(site, "/api/trpc.d.ts", **again)[0] == 200


def test_the_page_needs_nothing_from_elsewhere(site: Online) -> None:
    status, headers, page = get(site, "/api/docs")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    linked = set(re.findall(r'(?:src|href)="([^"]+)"', page.decode()))
    assert linked == {"/favicon.ico", "docs.css", "docs.js", "openapi.json", "trpc.d.ts"}
    for name in linked - {"/favicon.ico"}:
        status, headers, _ = get(site, f"/api/{name}")
        assert (status, headers["X-Content-Type-Options"]) == (200, "nosniff")


def test_the_page_makes_no_markup_out_of_texts() -> None:
    """The policy lets no inline script or style run; and nothing of the document is markup."""
    html, script = (PAGES / "api-docs.html").read_text(), (PAGES / "api-docs.js").read_text()
    assert not re.search(r"<script>|<style>|\son\w+=|\sstyle=", html)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_only_reading(site: Online) -> None:
    request = urllib.request.Request(f"{site.url}/api/docs", data=b"x", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert (refused.value.code, refused.value.headers["Allow"]) == (405, "GET")
