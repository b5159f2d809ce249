from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.errors import Unauthorized
from wit.web.middleware.credentials import MAX_CREDENTIAL, Basic, Bearer, parse


def basic(text: str | bytes) -> str:
    raw = text if isinstance(text, bytes) else text.encode()
    return "Basic " + b64encode(raw).decode()


@pytest.mark.attack(29)
@pytest.mark.parametrize(
    ("header", "credential"),
    [
        (basic("alice:pw"), Basic("alice", "pw")),
        (basic("alice:pa:ss:"), Basic("alice", "pa:ss:")),
        (basic(":token"), Basic("", "token")),
        (basic("ä:ö"), Basic("ä", "ö")),
        ("BASIC  " + b64encode(b"a:b").decode(), Basic("a", "b")),
        ("Bearer wit_0123", Bearer("wit_0123")),
        ("bearer abc==", Bearer("abc==")),
    ],
)
def test_good_headers(header: str, credential: Basic | Bearer) -> None:
    assert parse(header) == credential


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic YWxp Y2U=",
        basic("no colon"),
        basic(b"\xff:\xff"),
        basic("a\0:b"),
        "Basic YWxpY2U6cA",
        "Bearer",
        "Bearer two words",
        "Bearer a,b",
        "Negotiate YII=",
        "wit_0123",
        "Bearer " + "x" * MAX_CREDENTIAL,
    ],
)
def test_bad_headers(header: str) -> None:
    with pytest.raises(Unauthorized):
        parse(header)


@given(st.text(max_size=40))
def test_any_text_is_a_credential_or_refused(header: str) -> None:
    try:
        parse(header)
    except Unauthorized:
        pass


def test_secrets_do_not_show() -> None:
    assert "hunter2" not in repr((Basic("alice", "hunter2"), Bearer("hunter2")))
