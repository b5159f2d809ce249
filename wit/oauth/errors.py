"""What apps that do something wrong are told: ``error`` and ``error_description``."""

from __future__ import annotations

from wit.errors import WitError


class OAuthError(WitError):
    """An error of RFC 6749 (sections 4.1.2.1 and 5.2) or of one of its extensions.

    ``error`` is its registered code, ``status`` the HTTP status where it is answered directly.
    """

    code = "invalid"

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.status = status


class InvalidClient(OAuthError):
    """The app is unknown or did not prove to be itself."""

    def __init__(self, description: str = "unknown app or wrong secret") -> None:
        super().__init__("invalid_client", description, 401)


class InvalidGrant(OAuthError):
    """A code or refresh token is unknown, used, expired, revoked, or another app's."""

    def __init__(self, description: str) -> None:
        super().__init__("invalid_grant", description)
