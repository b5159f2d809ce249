"""How the provider's identifiers and secrets look (contract, auth.md, "OAuth provider").

All secrets are at least 128 random bits, stored as SHA-256 in hex and found by that.
"""

from __future__ import annotations

import re

from wit.runtime import Runtime

SECRET_PREFIX_LENGTH = 12
TOKEN_PREFIX_LENGTH = 16
"""Characters that are kept in the clear, so that people can tell secrets apart."""

_CLIENT_ID = re.compile(r"wit_app_[0-9a-f]{20}")
_ACCESS_TOKEN = re.compile(r"wit_oauth_[0-9a-f]{40}")
_REFRESH_TOKEN = re.compile(r"wit_refresh_[0-9a-f]{40}")

USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no words come out; 20 of them (RFC 8628, section 6.1)."""

USER_CODE_LENGTH = 8


def new_client_id(runtime: Runtime) -> str:
    return "wit_app_" + runtime.random_bytes(10).hex()


def new_client_secret(runtime: Runtime) -> str:
    return "witsec_" + runtime.random_bytes(20).hex()


def new_code(runtime: Runtime) -> str:
    return runtime.random_bytes(16).hex()


def new_access_token(runtime: Runtime) -> str:
    return "wit_oauth_" + runtime.random_bytes(20).hex()


def new_refresh_token(runtime: Runtime) -> str:
    return "wit_refresh_" + runtime.random_bytes(20).hex()


def new_device_code(runtime: Runtime) -> str:
    return "wit_device_" + runtime.random_bytes(20).hex()


def new_user_code(runtime: Runtime) -> str:
    """Eight letters with a dash in the middle: about 34 bits, enough for ten minutes behind a
    limit of guesses."""
    letters = ""
    while len(letters) < USER_CODE_LENGTH:
        for byte in runtime.random_bytes(USER_CODE_LENGTH):
            if byte < 240 and len(letters) < USER_CODE_LENGTH:  # 240 = 12 * 20: no letter favoured
                letters += USER_CODE_LETTERS[byte % len(USER_CODE_LETTERS)]
    return f"{letters[:4]}-{letters[4:]}"


def read_user_code(typed: str) -> str | None:
    """A user code as people type it, in its stored form; None if it cannot be one."""
    letters = re.sub(r"[\s-]", "", typed[:40]).upper()
    if len(letters) != USER_CODE_LENGTH or not set(letters) <= set(USER_CODE_LETTERS):
        return None
    return f"{letters[:4]}-{letters[4:]}"


def is_client_id(text: str) -> bool:
    return _CLIENT_ID.fullmatch(text) is not None


def is_access_token(text: str) -> bool:
    return _ACCESS_TOKEN.fullmatch(text) is not None


def is_refresh_token(text: str) -> bool:
    return _REFRESH_TOKEN.fullmatch(text) is not None
