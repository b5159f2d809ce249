"""From the Authorization header to an Actor. Nothing else in a request identifies anybody: a
token in the query is ignored (attack list, line 29)."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence
from typing import Protocol

import attrs

from wit.access.actor import ANONYMOUS, Actor
from wit.errors import Unauthorized

_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*")

MAX_CREDENTIAL = 4096
"""Characters of an Authorization header that are looked at."""


class Checker(Protocol):
    """wit.accounts.credentials.Credentials, as far as it is used here."""

    async def basic(self, username: str, password: str, address: str) -> Actor: ...

    async def bearer(self, token: str) -> Actor: ...


@attrs.frozen
class Basic:
    """RFC 7617, UTF-8. The name has no colon; the password may have any number of them."""

    username: str
    password: str = attrs.field(repr=False)


@attrs.frozen
class Bearer:
    """RFC 6750, section 2.1."""

    token: str = attrs.field(repr=False)


def parse(header: str) -> Basic | Bearer:
    """The credential in an Authorization header. Raises Unauthorized if there is none."""
    scheme, _, value = header.partition(" ")
    value = value.strip(" ")
    if len(header) > MAX_CREDENTIAL or not _TOKEN68.fullmatch(value):
        raise Unauthorized("the Authorization header is malformed")
    match scheme.lower():
        case "bearer":
            return Bearer(value)
        case "basic":
            try:
                username, colon, password = b64decode(value, validate=True).decode().partition(":")
            except ValueError:  # not base64, or not UTF-8
                colon = ""
            if not colon or "\0" in username + password:
                raise Unauthorized("the Authorization header is malformed")
            return Basic(username, password)
    raise Unauthorized("use Basic or Bearer credentials")


async def actor_of(headers: Sequence[bytes] | None, checker: Checker, address: str) -> Actor:
    """Who asks. Without an Authorization header it is nobody in particular.

    Raises Unauthorized for a wrong or malformed credential, Forbidden for a suspended user,
    RateLimited.
    """
    if not headers:
        return ANONYMOUS
    if len(headers) > 1:
        raise Unauthorized("there is more than one Authorization header")
    credential = parse(headers[0].decode("latin-1"))
    if isinstance(credential, Bearer):
        return await checker.bearer(credential.token)
    return await checker.basic(credential.username, credential.password, address)
