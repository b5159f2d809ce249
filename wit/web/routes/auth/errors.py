"""Errors of the auth door: ``{code, message}``, in the words that better-auth's clients know."""

from __future__ import annotations

import re
from functools import partial


class AuthError(Exception):
    """An answer that is no success. Without a ``code`` it is the message's words."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or re.sub("[^A-Z0-9_]", "", message.upper().replace(" ", "_"))


class NotSignedIn(Exception):
    """401 without a body: what is asked for needs a session."""


def invalid_callback(what: str) -> AuthError:
    """An address that people must not be sent to. ``what`` is the field's name."""
    return AuthError(403, f"Invalid {what}")


# Made anew each time: an exception that is raised again keeps the frames of all the times before.
INVALID_EMAIL = partial(AuthError, 400, "Invalid email")
INVALID_EMAIL_OR_PASSWORD = partial(AuthError, 401, "Invalid email or password")
INVALID_USERNAME_OR_PASSWORD = partial(AuthError, 401, "Invalid username or password")
INVALID_PASSWORD = partial(AuthError, 400, "Invalid password")
PASSWORD_TOO_SHORT = partial(AuthError, 400, "Password too short")
PASSWORD_TOO_LONG = partial(AuthError, 400, "Password too long")
EMAIL_TAKEN = partial(AuthError, 422, "User already exists. Use another email.")
USERNAME_TAKEN = partial(AuthError, 400, "Username is already taken. Please try another.")
NO_PASSWORD = partial(AuthError, 400, "Credential account not found")
INVALID_TOKEN = partial(AuthError, 400, "Invalid token")
PROVIDER_NOT_FOUND = partial(AuthError, 404, "Provider not found")
MISSING_ORIGIN = partial(AuthError, 403, "Missing or null Origin")
INVALID_ORIGIN = partial(AuthError, 403, "Invalid origin")
CROSS_SITE = partial(
    AuthError,
    403,
    "Cross-site navigation login blocked. This request appears to be a CSRF attack.",
)
INVALID_CODE = partial(AuthError, 401, "Invalid code")
INVALID_BACKUP_CODE = partial(AuthError, 401, "Invalid backup code")
INVALID_TWO_FACTOR_COOKIE = partial(AuthError, 401, "Invalid two factor cookie")
TOTP_NOT_ENABLED = partial(AuthError, 400, "TOTP not enabled")
BACKUP_CODES_NOT_ENABLED = partial(AuthError, 400, "Backup codes aren't enabled")
TWO_FACTOR_NOT_ENABLED = partial(AuthError, 400, "Two factor isn't enabled")
